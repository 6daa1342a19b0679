"""Layer normalisation (Ba et al. 2016) of feature maps: each example by itself, so it can stand beside a penalty."""

import flax.linen as nn
import jax.numpy as jnp

from igan.types import Array, Context


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, the statistics over all axes but the first.

    Scale and shift are one each for the last axis, the channels, as in the released code of WGAN-GP, which puts it in
    the place of batch normalisation (Gulrajani et al. 2017, section 4).

    Example: `LayerNorm()(activations, context)` keeps the shape [n, ..., features].
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        features, dtype = inputs.shape[-1], inputs.dtype
        inputs = inputs.astype(jnp.promote_types(dtype, jnp.float32))
        scale = self.param("scale", nn.initializers.ones, (features,))
        shift = self.param("shift", nn.initializers.zeros, (features,))
        axes = tuple(range(1, inputs.ndim))
        deviation = inputs - jnp.mean(inputs, axis=axes, keepdims=True)
        variance = jnp.mean(jnp.square(deviation), axis=axes, keepdims=True)
        return (deviation / jnp.sqrt(variance + self.epsilon) * scale + shift).astype(dtype)
