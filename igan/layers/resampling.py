"""Feature maps made twice as large and half as large."""

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
