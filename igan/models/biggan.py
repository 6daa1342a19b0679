"""BigGAN's networks (Brock et al. 2019, appendix B): residual ones whose generator is told the class at every size.

A latent comes in pieces of equal size. The first is what the smallest image is made of; each of the others goes with
the class's vector, of one table that all blocks share, into the normalisations of one block (section 3, "skip-z" and
"shared embedding"). The table is no layer, and is not spectrally normalised. Kernels start orthogonal.

The generator is told the class if a technique has the networks be given labels (`projection`); without, the pieces of
the latent alone go into its normalisations. The rest are techniques too: `spectral_norm` of both players, as the paper
has it, `self_attention`, `orthogonal`.

The defaults are StudioGAN's for 32 x 32 pixels. For 128 x 128 the paper has the widths (1536, 1536, 768, 384, 192, 96)
in the generator, and in the discriminator (96, 192, 384, 768, 1536, 1536), five of which halve the image.

Statistics for sampling are refreshed (`igan.game.inference.freeze`), over as many batches as
`--standing_passes` says.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers import truncation
from igan.layers.attention import MakeMapLayer, no_map_layer
from igan.layers.batch_norm import BatchNorm
from igan.layers.conditional_batch_norm import LinearBatchNorm
from igan.layers.norms import no_norm
from igan.layers.orthogonal import orthogonal_kernel
from igan.layers.residual import UpBlock
from igan.layers.truncation import truncated
from igan.layers.weights import Layer, MakeLayer, WeightLayer, drawn_by
from igan.models import is_width, precision_dtype, require
from igan.models.functional import filled, gives, network, normal_latents
from igan.models.resnet import Discriminator, discriminator_heights, generator_heights, maps, require_blocks
from igan.types import Array, Context, Networks

PLACES = (
    "generator",
    "generator_layer",
    "generator_maps",
    "discriminator_layer",
    "discriminator_maps",
    "discriminator_features",
    "discriminator_head",
)
INSTEAD = {
    "generator_norm": "a conditional batch norm of its own, in which the class and the latent scale and shift the maps"
    " of each block: leave conditional_batch_norm out, projection is what gives the networks labels"
}
INITIALIZERS: dict[str, Callable[..., Array]] = {
    "orthogonal": orthogonal_kernel,
    "normal": nn.initializers.normal(0.02),
}


class Generator(nn.Module):
    """Latents [n, pieces * piece] -> images [n, height, width, channels] in (-1, 1), doubled by each block."""

    widths: Sequence[int]
    embedding_size: int
    kernel_init: Callable[..., Any]
    epsilon: float
    image_shape: tuple[int, int, int]
    dtype: Any
    layer: MakeLayer = WeightLayer
    on_maps: MakeMapLayer = no_map_layer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        height, width, channels = self.image_shape
        layer = drawn_by(self.layer, self.kernel_init)
        first, *pieces = jnp.split(truncated(latents, context), len(self.widths), axis=1)
        known = []
        if context.labels is not None:
            classes = context.labels.shape[-1]
            table = self.param("embedding", self.kernel_init, (classes, self.embedding_size))
            known = [context.labels.astype(float) @ table]
        shrunk = 2 ** len(pieces)
        shape = (height // shrunk, width // shrunk, self.widths[0])
        hidden = layer(Layer(math.prod(shape)))(first, context).reshape(-1, *shape).astype(self.dtype)
        norm = functools.partial(LinearBatchNorm, layer, epsilon=self.epsilon)
        for features, piece in zip(self.widths[1:], pieces, strict=True):
            told = dataclasses.replace(context, labels=jnp.concatenate([*known, piece], axis=1))
            hidden = UpBlock(features, norm, layer, self.dtype)(hidden, told)
            hidden = self.on_maps(hidden.shape[1], layer, self.dtype)(hidden, context)
        hidden = jax.nn.relu(BatchNorm(self.epsilon)(hidden, context))
        last = Layer(channels, kernel=3, padding=1, is_last=True, dtype=self.dtype)
        return jnp.tanh(layer(last)(hidden, context).astype(float))


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    piece_size: int = 20,
    embedding_size: int = 128,
    generator_widths: tuple[int, ...] = (384, 384, 384, 384),
    discriminator_widths: tuple[int, ...] = (192, 192, 192, 192),
    discriminator_halvings: int = 2,
    initializer: str = "orthogonal",
    norm_epsilon: float = 1e-4,
    precision: str = "float32",
) -> Networks:
    """Returns BigGAN's networks.

    Args:
      image_shape: height, width, channels; sides up to 128, which can be halved as often as both networks do.
      classes: K for a discriminator with a logit for each class, None for a single logit.
      layers: what techniques put into the networks, by place.
      piece_size: numbers in a piece of a latent, of N(0, 1); there are as many pieces as generator_widths.
      embedding_size: numbers in the vector of a class.
      generator_widths: channels of the dense layer, which is the smallest image, and of each block after it.
      discriminator_widths: channels of each block.
      discriminator_halvings: how many of those, from the first one on, make the image half as large.
      initializer: of all kernels and tables: "orthogonal", or "normal", N(0, 0.02^2).
      norm_epsilon: what is added to the generator's variances; the paper has 1e-4.
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    for field, size in (("piece_size", piece_size), ("embedding_size", embedding_size)):
        require(field, size, "a whole number from 1 to a million", is_width)
    require_blocks("biggan", image_shape, generator_widths, discriminator_widths, discriminator_halvings)
    require("initializer", initializer, " or ".join(INITIALIZERS), lambda name: name in INITIALIZERS)
    require("norm_epsilon", norm_epsilon, "a positive number below 1", lambda epsilon: 0 < epsilon < 1)
    dtype, kernel_init = precision_dtype(precision), INITIALIZERS[initializer]
    latent_size = piece_size * len(generator_widths)

    generator = Generator(
        tuple(generator_widths),
        embedding_size,
        kernel_init,
        norm_epsilon,
        image_shape,
        dtype,
        **filled(layers, layer="generator_layer"),
        on_maps=maps(layers, "generator", generator_heights(image_shape[0], len(generator_widths) - 1)),
    )
    heights = discriminator_heights(image_shape[0], len(discriminator_widths), discriminator_halvings)
    discriminator = Discriminator(
        tuple(discriminator_widths),
        discriminator_halvings,
        pooling="sum",
        last_bias=True,
        classes=classes,
        dtype=dtype,
        norm=no_norm,
        layer=drawn_by(layers.get("discriminator_layer", WeightLayer), kernel_init),
        **filled(layers, on_features="discriminator_features", head="discriminator_head"),
        wide=True,
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
        gives=gives(classes, independent_examples=True, plain_weights="discriminator_layer" not in layers),
    )
