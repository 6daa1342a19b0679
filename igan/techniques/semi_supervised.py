"""Semi-supervised learning (Salimans et al. 2016, section 5): the discriminator also tells the K classes apart.

L = L_sup + L_unsup. This technique is L_sup = -E log p(y | x, y < K + 1), the cross-entropy of the labelled images.
L_unsup is the discriminator's part of `minimax` on logits = logsumexp(class_logits), because with the logit of
"generated" fixed at zero, D(x) = Z(x) / (Z(x) + 1); the released code weighs it with one half.
"""

import jax.numpy as jnp

from igan.game.technique import State, Technique
from igan.techniques.auxiliary_classifier import cross_entropy
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the supervised part of the loss. Needs labelled images and a discriminator with classes."""
    return Technique(discriminator_loss=discriminator_loss, needs=frozenset({"labeled", "class_logits"}))


def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """-E log softmax(class_logits)[label], and the share of labelled images that are misclassified.

    Example: both parts of the loss as functions of arrays, for any optax optimiser. Two classes have the scores
    weight * x, the labelled image 2 is of the first one, and generated images are at 0.

    >>> import jax, optax
    >>> from igan.techniques.auxiliary_classifier import cross_entropy
    >>> from igan.techniques.minimax import divergence
    >>> real, fake, labels = jax.numpy.array([[2.0]]), jax.numpy.array([[0.0]]), jax.numpy.array([0])
    >>> def loss(weights):
    ...     supervised = cross_entropy(real * weights, labels)
    ...     of_real, of_fake = (jax.nn.logsumexp(images * weights, axis=1) for images in (real, fake))
    ...     return supervised + (divergence(of_real, 1.0) + divergence(of_fake, 0.0)) / 2
    >>> optimizer, weights = optax.sgd(0.3), jax.numpy.zeros(2)
    >>> updates, _ = optimizer.update(jax.grad(loss)(weights), optimizer.init(weights))
    >>> print(*(f"{weight:.2f}" for weight in optax.apply_updates(weights, updates)))
    0.35 -0.25
    """
    assert view.labeled is not None and view.labeled.class_logits is not None and view.labeled.labels is not None
    logits, labels = view.labeled.class_logits, view.labeled.labels
    return cross_entropy(logits, labels), {"error": jnp.mean(jnp.argmax(logits, axis=1) != labels)}
