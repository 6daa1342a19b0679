"""Images as examples of a data set: how they are stored, and what networks, files and people see of them."""

import jax.numpy as jnp
import numpy as np

from igan.data.grids import image_grid
from igan.types import Array, Range, Space


def images(shape: tuple[int, ...]) -> Space:
    """Returns the space of uint8 images [height, width, channels] in 0..255.

    >>> images((28, 28, 1)).kind
    'images'
    """
    return Space("images", shape, np.dtype(np.uint8), rescale, quantize, grid)


def rescale(pixels: Array | np.ndarray, image_range: Range) -> Array:
    """Takes uint8 images in [0, 255] to float32 in `image_range`.

    >>> rescale(jnp.uint8([0, 255]), (-1.0, 1.0))
    Array([-1.,  1.], dtype=float32)
    """
    low, high = image_range
    return low + jnp.asarray(pixels, jnp.float32) * ((high - low) / 255)


def quantize(pixels: Array, image_range: Range) -> Array:
    """Takes images in `image_range` to the nearest uint8 in [0, 255]; what lies outside is clipped.

    >>> quantize(jnp.array([-1.2, 0.0, 1.0]), (-1.0, 1.0))
    Array([  0, 128, 255], dtype=uint8)
    """
    low, high = image_range
    return jnp.round((jnp.clip(pixels, low, high) - low) * (255 / (high - low))).astype(jnp.uint8)


def grid(samples: np.ndarray, image_range: Range) -> np.ndarray:
    """Returns one picture of all replicas' samples [R, count, height, width, channels], a block of rows each.

    >>> grid(np.zeros((2, 16, 8, 8, 1)), (0.0, 1.0)).shape
    (35, 35)
    """
    replicas, count = samples.shape[:2]
    columns = max(1, round(count**0.5))
    rows = max(1, columns // replicas)
    return image_grid(samples[:, : rows * columns].reshape(-1, *samples.shape[2:]), columns, image_range)
