"""Affine maps of images and of their colours, one for each image of a batch; differentiable, as often as one likes."""

import math

import jax
import jax.numpy as jnp

from igan.types import Array

EXACT = jax.lax.Precision.HIGHEST  # Coordinates: a GPU's usual products of matrices have ten bits.


def warp(images: Array, inverse: Array) -> Array:
    """Returns images resampled at other places, bilinearly; what lies outside is the image's mirror image.

    The mirror stands in the middle of the outermost pixels, which are not repeated. Where all places are pixels, as
    after a shift by whole ones, a flip or a quarter turn of a square, nothing is rounded.

    Args:
      images: float [n, height, width, channels].
      inverse: float [n, 3, 3], which takes the homogeneous coordinates (x, y, 1) of a pixel of the result to those of
        the place that it is taken from. The origin is the middle of the image, x points right and y down, in pixels.

    >>> right_by_one = jnp.array([[[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> warp(jnp.array([[[[1.0], [2.0], [4.0]]]]), right_by_one)[0, 0, :, 0]
    Array([2., 1., 2.], dtype=float32)
    """
    count, height, width, channels = images.shape
    middle = jnp.asarray([(width - 1) / 2, (height - 1) / 2], inverse.dtype)
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    pixels = jnp.stack([columns.reshape(-1), rows.reshape(-1)]).astype(inverse.dtype) - middle[:, None]
    places = jnp.einsum("nij,jp->nip", inverse[:, :2, :2], pixels, precision=EXACT)
    places = places + (inverse[:, :2, 2] + middle)[:, :, None]
    corner = jnp.floor(places)
    share = (places - corner).astype(images.dtype)
    corner = corner.astype(jnp.int32)
    flat, result = images.reshape(count, height * width, channels), jnp.zeros_like(images)
    for right in (0, 1):
        for down in (0, 1):
            x, y = _mirrored(corner[:, 0] + right, width), _mirrored(corner[:, 1] + down, height)
            taken = jnp.take_along_axis(flat, (y * width + x)[:, :, None], axis=1).reshape(images.shape)
            weight = (share[:, 0] if right else 1 - share[:, 0]) * (share[:, 1] if down else 1 - share[:, 1])
            result = result + weight.reshape(count, height, width, 1) * taken
    return result


def _mirrored(index: Array, size: int) -> Array:
    period = max(2 * (size - 1), 1)
    index = jnp.mod(index, period)
    return jnp.minimum(index, period - index)


def recolor(images: Array, matrix: Array) -> Array:
    """Returns images with other colours.

    Args:
      images: float [n, height, width, 3], or [n, height, width, 1]: grey images are those of three equal channels, and
        the result is the mean of the three.
      matrix: float [n, 4, 4], which takes the homogeneous colour (red, green, blue, 1) of a pixel to its new one.

    >>> half = jnp.diag(jnp.array([0.5, 0.5, 0.5, 1.0]))[None]
    >>> recolor(jnp.ones((1, 1, 1, 3)), half)
    Array([[[[0.5, 0.5, 0.5]]]], dtype=float32)
    """
    factors, shift = matrix[:, :3, :3], matrix[:, :3, 3]
    if images.shape[3] == 1:
        factors, shift = (
            jnp.mean(jnp.sum(factors, axis=2), axis=1)[:, None, None],
            jnp.mean(shift, axis=1, keepdims=True),
        )
    return jnp.einsum("nij,nhwj->nhwi", factors, images, precision=EXACT) + shift[:, None, None, :]


def color_matrix(brightness: Array, contrast: Array, flip: Array, hue: Array, saturation: Array) -> Array:
    """Returns matrices for `recolor`, [n, 4, 4], from numbers [n]; the operations follow each other in this order.

    Args:
      brightness: added to all channels.
      contrast: factor of all channels.
      flip: 1 mirrors the luma, the part along (1, 1, 1), and leaves the colour as it is; 0 does not.
      hue: angle by which colours turn around (1, 1, 1).
      saturation: factor of the part across (1, 1, 1).
    """
    one, zero = jnp.ones_like(hue), jnp.zeros_like(hue)
    grey = jnp.full((3, 3), 1 / 3)  # What takes a colour to its luma.
    cross = jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)  # (1, 1, 1) / sqrt(3) x
    eye = jnp.eye(3)
    cos, sin = jnp.cos(hue)[:, None, None], jnp.sin(hue)[:, None, None]
    factors = [
        contrast[:, None, None] * eye,
        eye - (2.0 * flip)[:, None, None] * grey,
        eye + (cos - 1) * (eye - grey) + sin * cross,
        eye + (saturation - 1)[:, None, None] * (eye - grey),
    ]
    linear, shift = factors[0], jnp.stack([brightness] * 3, axis=1)[:, :, None] * contrast[:, None, None]
    for factor in factors[1:]:
        linear, shift = (jnp.matmul(factor, each, precision=EXACT) for each in (linear, shift))
    last = jnp.stack([zero, zero, zero, one], axis=1)[:, None, :]
    return jnp.concatenate([jnp.concatenate([linear, shift], axis=2), last], axis=1)


def chained(before: Array | None, first: Array, *others: Array) -> Array:
    """Returns the inverse of maps that follow each other, from their inverses in this order: [n, 3, 3] each."""
    result = first if before is None else jnp.matmul(before, first, precision=EXACT)
    for other in others:
        result = jnp.matmul(result, other, precision=EXACT)
    return result


def scaling(x: Array, y: Array) -> Array:
    """Returns maps that scale both axes, [n, 3, 3] from [n] twice."""
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    return _rows((x, zero, zero), (zero, y, zero), (zero, zero, one))


def turning(angle: Array) -> Array:
    """Returns maps that turn x towards y, which is clockwise as y points down: [n, 3, 3] from [n]."""
    return _turn(jnp.cos(angle), jnp.sin(angle))


def quarter_turn(count: Array) -> Array:
    """Returns maps that turn x towards y by quarters of a circle, exactly: [n, 3, 3] from whole numbers [n]."""
    cosines = jnp.array([1.0, 0.0, -1.0, 0.0])
    return _turn(cosines[count % 4], cosines[(count - 1) % 4])


def shifting(x: Array, y: Array) -> Array:
    """Returns maps that shift, [n, 3, 3] from [n] twice."""
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    return _rows((one, zero, x), (zero, one, y), (zero, zero, one))


def _turn(cos: Array, sin: Array) -> Array:
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    return _rows((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))


def _rows(*rows: tuple[Array, ...]) -> Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
