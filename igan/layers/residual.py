"""Residual blocks before whose convolutions stand normalisation and rectifier, as in WGAN-GP and SNGAN.

Gulrajani et al. (2017), appendix F; Miyato et al. (2018), table 4 and figure 14. A block is the sum of two branches,
with nothing after the sum: two 3 x 3 convolutions, and a shortcut, which is a 1 x 1 convolution where the image changes
its size or its channels, and the inputs themselves elsewhere.

The shortcut's 1 x 1 convolution works on the smaller image: repeating pixels and taking means of them commute with it,
so it is that of the papers at a quarter of the cost.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers.batch_norm import BatchNorm
from igan.layers.block_end import block_end
from igan.layers.norms import MakeNorm, no_norm
from igan.layers.resampling import mean_pool, upsample
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.types import Array, Context

# Glorot's uniform distribution, and with a gain of sqrt(2) for the layers before or behind a rectifier.
GLOROT = nn.initializers.glorot_uniform()
RECTIFIED_GLOROT = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class UpBlock(nn.Module):
    """A generator's block: [n, h, w, c] -> [n, 2 h, 2 w, features].

    Norm, ReLU, upsampling, convolution, norm, ReLU, convolution. The paper on WGAN-GP says that the upsampling stands
    before the second convolution; its code, and SNGAN's, have it before the first.

    Attributes:
      features: output channels, of both convolutions.
      norm: makes each of the two normalisations.
      layer: makes each of the three convolutions.
      dtype: in which they are computed.

    Example: `UpBlock(256)(activations, context)` takes [n, 4, 4, 256] to [n, 8, 8, 256].
    """

    features: int
    norm: MakeNorm = BatchNorm
    layer: MakeLayer = WeightLayer
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        wide, narrow = _kinds(self.layer, self.dtype)
        hidden = upsample(jax.nn.relu(self.norm()(inputs, context)))
        hidden = wide(self.features)(hidden, context)
        hidden = wide(self.features)(jax.nn.relu(self.norm()(hidden, context)), context)
        return block_end(hidden + upsample(narrow(self.features)(inputs, context)))


class DownBlock(nn.Module):
    """A discriminator's block: [n, h, w, c] -> [n, h / 2, w / 2, features], or as large as it was.

    Norm, ReLU, convolution, norm, ReLU, convolution, and the mean of each 2 x 2 square.

    Attributes:
      features: output channels.
      halves: whether it makes the image half as large.
      on_pixels: the network's first block: without norm and ReLU at its beginning, because pixels below zero say as
        much as those above. Its first convolution has as many channels as its second; elsewhere as many as the inputs.
      wide: the first convolution has as many channels as the second in any case, as in SAGAN and BigGAN.
      norm, layer, dtype: see `UpBlock`.

    Example: `DownBlock(128, halves=True)(activations, context)` takes [n, 16, 16, 128] to [n, 8, 8, 128].
    """

    features: int
    halves: bool
    on_pixels: bool = False
    wide: bool = False
    norm: MakeNorm = no_norm
    layer: MakeLayer = WeightLayer
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        wide, narrow = _kinds(self.layer, self.dtype)
        channels = inputs.shape[-1]
        smaller = mean_pool if self.halves else lambda images: images
        hidden = inputs if self.on_pixels else jax.nn.relu(self.norm()(inputs, context))
        hidden = wide(self.features if self.on_pixels or self.wide else channels)(hidden, context)
        hidden = wide(self.features)(jax.nn.relu(self.norm()(hidden, context)), context)
        shortcut = smaller(inputs)
        if self.halves or channels != self.features:
            shortcut = narrow(self.features)(shortcut, context)
        return block_end(smaller(hidden) + shortcut)


def _kinds(layer: MakeLayer, dtype: Any) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Returns what makes a branch's 3 x 3 convolution and a shortcut's 1 x 1, of their numbers of features."""

    def wide(features: int) -> Any:
        return layer(Layer(features, kernel=3, padding=1, dtype=dtype, kernel_init=RECTIFIED_GLOROT))

    def narrow(features: int) -> Any:
        return layer(Layer(features, kernel=1, dtype=dtype, kernel_init=GLOROT))

    return wide, narrow
