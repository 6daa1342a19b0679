"""Feature matching (Salimans et al. 2016, section 3.1): the generator matches what the discriminator measures.

The generator minimises the distance between E_x f(x) and E_z f(G(z)), where f is an intermediate layer of the
discriminator and the expectations are batch means. It is the *means* that are matched: matching features sample by
sample, a common bug of ports, would pull every generated image towards the average image.

`distance_of_means` is a function of arrays and works without the rest of igan.
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
        return distance_of_means(view.real.features, view.fake.features, distance), {}

    return Technique(generator_loss=generator_loss)


def distance_of_means(real: Array, fake: Array, distance: str = "squared") -> Array:
    """Returns the distance between the mean features of real and of generated images, a mean over the features.

    Args:
      real: f(x), float [n, f].
      fake: f(G(z)), float [m, f].
      distance: "squared" or "absolute".

    Example: a generator shifts its images, which are their own features, by any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.feature_matching import distance_of_means
    >>> real, drawn = jax.numpy.array([[1.0], [3.0]]), jax.numpy.array([[-5.0], [5.0]])
    >>> optimizer, shift = optax.sgd(0.25), jax.numpy.array(0.0)
    >>> slope = jax.grad(lambda shift: distance_of_means(real, drawn + shift))(shift)
    >>> updates, _ = optimizer.update(slope, optimizer.init(shift))
    >>> optax.apply_updates(shift, updates)
    Array(1., dtype=float32)
    """
    return jnp.mean(DISTANCES[distance](jnp.mean(real, axis=0) - jnp.mean(fake, axis=0)))
