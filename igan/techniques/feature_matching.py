"""Feature matching (Salimans et al. 2016, section 3.1): the generator matches what the discriminator measures.

The generator minimises the distance between E_x f(x) and E_z f(G(z)), where f is an intermediate layer of the
discriminator and the expectations are batch means. It is the *means* that are matched: matching features sample by
sample, a common bug of ports, would pull every generated image towards the average image.
"""

import jax.numpy as jnp

from igan.errors import UserError, did_you_mean
from igan.game.technique import State, Technique
from igan.types import Array, Metrics, View

DISTANCES = {"squared": jnp.square, "absolute": jnp.abs}


def make(distance: str = "squared") -> Technique:
    """Returns feature matching.

    Args:
      distance: "squared" (the released MNIST code) or "absolute" (the released CIFAR-10 and SVHN code); the mean over
        the features is taken, as in that code, where the paper writes a sum.

    Raises UserError for another distance.
    """
    if distance not in DISTANCES:
        raise UserError(f"feature_matching: unknown distance '{distance}'.{did_you_mean(distance, DISTANCES)}")

    def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        real = jnp.mean(view.real.features, axis=0)
        fake = jnp.mean(view.fake.features, axis=0)
        return jnp.mean(DISTANCES[distance](real - fake)), {}

    return Technique(generator_loss=generator_loss)
