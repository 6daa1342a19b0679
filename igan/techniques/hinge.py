"""The hinge game (Lim and Ye 2017; Tran et al. 2017), in the form of Miyato et al. (2018), equations 16 and 17.

The discriminator minimises E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))): images that it is sure of have no slope. The
generator minimises -E D(G(z)), with no hinge. D has no sigmoid. The discriminator's two halves are added, not averaged.

`discriminator_terms` is a function of arrays and works without the rest of igan.
"""

import jax
import jax.numpy as jnp

from igan.game.technique import State, Technique
from igan.techniques import wasserstein
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the hinge objective of both players."""
    return Technique(
        discriminator_loss=_discriminator_loss,
        generator_loss=lambda state, view: (wasserstein.generator_loss(view.fake.logits), {}),
        objective=True,
        conflict=wasserstein.class_logits,
    )


def discriminator_terms(real: Array, fake: Array) -> tuple[Array, Array]:
    """Returns E max(0, 1 - D(x)) and E max(0, 1 + D(G(z))), of which the discriminator minimises the sum.

    The generator's loss is `igan.techniques.wasserstein.generator_loss`.

    Args:
      real: D(x), float [n].
      fake: D(G(z)), float [m].

    Example: how a discriminator D(x) = weight * x learns to tell 3 from 1, with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.hinge import discriminator_terms
    >>> def loss(weight):
    ...     return sum(discriminator_terms(weight * jax.numpy.array([3.0]), weight * jax.numpy.array([1.0])))
    >>> optimizer, weight = optax.sgd(0.1), jax.numpy.array(0.0)
    >>> updates, _ = optimizer.update(jax.grad(loss)(weight), optimizer.init(weight))
    >>> optax.apply_updates(weight, updates)
    Array(0.2, dtype=float32)
    """
    return jnp.mean(jax.nn.relu(1 - real)), jnp.mean(jax.nn.relu(1 + fake))


def _discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    real, fake = discriminator_terms(view.real.logits, view.fake.logits)
    return real + fake, {"real": real, "fake": fake}
