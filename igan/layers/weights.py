"""What a network asks of a layer with weights, and the plain layer that holds them as they are."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from igan.layers.convolution import conv, conv_transpose
from igan.layers.grouped_convolution import grouped_conv
from igan.types import Array, Context


class Layer(NamedTuple):
    """What a network family asks of a layer with weights; what fills the place decides how it holds them."""

    features: int
    kernel: int = 0  # Side of a convolution's square kernel; 0: a dense layer.
    stride: int = 1
    padding: int = 0  # Zeros on each side of the image.
    groups: int = 1  # Into which the channels of a convolution of stride 1 are divided.
    transposed: bool = False  # `igan.layers.convolution.conv_transpose`, twice as large.
    is_last: bool = False  # The network's outputs.
    bias: bool = True  # False where a normalisation with a shift follows.
    dtype: Any = float  # In which it is computed: float32, or float64 where JAX has been told to have it.
    kernel_init: Callable[..., Any] = nn.initializers.glorot_uniform()
    own_gain: float | None = None  # See `gain`.
    rate: float = 1.0  # Multiplies the learning rate of what is trained, which is larger by as much.

    @property
    def gain(self) -> float:
        """By how much a layer with equalised learning rates changes the standard deviation of N(0, 1) inputs.

        He's, for the rectifier that follows, which the last layer has none of.
        """
        return (1.0 if self.is_last else math.sqrt(2)) if self.own_gain is None else self.own_gain


MakeLayer = Callable[[Layer], Callable[[Array, Context], Array]]


def drawn_by(layer: MakeLayer, kernel_init: Callable[..., Any]) -> MakeLayer:
    """Returns what makes the same layers with kernels that are drawn by another initialiser.

    >>> drawn_by(WeightLayer, nn.initializers.normal(0.02))(Layer(96)).asked.kernel_init is Layer(96).kernel_init
    False
    """
    return lambda asked: layer(asked._replace(kernel_init=kernel_init))


def apply_kernel(asked: Layer, kernel: Array, bias: Array | None, inputs: Array) -> Array:
    """Returns what a layer makes of its inputs: a product, a convolution or a transposed one, and the bias.

    Args:
      kernel: [inputs, features], or [side, side, inputs / groups, features] of a convolution.
      bias: [features], or None.
      inputs: [n, inputs], or [n, height, width, inputs] for a convolution.

    >>> apply_kernel(Layer(5), jnp.ones((3, 5)), None, jnp.ones((2, 3))).shape
    (2, 5)
    """
    inputs, kernel = inputs.astype(asked.dtype), kernel.astype(asked.dtype)
    outputs: Any
    if not asked.kernel:
        outputs = inputs @ kernel
    elif asked.groups > 1:
        outputs = grouped_conv(inputs, kernel, asked.groups, asked.padding)
    elif (asked.kernel, asked.stride, asked.padding, asked.transposed) == (1, 1, 0, False):
        # A product of matrices. As a convolution of one channel, XLA fails to deal it out over devices with replicas.
        outputs = inputs @ kernel[0, 0]
    elif asked.transposed:
        outputs = conv_transpose(inputs, kernel)
    else:
        outputs = conv(inputs, kernel, asked.stride, asked.padding)
    return outputs if bias is None else outputs + bias.astype(asked.dtype)


class WeightLayer(nn.Module):
    """A dense or convolutional layer with plain weights, or with `weights` of a normalised kernel.

    Attributes:
      asked: what the network asks for.

    Example: `WeightLayer(Layer(96, kernel=3, padding=1))(images, context)` takes [n, 32, 32, 3] to [n, 32, 32, 96].
    """

    asked: Layer

    def weights(self, kernel: Array, context: Context) -> Array:
        """Returns the kernel that is applied, of the one that is trained: what normalisations of weights override."""
        return kernel if self.asked.rate == 1 else kernel * self.asked.rate

    def initializer(self) -> Callable[..., Any]:
        """Returns what draws the kernel that is trained."""
        asked = self.asked
        if asked.rate == 1:
            return asked.kernel_init
        return lambda *arguments: asked.kernel_init(*arguments) / asked.rate

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        asked = self.asked
        shape = (*[asked.kernel] * (2 if asked.kernel else 0), inputs.shape[-1] // asked.groups, asked.features)
        kernel = self.param("kernel", self.initializer(), shape)
        bias = self.param("bias", nn.initializers.zeros, (asked.features,)) if asked.bias else None
        if bias is not None and asked.rate != 1:
            bias = bias * asked.rate
        return apply_kernel(asked, self.weights(kernel, context), bias, inputs)
