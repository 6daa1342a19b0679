"""Feature maps made twice as large and half as large."""

import jax
import jax.numpy as jnp

from igan.types import Array


def upsample(images: Array) -> Array:
    """Returns images with each pixel a 2 x 2 square: [n, h, w, c] -> [n, 2 h, 2 w, c].

    >>> upsample(jnp.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)).reshape(2, 4)
    Array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]], dtype=float32)
    """
    count, height, width, channels = images.shape
    squares = jnp.broadcast_to(images[:, :, None, :, None], (count, height, 2, width, 2, channels))
    return squares.reshape(count, 2 * height, 2 * width, channels)


def mean_pool(images: Array) -> Array:
    """Returns the means of 2 x 2 squares: [n, h, w, c] -> [n, h / 2, w / 2, c]; both sides are even.

    >>> mean_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    1.5
    """
    count, height, width, channels = images.shape
    return jnp.mean(images.reshape(count, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def smooth_upsample(images: Array) -> Array:
    """Returns images twice as large, pixels between pixels: [n, h, w, c] -> [n, 2 h, 2 w, c].

    Bilinear: zeros between the pixels, then the filter (1, 3, 3, 1) / 4 along both axes, with zeros around the image.

    >>> smooth_upsample(jnp.full((1, 1, 1, 1), 16.0)).reshape(2, 2)
    Array([[9., 9.],
           [9., 9.]], dtype=float32)
    """
    for axis in (1, 2):
        before, after = _neighbours(images, images, axis)
        both = jnp.stack([(before + 3 * images) / 4, (3 * images + after) / 4], axis=axis + 1)
        images = both.reshape(*images.shape[:axis], -1, *images.shape[axis + 1 :])
    return images


def smooth_downsample(images: Array) -> Array:
    """Returns images half as large: [n, h, w, c] -> [n, h / 2, w / 2, c]; both sides are even.

    The filter (1, 3, 3, 1) / 8 along both axes, with zeros around the image: the transpose of `smooth_upsample`, but
    for a factor.

    >>> smooth_downsample(jnp.full((1, 2, 2, 1), 16.0)).item()
    9.0
    """
    for axis in (1, 2):
        pairs = images.reshape(*images.shape[:axis], -1, 2, *images.shape[axis + 1 :])
        first, second = jnp.moveaxis(pairs, axis + 1, 0)
        before, after = _neighbours(second, first, axis)
        images = (before + 3 * (first + second) + after) / 8
    return images


def _neighbours(left: Array, right: Array, axis: int) -> tuple[Array, Array]:
    """Returns, of each place along an axis, what stands at the place before and at the place after; zeros outside."""
    nothing = jnp.zeros_like(jax.lax.slice_in_dim(left, 0, 1, axis=axis))
    before = jnp.concatenate([nothing, jax.lax.slice_in_dim(left, 0, -1, axis=axis)], axis)
    return before, jnp.concatenate([jax.lax.slice_in_dim(right, 1, None, axis=axis), nothing], axis)
