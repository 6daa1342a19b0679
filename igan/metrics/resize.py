"""Resizing on the device, under names: a score changes with it, so it is never chosen silently.

`tf1-bilinear` is what the Inception score and FID were defined with: the bilinear resize of TensorFlow 1 with
`align_corners=False`, whose grid is `source = destination * (in / out)`. It has neither half-pixel centres nor
antialiasing. The `pil-` methods are Pillow's on float images: half-pixel centres, antialiased.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from igan.errors import UserError, did_you_mean
from igan.types import Array


def tf1_bilinear(images: Array, size: int) -> Array:
    """Resizes as TensorFlow 1 did.

    Args:
      images: [n, height, width, channels] of any type.
      size: height and width of the result.

    Returns:
      float32 [n, size, size, channels].

    >>> tf1_bilinear(jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1), 4)[0, 0, :, 0]
    Array([0., 2., 4., 4.], dtype=float32)
    """
    rows, next_rows, row_weights = _legacy_grid(images.shape[1], size)
    columns, next_columns, column_weights = _legacy_grid(images.shape[2], size)

    # Gathered before the arithmetic, and in the original's order, so that every pixel is rounded as it was there.
    def along_columns(index: Array) -> Array:
        line = images[:, index]
        left, right = line[:, :, columns].astype(jnp.float32), line[:, :, next_columns].astype(jnp.float32)
        return left + (right - left) * column_weights[:, None]

    top, bottom = along_columns(rows), along_columns(next_rows)
    return top + (bottom - top) * row_weights[:, None, None]


def _legacy_grid(source_size: int, size: int) -> tuple[Array, Array, Array]:
    """Returns for each destination the two source indices and the weight of the second."""
    position = jnp.arange(size, dtype=jnp.float32) * jnp.float32(source_size / size)
    # Rounding may carry the last position past the end.
    first = jnp.minimum(jnp.floor(position).astype(jnp.int32), source_size - 1)
    return first, jnp.minimum(first + 1, source_size - 1), position - first.astype(jnp.float32)


def _pillow(images: Array, size: int, method: str) -> Array:
    shape = (images.shape[0], size, size, images.shape[3])
    precision = jax.lax.Precision.HIGHEST
    return jax.image.resize(images.astype(jnp.float32), shape, method, antialias=True, precision=precision)


METHODS: Mapping[str, Callable[[Array, int], Array]] = {
    "tf1-bilinear": tf1_bilinear,
    "pil-bilinear": functools.partial(_pillow, method="bilinear"),
    "pil-bicubic": functools.partial(_pillow, method="bicubic"),
}


def resize(images: Array, size: int, method: str) -> Array:
    """Resizes with one of `METHODS`.

    Args:
      images: [n, height, width, channels], 0..255.
      size: height and width of the result.
      method: a key of `METHODS`.

    Returns:
      float32 [n, size, size, channels], neither rounded nor clipped.

    Raises:
      UserError: an unknown method.
    """
    if method not in METHODS:
        raise UserError(f"unknown resize '{method}'.{did_you_mean(method, METHODS)}")
    return METHODS[method](images, size)
