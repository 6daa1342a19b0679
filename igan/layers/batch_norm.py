"""Batch normalisation (Ioffe and Szegedy 2015): with a learned shift alone, as Salimans et al. use it, and as usual."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from igan.types import Array, Context


class ShiftBatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) + shift, over all axes but the last.

    In training the statistics are those of this very batch, biased variance, and they are left in the collection
    "statistics". Otherwise the statistics found there are used. igan keeps no moving average of statistics: before a
    network is sampled, one training-mode pass with the parameters at hand refreshes them
    (`igan.game.inference.freeze`), so they always belong to the parameters they are used with.

    Example: `ShiftBatchNorm()(activations, context)` keeps the shape [n, ..., features].
    """

    epsilon: float = 1e-6
    scaled: ClassVar[bool] = False
    affine: ClassVar[bool] = True

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        features, dtype = inputs.shape[-1], inputs.dtype
        inputs = inputs.astype(jnp.promote_types(dtype, jnp.float32))
        mean = self.variable("statistics", "mean", jnp.zeros, (features,))
        variance = self.variable("statistics", "variance", jnp.ones, (features,))
        shift = self.param("shift", nn.initializers.zeros, (features,)) if self.affine else 0
        if context.train:
            axes = tuple(range(inputs.ndim - 1))
            mean.value = jnp.mean(inputs, axis=axes)
            variance.value = jnp.mean(jnp.square(inputs - mean.value), axis=axes)
        normalized = (inputs - mean.value) / jnp.sqrt(variance.value + self.epsilon)
        if self.scaled and self.affine:
            normalized *= self.param("scale", nn.initializers.ones, (features,))
        return (normalized + shift).astype(dtype)


class BatchNorm(ShiftBatchNorm):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, over all axes but the last; the scale starts at 1.

    Where papers sample with a running average of the statistics, igan refreshes them: see `ShiftBatchNorm`.

    Example: `BatchNorm()(activations, context)` keeps the shape [n, ..., features].
    """

    epsilon: float = 1e-5
    scaled: ClassVar[bool] = True
