"""Batch normalisation whose scale and shift depend on the class, or on a vector: of conditional generators."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from igan.layers.batch_norm import BatchNorm
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.types import Array, Context


class PlainBatchNorm(BatchNorm):
    """(x - mean) / sqrt(variance + epsilon) without scale or shift: see `igan.layers.batch_norm.BatchNorm`."""

    affine: ClassVar[bool] = False


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation with a scale and a shift for each class (Dumoulin et al. 2017; Miyato and Koyama 2018).

    Tables [classes, features] of scales, which start at 1, and of shifts, which start at 0. Mean and variance are
    those of all classes together.

    Example: `ConditionalBatchNorm()(activations, context)` keeps the shape [n, ..., features].
    """

    epsilon: float = 1e-5
    unconditional: ClassVar[Callable[..., Any]] = BatchNorm  # Before a generator's last layer.

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        assert context.labels is not None  # As `igan.run.experiment` sees to.
        shape = context.labels.shape[-1], inputs.shape[-1]
        scale, shift = (
            context.labels.astype(float) @ self.param(name, init, shape)
            for name, init in (("scale", nn.initializers.ones), ("shift", nn.initializers.zeros))
        )
        return scaled_and_shifted(PlainBatchNorm(self.epsilon)(inputs, context), scale, shift)


class LinearBatchNorm(nn.Module):
    """Batch normalisation scaled by 1 + A c and shifted by B c, of a vector c (Brock et al. 2019, appendix B).

    The vector stands in the place of the labels in the context.

    Attributes:
      layer: makes the two linear maps, which have no bias: spectrally normalised where other layers are.
      kernel_init: of both.

    Example: `LinearBatchNorm()(activations, context)` keeps the shape [n, ..., features].
    """

    layer: MakeLayer = WeightLayer
    kernel_init: Callable[..., Any] = nn.initializers.glorot_uniform()
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        assert context.labels is not None  # The vector c.
        asked = Layer(inputs.shape[-1], bias=False, kernel_init=self.kernel_init)
        scale, shift = (self.layer(asked)(context.labels, context) for _ in range(2))
        return scaled_and_shifted(PlainBatchNorm(self.epsilon)(inputs, context), 1 + scale, shift)


def scaled_and_shifted(normalized: Array, scale: Array, shift: Array) -> Array:
    """Returns x * scale + shift with a scale and a shift of each example's own.

    Args:
      normalized: float [n, ..., features].
      scale: float [n, features], as is `shift`.

    >>> scaled_and_shifted(jnp.ones((2, 3, 3, 1)), jnp.array([[2.0], [3.0]]), jnp.zeros((2, 1)))[1, 0, 0]
    Array([3.], dtype=float32)
    """
    between = (1,) * (normalized.ndim - 2)
    scale, shift = (each.reshape(len(each), *between, -1) for each in (scale, shift))
    wide = normalized.astype(jnp.promote_types(normalized.dtype, jnp.float32))
    return (wide * scale + shift).astype(normalized.dtype)
