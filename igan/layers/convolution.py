"""Convolutions of the paper's networks, and the transposed one that doubles an image's sides in its generators."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.types import Array

LAYOUT = ("NHWC", "HWIO", "NHWC")
TRANSPOSED_KERNEL = 5


class TransposedConv(nn.Module):
    """A transposed convolution without bias, for a normalisation layer to follow; see `conv_transpose`.

    Attributes:
      features: output channels.
      std: the kernel is drawn from N(0, std^2).
      dtype: in which it is computed; the kernel stays float32.

    Example: `TransposedConv(128, std=0.05)(activations)` takes [n, 8, 8, 256] to [n, 16, 16, 128].
    """

    features: int
    std: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (TRANSPOSED_KERNEL, TRANSPOSED_KERNEL, inputs.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.std), shape)
        return conv_transpose(inputs.astype(self.dtype), kernel.astype(self.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Returns the convolution of images [n, h, w, c] with a kernel [k, k, c, features].

    With a gradient of its own on a CPU, where XLA's takes twice as long. The convolution and the gradients of its
    images and of its kernel are linear in both of their arguments, and the gradients of each are the other two. So
    gradients of any order are made of these three, and gradient penalties are as fast as the rest.

    Args:
      stride: of the places where it is evaluated.
      padding: zeros on each side of the images.

    >>> conv(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 8)), stride=2, padding=1).shape
    (1, 2, 2, 8)
    """
    return _conv(images, kernel, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def images_gradient(gradient: Array, kernel: Array, sides: tuple[int, int], stride: int, padding: int) -> Array:
    """Returns the gradient of the images of `conv`, whose height and width are `sides`."""

    def as_xla_does(gradient: Array, kernel: Array) -> Array:
        images = jax.ShapeDtypeStruct((gradient.shape[0], *sides, kernel.shape[2]), gradient.dtype)
        return jax.linear_transpose(lambda images: _conv(images, kernel, stride, padding), images)(gradient)[0]

    def on_cpu(gradient: Array, kernel: Array) -> Array:
        return _images_gradient(gradient, kernel, sides, stride, padding)

    return jax.lax.platform_dependent(gradient, kernel, cpu=on_cpu, default=as_xla_does)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def kernel_gradient(images: Array, gradient: Array, size: int, stride: int, padding: int) -> Array:
    """Returns the gradient of the kernel of `conv`, whose side is `size`."""

    def as_xla_does(images: Array, gradient: Array) -> Array:
        kernel = jax.ShapeDtypeStruct((size, size, images.shape[-1], gradient.shape[-1]), gradient.dtype)
        return jax.linear_transpose(lambda kernel: _conv(images, kernel, stride, padding), kernel)(gradient)[0]

    def on_cpu(images: Array, gradient: Array) -> Array:
        return _kernel_gradient(images, gradient, size, stride, padding)

    return jax.lax.platform_dependent(images, gradient, cpu=on_cpu, default=as_xla_does)


def _forward(of: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    return of(*arguments), arguments[:2]


def _conv_backward(stride: int, padding: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Any, Any]:
    images, kernel = saved
    of_images = images_gradient(gradient, kernel, images.shape[1:3], stride, padding)
    return of_images, kernel_gradient(images, gradient, kernel.shape[0], stride, padding)


def _images_backward(
    sides: tuple[int, int], stride: int, padding: int, saved: tuple[Array, Array], images: Array
) -> tuple[Any, Any]:
    gradient, kernel = saved
    of_kernel = kernel_gradient(images, gradient, kernel.shape[0], stride, padding)
    return conv(images, kernel, stride, padding), of_kernel


def _kernel_backward(
    size: int, stride: int, padding: int, saved: tuple[Array, Array], kernel: Array
) -> tuple[Any, Any]:
    images, gradient = saved
    of_images = images_gradient(gradient, kernel, images.shape[1:3], stride, padding)
    return of_images, conv(images, kernel, stride, padding)


conv.defvjp(functools.partial(_forward, conv), _conv_backward)
images_gradient.defvjp(functools.partial(_forward, images_gradient), _images_backward)
kernel_gradient.defvjp(functools.partial(_forward, kernel_gradient), _kernel_backward)


def _conv(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    pads = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(images, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)


def _images_gradient(gradient: Array, kernel: Array, sides: tuple[int, ...], stride: int, padding: int) -> Array:
    """Returns the gradient of the images: the convolution of a dilated gradient with the mirrored kernel.

    The barrier keeps the mirrored kernel an array of its own. Folded into the convolution, as XLA would, it may miss
    XLA's fast convolution, which takes half the time.
    """
    mirrored = jax.lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    size, pads = kernel.shape[0], []
    for side, places in zip(sides, gradient.shape[1:3], strict=True):
        low = size - 1 - padding
        pads.append((low, side + size - 1 - low - (stride * (places - 1) + 1)))
    return jax.lax.conv_general_dilated(
        gradient, mirrored, (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=LAYOUT
    )


def _kernel_gradient(images: Array, gradient: Array, size: int, stride: int, padding: int) -> Array:
    """Returns the gradient of the kernel, one matrix product for each of its taps: half the time of XLA's on a CPU."""
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (stride * (side - 1) + 1 for side in gradient.shape[1:3])
    rows = gradient.reshape(-1, gradient.shape[-1])

    def tap(row: int, column: int) -> Array:
        seen = padded[:, row : row + height : stride, column : column + width : stride]
        return seen.reshape(-1, images.shape[-1]).T @ rows

    return jnp.stack([jnp.stack([tap(row, column) for column in range(size)]) for row in range(size)])


def conv_transpose(images: Array, kernel: Array) -> Array:
    """Returns the transpose of a convolution with stride 2, its kernel mirrored: an image twice as large.

    The convolution has 2 pixels of zeros around for a kernel of side 5, and 1 for sides 4 and 3, as usual.

    An output pixel at an even place sees other taps of the kernel than one at an odd place. So this is one smaller
    convolution with a set of output channels for each of the four kinds of place, and interleaving. Convolving a
    dilated image instead is no faster, and XLA's gradient of its kernel takes 30 times as long on a CPU.

    Args:
      images: [n, height, width, channels].
      kernel: [k, k, channels, features]; k is 3, 4 or 5.

    Returns: [n, 2 height, 2 width, features].

    >>> conv_transpose(jnp.ones((1, 4, 4, 3)), jnp.ones((4, 4, 3, 8))).shape
    (1, 8, 8, 8)
    """
    side = kernel.shape[0]
    assert side in (3, 4, 5), side
    if side < 5:
        # Place 2 m + r gets tap 2 d + 2 - r of four from input m + d, where m + d is m - 1 or m if r is 0, and m or
        # m + 1 if r is 1. So both places 2 q - 1 and 2 q see inputs q - 1 and q, for q from 0 to the height. A kernel
        # of three is one of four with a zero in front.
        return _interleaved(images, jnp.pad(kernel, (*[(4 - side, 0)] * 2, (0, 0), (0, 0))), 2)[:, 1:-1, 1:-1]
    # Place 2 m + r gets tap 2 d + 2 - r from input m + d: after a zero in front, taps 2 (d + 1) + 1 - r.
    return _interleaved(images, jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))), 3)


def _interleaved(images: Array, kernel: Array, size: int) -> Array:
    """Returns four convolutions of side `size`, padded by 1, a 2 x 2 square of each place; the last taps come first."""
    channels, features = kernel.shape[2:]
    taps = jnp.flip(kernel.reshape(size, 2, size, 2, channels, features), (1, 3))
    kinds: Array = conv(images, taps.transpose(0, 2, 4, 1, 3, 5).reshape(size, size, channels, 4 * features), 1, 1)
    count, height, width, _ = kinds.shape
    kinds = kinds.reshape(count, height, width, 2, 2, features)
    return kinds.transpose(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, features)
