"""The networks of R3GAN (Huang et al. 2024, section 4, "Config E"): residual, with nothing that is normalised.

Both players are the same blocks in opposite orders: inverted bottlenecks whose middle convolution is grouped, with
leaky rectifiers and biases, and no normalisation, noise, mapping or statistic of a minibatch. Their last convolution
starts at zero, so that every block begins as the identity (Zhang et al. 2019, "Fixup"), and the others start smaller
the more blocks there are. Images are made twice as large and half as large by bilinear filters; no tanh keeps them in
[-1, 1]. The defaults are those of CIFAR-10; `label_embedding` gives both players the labels that the paper's have.

Widths are those of the stages, from 4 x 4 pixels on. For 64 pixels the paper has (768, 768, 768, 768, 384), for 256
(768, 768, 768, 768, 384, 192, 96).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn

from igan.layers.activation import SLOPE, leaky_relu
from igan.layers.block_end import block_end
from igan.layers.resampling import smooth_downsample, smooth_upsample
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.models import is_width, precision_dtype, require, require_fitting, require_latent_size, require_widths
from igan.models.functional import filled, gives, network, normal_latents
from igan.types import Array, Context, Critique, Networks

PLACES = ("generator_layer", "discriminator_layer", "generator_labels", "discriminator_labels")
SMALLEST = (3, 4, 5, 6, 7)  # Sides of the smallest feature maps: 4 in the paper, 7 for images of 28 pixels.
EXPANSION = 2  # How many times as wide a block is inside.
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # Of a layer before a leaky rectifier.


def normal(gain: float = 1.0) -> Callable[..., Array]:
    """Returns the initialiser N(0, gain^2 / inputs), counted with the kernel's area and within a group.

    >>> normal()(jax.random.key(0), (3, 3, 16, 32)).shape
    (3, 3, 16, 32)
    """
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """x + f(x), which is x at the beginning: [n, h, w, c] -> the same.

    Attributes:
      group_size: channels of a group of the middle convolution.
      blocks: of the whole network, by which its kernels start the smaller.
    """

    group_size: int
    blocks: int
    dtype: Any
    layer: MakeLayer = WeightLayer

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        channels = inputs.shape[-1]
        wide = EXPANSION * channels
        init = normal(GAIN * self.blocks**-0.25)
        first = Layer(wide, kernel=1, dtype=self.dtype, kernel_init=init)
        second = first._replace(kernel=3, padding=1, groups=wide // self.group_size)
        last = Layer(channels, kernel=1, bias=False, dtype=self.dtype, kernel_init=nn.initializers.zeros)
        hidden = leaky_relu(self.layer(first)(inputs, context))
        hidden = leaky_relu(self.layer(second)(hidden, context))
        return block_end(inputs + self.layer(last)(hidden, context))


class Generator(nn.Module):
    """Latents [n, latent_size] -> images float32 [n, side, side, channels], which nothing keeps in a range.

    A learned image, of 4 x 4 pixels mostly, each of whose channels the latent multiplies, then the stages' blocks.
    """

    widths: Sequence[int]
    blocks: int
    group_size: int
    smallest: int
    channels: int
    dtype: Any
    layer: MakeLayer = WeightLayer
    on_labels: Callable[[], Callable[[Array, Context], Array]] | None = None

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        total = self.blocks * len(self.widths)
        linear = Layer(self.widths[0], bias=False, kernel_init=normal())
        basis = self.param("basis", nn.initializers.normal(1.0), (self.smallest, self.smallest, self.widths[0]))
        given = latents if self.on_labels is None else self.on_labels()(latents, context)
        factors = self.layer(linear)(given, context)
        hidden = (basis * factors[:, None, None]).astype(self.dtype)
        for index, width in enumerate(self.widths):
            if index:
                hidden = smooth_upsample(_widened(self, hidden, width, context))
            for _ in range(self.blocks):
                hidden = Block(self.group_size, total, self.dtype, self.layer)(hidden, context)
        pixels = linear._replace(features=self.channels, kernel=1, is_last=True, dtype=self.dtype)
        return self.layer(pixels)(hidden, context).astype(float)


class Discriminator(nn.Module):
    """Images [n, side, side, channels] -> Critique; features: of each channel at last a weighted sum over space."""

    widths: Sequence[int]  # As the generator's: the last one is that of the pixels.
    blocks: int
    group_size: int
    smallest: int
    dtype: Any
    layer: MakeLayer = WeightLayer
    on_labels: Callable[[], Callable[[Array, Context], Array]] | None = None

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        total, width = self.blocks * len(self.widths), self.widths[-1]
        first = Layer(width, kernel=1, bias=False, dtype=self.dtype, kernel_init=normal())
        hidden = self.layer(first)(images.astype(self.dtype), context)
        for index, width in enumerate(reversed(self.widths)):
            if index:
                hidden = _widened(self, smooth_downsample(hidden), width, context)
            for _ in range(self.blocks):
                hidden = Block(self.group_size, total, self.dtype, self.layer)(hidden, context)
        whole = first._replace(features=width, kernel=self.smallest, groups=width)
        features = self.layer(whole)(hidden, context)[:, 0, 0].astype(float)
        if self.on_labels is not None:
            return Critique(self.on_labels()(features, context), features)
        last = Layer(1, bias=False, is_last=True, kernel_init=normal())
        return Critique(self.layer(last)(features, context)[:, 0], features)


def _widened(player: Any, hidden: Array, width: int, context: Context) -> Array:
    """Returns feature maps with another number of channels, by a 1 x 1 convolution, if need be."""
    if hidden.shape[-1] == width:
        return hidden
    return player.layer(Layer(width, kernel=1, bias=False, dtype=player.dtype, kernel_init=normal()))(hidden, context)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 64,
    widths: tuple[int, ...] = (768, 768, 768, 768),
    blocks: int = 2,
    group_size: int = 16,
    precision: str = "float32",
) -> Networks:
    """Returns the networks.

    Args:
      image_shape: height, width, channels; a square of 3 to 7 pixels doubled once for each width but the first.
      classes: not used: there are no class logits.
      layers: what techniques put into the networks, by place: "generator_labels", called with (latents, context),
        returns more of them, and "discriminator_labels", called with (features, context), the logits.
      latent_size: numbers in a latent, drawn from N(0, 1).
      widths: channels of the stages of both networks, from 4 x 4 pixels to the full size.
      blocks: of each stage.
      group_size: channels of a group of the blocks' middle convolutions, which are twice as wide as their stage.
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    require_widths("widths", widths)
    require("widths", widths, "at least one width", len)
    require("blocks", blocks, "a whole number from 1 to 100", lambda count: is_width(count) and count <= 100)
    require(
        "group_size",
        group_size,
        f"a number of channels that divides {EXPANSION} times each of the widths",
        lambda size: is_width(size) and not any(EXPANSION * width % size for width in widths),
    )
    dtype = precision_dtype(precision)
    sides = {side * 2 ** (len(widths) - 1): side for side in SMALLEST}
    needed = f"squares of {', '.join(map(str, sides))} pixels"
    require_fitting(
        "r3gan", image_shape, needed, lambda each: each == image_shape[1] and each in sides, widths=tuple(widths)
    )
    smallest = sides[image_shape[1]]

    sizes = (tuple(widths), blocks, group_size, smallest)
    of_generator = filled(layers, layer="generator_layer", on_labels="generator_labels")
    of_discriminator = filled(layers, layer="discriminator_layer", on_labels="discriminator_labels")
    return Networks(
        generator=network(Generator(*sizes, image_shape[2], dtype, **of_generator)),
        discriminator=network(Discriminator(*sizes, dtype, **of_discriminator)),
        sample_latents=normal_latents(latent_size),
        image_range=(-1.0, 1.0),
        convolutional=True,
        blocks=True,
        gives=gives(None, independent_examples=True, plain_weights="discriminator_layer" not in layers),
    )
