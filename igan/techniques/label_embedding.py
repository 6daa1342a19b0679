"""Labels as R3GAN's networks are given them (Huang et al. 2024): beside the latent, and as a direction of the features.

The generator's latent is followed by a learned vector of its class. The discriminator's logit is the inner product of
a linear function of its features with another vector of the class (as in Miyato and Koyama 2018, without their term
that does not depend on the label). For the networks 'r3gan'.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from igan.errors import require_number
from igan.game.technique import Technique
from igan.layers.weights import Layer, WeightLayer
from igan.types import Array, Context

TESTED_ON = "r3gan"


class Beside(nn.Module):
    """Latents [n, size] with the vector of their class behind them, [n, size + self.size]."""

    size: int

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        assert context.labels is not None  # As `igan.run.experiment` sees to.
        vectors = WeightLayer(Layer(self.size, bias=False, kernel_init=_normal(1.0)))
        return jnp.concatenate([latents, vectors(context.labels, context)], axis=1)


class InnerProduct(nn.Module):
    """Features [n, f] -> logits [n], each of the class that an image is said to have."""

    @nn.compact
    def __call__(self, features: Array, context: Context) -> Array:
        assert context.labels is not None
        size = features.shape[1]
        asked: Any = Layer(size, bias=False, kernel_init=_normal(1.0))
        directions = asked._replace(kernel_init=_normal(1 / math.sqrt(size)))
        found = WeightLayer(asked)(features, context)
        return jnp.sum(found * WeightLayer(directions)(context.labels, context), axis=1)


def make(size: int = 64) -> Technique:
    """Returns labels for both networks.

    Args:
      size: numbers in the vector of a class beside the generator's latent.

    Raises UserError for another size.
    """
    require_number(
        "techniques.label_embedding.size",
        size,
        "a whole number from 1 to a million",
        lambda number: number % 1 == 0 and 1 <= number <= 1_000_000,
        64,
    )
    return Technique(
        layers={"generator_labels": lambda: Beside(int(size)), "discriminator_labels": InnerProduct},
        needs=frozenset({"labels"}),
    )


def _normal(gain: float) -> Any:
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")
