"""Equalised learning rates (Karras et al. 2018, section 4.1): weights are scaled when they are applied."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from igan.layers.weights import Layer, WeightLayer
from igan.types import Array, Context


def multiplier(asked: Layer, shape: tuple[int, ...]) -> float:
    """Returns what a kernel is multiplied by: gain / sqrt(fan in), He's constant for a gain of sqrt(2).

    Args:
      shape: of the kernel, whose last axis are the outputs.

    >>> multiplier(Layer(8, kernel=3), (3, 3, 2, 8)) == math.sqrt(2 / 18)
    True
    """
    return asked.gain / math.sqrt(math.prod(shape[:-1]))


class EqualizedLayer(WeightLayer):
    """A dense or convolutional layer that multiplies its kernel by gain / sqrt(fan in) when it is applied.

    With a learning-rate multiplier m (`Layer.rate`) kernels are drawn from N(0, 1 / m^2), and kernel and bias are
    multiplied by m as well: what is applied starts the same, and moves by m times as much in a step of Adam.

    Example: `EqualizedLayer(Layer(96, kernel=3, padding=1))(images, context)` takes [n, 32, 32, 3] to [n, 32, 32, 96].
    """

    def initializer(self) -> Callable[..., Any]:
        """Returns what kernels are drawn from, whatever the network would have."""
        return nn.initializers.normal(1 / self.asked.rate)

    def weights(self, kernel: Array, context: Context) -> Array:
        """Returns the kernel that is applied."""
        return kernel * (multiplier(self.asked, kernel.shape) * self.asked.rate)
