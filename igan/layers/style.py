"""What styles do to feature maps (Karras et al. 2019, sections 2 and 3): normalisation, noise, and smoothing."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.types import Array, Context, Key

EPSILON = 1e-8


def instance_norm(features: Array) -> Array:
    """Returns each channel of each image with mean 0 and variance 1, float [n, height, width, channels].

    The variance is that of the map itself; 1e-8 is added to it, so that a constant map becomes zero.
    """
    centred = features - jnp.mean(features, axis=(1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=(1, 2), keepdims=True) + EPSILON)


def styled(features: Array, style: Array) -> Array:
    """Returns features times (1 + scale) plus shift (the paper's equation 1, with a scale around 1).

    Args:
      features: float [n, height, width, channels].
      style: float [n, 2 channels], the scales and then the shifts.
    """
    scale, shift = jnp.split(style[:, None, None], 2, axis=-1)
    return features * (1 + scale) + shift


def blur(features: Array) -> Array:
    """Returns features smoothed by [1, 2, 1] / 4 along each axis, with zeros around: [n, height, width, channels].

    >>> blur(jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(16.0))[0, :, :, 0]
    Array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    """
    for axis in (1, 2):
        pads = [(1, 1) if each == axis else (0, 0) for each in range(4)]
        padded, side = jnp.pad(features, pads), features.shape[axis]
        left, middle, right = (jax.lax.slice_in_dim(padded, start, start + side, axis=axis) for start in (0, 1, 2))
        features = (left + 2 * middle + right) / 4
    return features


def keys_of(latents: Array) -> Key:
    """Returns a key for each latent, a pure function of it: for the noise of an image that is sampled.

    Args:
      latents: float [n, size].
    """
    bits = jax.lax.bitcast_convert_type(latents[:, :2].astype(jnp.float32), jnp.uint32)
    fold = jax.vmap(lambda word: jax.random.fold_in(jax.random.key(0), word))
    return jax.vmap(jax.random.fold_in)(fold(bits[:, 0]), bits[:, -1])


class Epilogue(nn.Module):
    """What follows each convolution: noise, bias, rectifier, instance norm, style.

    Attributes:
      noise: whether there is noise: one N(0, 1) map for each image, with a strength for each channel, at first 0.
      activation: the rectifier.
      norm: what follows it where there are no styles.
      style: makes the layer from w to the scales and shifts of so many channels; None without styles.
      number: of this layer in the generator, from 0.

    Called with (features [n, h, w, c], w [n, size], draw, context); `draw(key, shape)` returns noise in sampling.
    """

    noise: bool
    activation: Callable[[Array], Array]
    norm: Callable[[], Callable[[Array, Context], Array]]
    style: Callable[[int], Callable[[Array, Context], Array]] | None
    number: int

    @nn.compact
    def __call__(self, features: Array, w: Array, draw: Callable[..., Any], context: Context) -> Array:
        channels = features.shape[-1]
        if self.noise:
            strength = self.param("strength", nn.initializers.zeros, (channels,))
            shape = (*features.shape[:-1], 1)
            if context.train or self.is_initializing():
                noise = jax.random.normal(self.make_rng("noise"), shape)
            else:
                noise = draw(self.number, shape)
            features = features + (strength * noise).astype(features.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        features = self.activation(features + bias.astype(features.dtype))
        if self.style is None:
            return self.norm()(features, context)
        return styled(instance_norm(features), self.style(2 * channels)(w, context))
