"""The networks of boundary equilibrium GANs (Berthelot et al. 2017): a discriminator that is an autoencoder.

Its decoder and the generator are alike, with weights of their own. All convolutions are 3 x 3, with an ELU after each
but the last; there is no normalisation, no dropout, and no tanh at the end: images can leave [-1, 1] a little, and are
clipped when they are written. The encoder's channels grow by n with each of its R levels. Without the paper's skip
connections and vanishing residuals, as its later implementations are.

Strided convolutions have a row of zeros on each side. TensorFlow's "SAME" has one on the far sides only.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers.resampling import upsample
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.models import is_width, precision_dtype, require, require_fitting, require_latent_size
from igan.models.functional import filled, gives, network
from igan.types import Array, Context, Critique, Key, Networks

PLACES = ("generator_layer", "discriminator_layer")
SMALLEST = (8, 7)  # Sides of the smallest feature maps.
LARGEST = 128  # Side of an image.


class Encoder(nn.Module):
    """Images [n, side, side, channels] -> codes float32 [n, code_size], by maps of width, 2 width, ..., levels * width.

    A convolution, then on each level two of them, and one of stride 2 between levels, which keeps the channels. The
    code is a linear function of the smallest maps.
    """

    code_size: int
    width: int
    levels: int
    dtype: Any
    layer: MakeLayer = WeightLayer

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Array:
        def convolved(hidden: Array, features: int, stride: int = 1) -> Array:
            asked = Layer(features, kernel=3, stride=stride, padding=1, dtype=self.dtype)
            return jax.nn.elu(self.layer(asked)(hidden, context))

        hidden = convolved(images.astype(self.dtype), self.width)
        for level in range(1, self.levels + 1):
            features = level * self.width
            hidden = convolved(convolved(hidden, features), features)
            if level < self.levels:
                hidden = convolved(hidden, features, stride=2)
        flat = hidden.reshape(len(images), -1).astype(float)
        return self.layer(Layer(self.code_size))(flat, context)


class Decoder(nn.Module):
    """Codes or latents [n, code_size] -> images float32 [n, side, side, channels], which nothing keeps in a range.

    A linear function of the code makes the smallest maps; on each level are two convolutions, and between levels each
    pixel becomes four.
    """

    smallest: int
    channels: int
    width: int
    levels: int
    dtype: Any
    layer: MakeLayer = WeightLayer

    @nn.compact
    def __call__(self, codes: Array, context: Context) -> Array:
        asked = Layer(self.width, kernel=3, padding=1, dtype=self.dtype)
        shape = (self.smallest, self.smallest, self.width)
        hidden = self.layer(Layer(math.prod(shape)))(codes, context).astype(self.dtype).reshape(-1, *shape)
        for level in range(self.levels):
            hidden = hidden if level == 0 else upsample(hidden)
            for _ in range(2):
                hidden = jax.nn.elu(self.layer(asked)(hidden, context))
        pixels = asked._replace(features=self.channels, is_last=True)
        return self.layer(pixels)(hidden, context).astype(float)


class Discriminator(nn.Module):
    """Images [n, side, side, channels] -> Critique with their reconstruction; features: their codes.

    The logits are minus the mean absolute error of each reconstruction: never positive, and the higher the more "real"
    an image looks. They are there for techniques that ask for logits; `boundary_equilibrium` does not.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __call__(self, images: Array, context: Context) -> Critique:
        codes = self.encoder(images, context)
        reconstruction = self.decoder(codes, context)
        logits = -jnp.mean(jnp.abs(images - reconstruction), axis=(1, 2, 3))
        return Critique(logits, codes, reconstruction=reconstruction)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 64,
    width: int = 128,
    smallest: int = 0,
    precision: str = "float32",
) -> Networks:
    """Returns the networks.

    Args:
      image_shape: height, width, channels; a square of `smallest` times a power of two, at most 128.
      classes: not used: there are no class logits.
      layers: what techniques put into the networks, by place.
      latent_size: h, numbers in a latent, drawn from U[-1, 1], and in a code.
      width: n, channels of the decoders' convolutions and of the encoder's first level; 64 or 128 in the paper.
      smallest: side of the smallest feature maps; 0: 8, or 7 for images of 28 pixels. It decides how many levels there
        are.
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    require("width", width, "a whole number from 1 to a million", is_width)
    require(
        "smallest",
        smallest,
        f"a side from 1 to {LARGEST}, or 0",
        lambda side: isinstance(side, int) and 0 <= side <= LARGEST,
    )
    dtype = precision_dtype(precision)
    smallest, levels = _levels(image_shape, smallest)

    def sample_latents(key: Key, count: int) -> Array:
        return jax.random.uniform(key, (count, latent_size), minval=-1.0)

    decoding = (smallest, image_shape[2], width, levels, dtype)
    places = filled(layers, layer="discriminator_layer")
    discriminator = Discriminator(Encoder(latent_size, width, levels, dtype, **places), Decoder(*decoding, **places))
    return Networks(
        generator=network(Decoder(*decoding, **filled(layers, layer="generator_layer"))),
        discriminator=network(discriminator),
        sample_latents=sample_latents,
        image_range=(-1.0, 1.0),
        convolutional=True,
        gives=gives(
            None, independent_examples=True, reconstruction=True, plain_weights="discriminator_layer" not in layers
        ),
    )


def _levels(image_shape: tuple[int, int, int], smallest: int) -> tuple[int, int]:
    """Returns the side of the smallest feature maps and the number of levels.

    Raises UserError where the images do not fit.
    """
    sides, width = (smallest,) if smallest else SMALLEST, image_shape[1]
    levels = {side: (width // side).bit_length() for side in sides}
    fitting = [side for side in sides if width <= LARGEST and 2 * width == side << levels[side] > side]
    require_fitting(
        "autoencoder",
        image_shape,
        f"squares whose side is {' or '.join(map(str, sides))} times a power of two, at most {LARGEST}",
        lambda side: side == width and len(fitting) > 0,
        smallest=smallest,
    )
    return fitting[0], levels[fitting[0]]
