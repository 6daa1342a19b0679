"""Residual networks of WGAN-GP and SNGAN (Gulrajani et al. 2017, appendix F; Miyato et al. 2018, table 4).

The defaults are SNGAN's for 32 x 32 pixels; `experiments/gans.py` has WGAN-GP's too. For 128 x 128 SNGAN has the widths
(1024, 1024, 512, 256, 128, 64) in the generator, and in the discriminator (64, 128, 256, 512, 1024, 1024), five of
which halve the image.

Where those papers sample with running averages of the generator's batch statistics, igan refreshes the statistics
before sampling (`igan.game.inference.freeze`): they belong to the parameters that are sampled.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers import truncation
from igan.layers.attention import MakeMapLayer, no_map_layer
from igan.layers.batch_norm import BatchNorm
from igan.layers.heads import MakeHead, no_head
from igan.layers.norms import NORMS, MakeNorm, no_norm
from igan.layers.residual import GLOROT, DownBlock, UpBlock
from igan.layers.truncation import truncated
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.models import precision_dtype, require, require_fitting, require_latent_size, require_widths
from igan.models.functional import as_they_are, critique, filled, gives, network, normal_latents
from igan.types import Array, Context, Critique, Networks

PLACES = (
    "generator",
    "generator_norm",
    "generator_layer",
    "discriminator_layer",
    "discriminator_features",
    "discriminator_head",
    "generator_maps",
    "discriminator_maps",
)
POOLINGS = {"sum": jnp.sum, "mean": jnp.mean}
LARGEST = 128  # Side of an image.


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, height, width, channels] in (-1, 1), twice as large after each block."""

    widths: Sequence[int]
    image_shape: tuple[int, int, int]
    dtype: Any
    norm: MakeNorm = BatchNorm
    layer: MakeLayer = WeightLayer
    on_maps: MakeMapLayer = no_map_layer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        height, width, channels = self.image_shape
        shrunk = 2 ** (len(self.widths) - 1)
        shape = (height // shrunk, width // shrunk, self.widths[0])
        hidden = self.layer(Layer(math.prod(shape), kernel_init=GLOROT))(truncated(latents, context), context)
        hidden = hidden.reshape(-1, *shape).astype(self.dtype)
        for features in self.widths[1:]:
            hidden = UpBlock(features, self.norm, self.layer, self.dtype)(hidden, context)
            hidden = self.on_maps(hidden.shape[1], self.layer, self.dtype)(hidden, context)
        hidden = jax.nn.relu(getattr(self.norm, "unconditional", self.norm)()(hidden, context))
        last = Layer(channels, kernel=3, padding=1, is_last=True, dtype=self.dtype, kernel_init=GLOROT)
        return jnp.tanh(self.layer(last)(hidden, context).astype(float))


class Discriminator(nn.Module):
    """Images [n, height, width, channels] in [-1, 1] -> Critique; features: the last block's sum or mean over space."""

    widths: Sequence[int]
    halvings: int
    pooling: str
    last_bias: bool
    classes: int | None
    dtype: Any
    norm: MakeNorm
    layer: MakeLayer = WeightLayer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are
    head: MakeHead = no_head
    wide: bool = False
    on_maps: MakeMapLayer = no_map_layer

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        hidden = images.astype(self.dtype)
        for index, width in enumerate(self.widths):
            # As usual, the layers on the pixels are not normalised.
            norm = self.norm if index else no_norm
            halves = index < self.halvings
            hidden = DownBlock(width, halves, index == 0, self.wide, norm, self.layer, self.dtype)(hidden, context)
            if halves or index == 0:  # The first of this height.
                hidden = self.on_maps(hidden.shape[1], self.layer, self.dtype)(hidden, context)
        features = POOLINGS[self.pooling](jax.nn.relu(hidden), axis=(1, 2), dtype=float)
        last = Layer(self.classes or 1, is_last=True, bias=self.last_bias, kernel_init=GLOROT)
        shown = self.on_features()(features)
        said = critique(self.layer(last)(shown, context), features, self.classes)
        return self.head(self.layer)(said, shown, context)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 128,
    generator_widths: tuple[int, ...] = (256, 256, 256, 256),
    discriminator_widths: tuple[int, ...] = (128, 128, 128, 128),
    discriminator_halvings: int = 2,
    discriminator_wide: bool = False,
    discriminator_norm: str = "none",
    pooling: str = "sum",
    last_bias: bool = False,
    precision: str = "float32",
) -> Networks:
    """Returns residual networks.

    Args:
      image_shape: height, width, channels; sides up to 128, which can be halved as often as both networks do.
      classes: K for a discriminator with a logit for each class, None for a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent, drawn from N(0, 1).
      generator_widths: channels of the dense layer, which is the smallest image, and of each block after it.
      discriminator_widths: channels of each block.
      discriminator_halvings: how many of those, from the first one on, make the image half as large.
      discriminator_wide: whether the first convolution of each block is as wide as the second, as in SAGAN, and not as
        the block's inputs.
      discriminator_norm: in the discriminator's blocks but the first: "none"; "layer", with one scale and shift a
        channel; "batch".
      pooling: of the discriminator's last feature maps: "sum" (SNGAN) or "mean" (WGAN-GP).
      last_bias: whether the discriminator's last layer has a bias (WGAN-GP).
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    require_blocks("resnet", image_shape, generator_widths, discriminator_widths, discriminator_halvings)
    require("discriminator_norm", discriminator_norm, " or ".join(NORMS), lambda name: name in NORMS)
    require("pooling", pooling, " or ".join(POOLINGS), lambda name: name in POOLINGS)
    dtype = precision_dtype(precision)

    generator = Generator(
        tuple(generator_widths),
        image_shape,
        dtype,
        **filled(layers, norm="generator_norm", layer="generator_layer"),
        on_maps=maps(layers, "generator", generator_heights(image_shape[0], len(generator_widths) - 1)),
    )
    heights = discriminator_heights(image_shape[0], len(discriminator_widths), discriminator_halvings)
    discriminator = Discriminator(
        tuple(discriminator_widths),
        discriminator_halvings,
        pooling,
        last_bias,
        classes,
        dtype,
        NORMS[discriminator_norm],
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features", head="discriminator_head"),
        wide=discriminator_wide,
        on_maps=maps(layers, "discriminator", heights),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=normal_latents(latent_size),
        image_range=(-1.0, 1.0),
        convolutional=True,
        blocks=True,
        options=frozenset({truncation.OPTION}),
        gives=gives(
            classes,
            independent_examples=discriminator_norm != "batch",
            plain_weights="discriminator_layer" not in layers,
        ),
    )


def generator_heights(height: int, blocks: int) -> list[int]:
    """Returns the heights of the maps after each of a generator's blocks.

    >>> generator_heights(32, blocks=3)
    [8, 16, 32]
    """
    return [height // 2**times for times in reversed(range(blocks))]


def discriminator_heights(height: int, blocks: int, halvings: int) -> list[int]:
    """Returns the heights of the maps after a discriminator's blocks, each once.

    >>> discriminator_heights(32, blocks=4, halvings=2)
    [16, 8]
    """
    return sorted({height // 2 ** min(index + 1, halvings) for index in range(blocks)}, reverse=True)


def maps(layers: Mapping[str, Callable[..., Any]], player: str, heights: Sequence[int]) -> MakeMapLayer:
    """Returns what a technique puts on the feature maps of a player, whose heights these are.

    Raises UserError where the technique wants another height.
    """
    place = f"{player}_maps"
    return layers[place](heights) if place in layers else no_map_layer


def require_blocks(
    family: str,
    image_shape: tuple[int, int, int],
    generator: Sequence[int],
    discriminator: Sequence[int],
    halvings: int,
) -> None:
    """Raises UserError unless both networks have blocks, and images can be halved as often as these say.

    Args:
      generator, discriminator: `generator_widths` and `discriminator_widths`.
      halvings: `discriminator_halvings`.
    """
    for field, widths in (("generator_widths", generator), ("discriminator_widths", discriminator)):
        require_widths(field, widths)
        require(field, widths, "at least one width", len)
    require(
        "discriminator_halvings",
        halvings,
        f"a whole number from 0 to {len(discriminator)}, that of discriminator_widths",
        lambda count: isinstance(count, int) and 0 <= count <= len(discriminator),
    )
    _require_halvings(family, image_shape, len(generator) - 1, generator_widths=generator)
    _require_halvings(family, image_shape, halvings, discriminator_halvings=halvings)


def _require_halvings(family: str, image_shape: tuple[int, int, int], times: int, **setting: Any) -> None:
    """Raises UserError unless images can be halved as often as a hyper-parameter says, and are not too large."""
    holds = lambda side: side % 2**times == 0 and 2**times <= side <= LARGEST  # noqa: E731
    require_fitting(family, image_shape, f"multiples of {2**times}, at most {LARGEST}", holds, **setting)
