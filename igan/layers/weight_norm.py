"""Weight normalisation with data-dependent initialisation (Salimans and Kingma 2016, equations 2 and 5-6)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from igan.layers.convolution import conv, conv_transpose
from igan.types import Array


class WeightNormDense(nn.Module):
    """A dense layer whose kernel is `scale * direction / |direction|`, one scale and direction an output.

    Initialised on the batch that `init` sees: there each output has mean 0 and standard deviation `initial_std`.

    Attributes:
      features: outputs.
      train_scale: whether the optimiser trains the scale. Where not, it keeps the value that initialisation gave it.
      initial_std: of each output over the initial batch.
      direction_std: directions are drawn from N(0, direction_std^2).
      dtype: of the factors of its product; None: that of what it is given.

    Example: `WeightNormDense(250)(inputs)` takes float [n, inputs] to [n, 250].
    """

    features: int
    train_scale: bool = False
    initial_std: float = 1.0
    direction_std: float = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (inputs.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.normal(self.direction_std), shape)
        # Scaling the outputs is scaling the kernel's columns, without a temporary of the kernel's size.
        projection = _product(inputs, direction, self.dtype) / jnp.linalg.norm(direction, axis=0)
        scale, bias = _scale_and_bias(self, lambda: projection, self.train_scale, self.initial_std)
        return projection * scale + bias


class WeightNormConv(nn.Module):
    """A convolution with the weight normalisation and initialisation of `WeightNormDense`.

    Attributes:
      features: output channels.
      kernel: side of the square kernel.
      stride: of the convolution.
      padding: zeros on each side of the image.
      transposed: whether it is `igan.layers.convolution.conv_transpose` instead, with a kernel of side 5.
      train_scale, initial_std, direction_std: see `WeightNormDense`.
      dtype: in which it is computed; parameters and statistics stay float32.

    Example: `WeightNormConv(96, stride=2)(images)` takes float [n, 32, 32, 3] to [n, 16, 16, 96].
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    transposed: bool = False
    train_scale: bool = False
    initial_std: float = 1.0
    direction_std: float = 0.05
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (self.kernel, self.kernel, inputs.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.normal(self.direction_std), shape)
        unit = direction / jnp.sqrt(jnp.sum(jnp.square(direction), axis=(0, 1, 2)))
        inputs = inputs.astype(self.dtype)

        def convolve(kernel: Array) -> Array:
            if self.transposed:
                return conv_transpose(inputs, kernel.astype(self.dtype))
            return conv(inputs, kernel.astype(self.dtype), self.stride, self.padding)

        # Called at initialisation only, so that a step computes one convolution.
        scale, bias = _scale_and_bias(self, lambda: convolve(unit), self.train_scale, self.initial_std)
        return convolve(unit * scale) + bias.astype(self.dtype)


def _scale_and_bias(
    module: nn.Module, project: Callable[[], Array], train_scale: bool, initial_std: float
) -> tuple[Array, Array]:
    """Returns a layer's scale and bias; at initialisation they standardise the projection on unit directions."""

    once = project().astype(jnp.float32) if module.is_initializing() else None

    def projection() -> Array:
        # Flax asks for the shapes of initial values in every step, abstractly.
        return project().astype(jnp.float32) if once is None else once

    def initial_scale(key: Any = None) -> Array:
        return initial_std / jnp.std(projection(), axis=range(projection().ndim - 1))

    def initial_bias(key: Any) -> Array:
        return -jnp.mean(projection(), axis=range(projection().ndim - 1)) * initial_scale()

    if train_scale:
        scale = module.param("scale", initial_scale)
    else:
        scale = module.variable("constants", "scale", initial_scale).value
    return scale, module.param("bias", initial_bias)


def _product(inputs: Array, kernel: Array, dtype: Any) -> Array:
    if dtype is None:
        return inputs @ kernel
    return (inputs.astype(dtype) @ kernel.astype(dtype)).astype(kernel.dtype)


class UnitNormDense(nn.Module):
    """The MNIST generator's output layer: kernel `scale * w / sqrt(1e-6 + |w|^2)`, not data-dependent.

    `w` starts Glorot-uniform, the trained scale at 1, the bias at 0, as in the paper's released code.

    Example: `UnitNormDense(784)(inputs)` takes float [n, inputs] to [n, 784].
    """

    features: int
    dtype: Any = None  # See `WeightNormDense`.

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (inputs.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.glorot_uniform(), shape)
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        norm = jnp.sqrt(1e-6 + jnp.sum(jnp.square(direction), axis=0))
        return _product(inputs, direction, self.dtype) * (scale / norm) + bias
