"""Semi-supervised learning (Salimans et al. 2016, section 5): the discriminator also tells the K classes apart.

L = L_sup + L_unsup. This technique is L_sup = -E log p(y | x, y < K + 1), the cross-entropy of the labelled images.
L_unsup is the discriminator's part of `minimax` on logits = logsumexp(class_logits), because with the logit of
"generated" fixed at zero, D(x) = Z(x) / (Z(x) + 1); the released code weighs it with one half.
"""

import jax
import jax.numpy as jnp

from igan.game.technique import State, Technique
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the supervised part of the loss. Needs labelled images and a discriminator with classes."""
    return Technique(discriminator_loss=discriminator_loss, needs=frozenset({"labeled", "class_logits"}))


def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """-E log softmax(class_logits)[label], and the share of labelled images that are misclassified."""
    assert view.labeled is not None and view.labeled.class_logits is not None and view.labeled.labels is not None
    logits, labels = view.labeled.class_logits, view.labeled.labels
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)
    return loss, {"error": jnp.mean(jnp.argmax(logits, axis=1) != labels)}
