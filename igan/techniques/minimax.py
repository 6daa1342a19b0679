"""The minimax game of Goodfellow et al. (2014), equation 1.

With D(x) = sigmoid(logits(x)) the discriminator minimises -E log D(x) - E log(1 - D(G(z))), and the generator
minimises E log(1 - D(G(z))), which saturates when the discriminator wins: see `non_saturating` for the usual cure.

With a K-class discriminator, whose logits are logsumexp(class_logits), the discriminator's part is the unsupervised
loss of semi-supervised learning (Salimans et al. 2016, section 5), so `semi_supervised` adds the labelled part only.
"""

import jax
import jax.numpy as jnp

from igan.technique import State, Technique
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the minimax objective of both players."""
    return Technique(discriminator_loss=discriminator_loss, generator_loss=generator_loss)


def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """-E log D(x) - E log(1 - D(G(z)))."""
    real = jnp.mean(jax.nn.softplus(-view.real.logits))
    fake = jnp.mean(jax.nn.softplus(view.fake.logits))
    return real + fake, {"real": real, "fake": fake}


def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """E log(1 - D(G(z)))."""
    return -jnp.mean(jax.nn.softplus(view.fake.logits)), {}
