"""The styles of two latents in one image (Karras et al. 2019, section 3.1)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from igan.types import Array, Key


def crossed(first: Array, second: Array, crossover: Array | int, layers: int) -> Array:
    """Returns the w of each layer: of the first latents before the layer `crossover`, of the second ones from it on.

    Args:
      first, second: float [n, size].
      crossover: 1 to `layers`; with the last no layer has the second.
      layers: how many styles an image has.

    Returns: float [n, layers, size].

    >>> crossed(jnp.zeros((1, 1)), jnp.ones((1, 1)), crossover=2, layers=4)[0, :, 0]
    Array([0., 0., 1., 1.], dtype=float32)
    """
    is_first = (jnp.arange(layers) < crossover)[None, :, None]
    return jnp.where(is_first, first[:, None], second[:, None])


def mix(key: Key, first: Array, other: Callable[[Key], Array], layers: int, probability: float) -> Array:
    """Returns the w of each layer [n, layers, size], with the given probability crossed with those of other latents.

    One crossover for the whole batch, uniform in 1, ..., layers - 1; where there is one layer only, there is none.

    Args:
      other: returns the w of other latents, drawn by a key.
    """
    of_latents, of_place, of_chance = jax.random.split(key, 3)
    place = jax.random.randint(of_place, (), 1, max(layers, 2))
    crossover = jnp.where(jax.random.uniform(of_chance) < probability, place, layers)
    return crossed(first, other(of_latents), crossover, layers)
