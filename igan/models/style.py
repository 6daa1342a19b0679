"""A generator of styles that grows (Karras et al. 2019, StyleGAN), with the discriminator of `progressive`.

A mapping network takes latents z to w, affine layers take w to a scale and a shift of each channel after each
convolution, and noise gives what is left to chance. The features begin with a constant. The defaults are row F of the
paper's table 1; each of its steps can be taken back, down to row B, the generator of `progressive` with blurred
upsampling: see `experiments/growing.py`.

The mean of w over training, which truncation draws styles to, moves in each step of the generator; the released code
moves it in those of the discriminator too. Where that code fuses resampling and convolution for images of 128 pixels
and more, here they are apart.

Sampling has options: `psi` draws w to its mean, w' = mean + psi (w - mean), 1 by default; `psi_layers` does so in the
first layers only; `noise` is 1 for noise of each image's own, a function of its latent, 2 for the same in all images,
0 for none. With `crossover`, of `igan.styles` alone, images of n latents have the layers from that one on of n others;
with `between`, of path lengths alone, they have the w that are so far on the way to those of n others, [n].
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.errors import UserError
from igan.game.inference import AVERAGES
from igan.layers.activation import leaky_relu
from igan.layers.block_end import block_end
from igan.layers.interpolation import BETWEEN, lerp
from igan.layers.norms import MakeNorm, no_norm
from igan.layers.pixel_norm import pixel_norm
from igan.layers.resampling import upsample
from igan.layers.style import Epilogue, blur, keys_of
from igan.layers.truncation import NOISE, PSI, PSI_LAYERS, drawn_to_mean
from igan.layers.weights import MakeLayer, WeightLayer
from igan.models import precision_dtype, require, require_latent_size
from igan.models.functional import filled, gives, network, normal_latents
from igan.models.growth import fades, mixed, real_images, require_growth, side_at, stages, width_at, widths_to
from igan.models.progressive import SMALLEST_GAIN, Discriminator, ToImages, asked
from igan.types import Array, Context, Key, Networks

PLACES = (
    "generator",
    "generator_norm",
    "generator_layer",
    "generator_styles",
    "discriminator_layer",
    "discriminator_features",
)
MakeStyles = Callable[[], Callable[..., Array]]


def unmixed() -> Callable[..., Array]:
    """Returns what stands in the place "generator_styles" that nobody fills: all layers have the same w."""
    return lambda key, first, other, layers: jnp.broadcast_to(first[:, None], (len(first), layers, first.shape[-1]))


class Mapped(nn.Module):
    """Latents [n, latent_size] -> w [n, width]: dense layers, with a learning rate of their own."""

    layers: int
    width: int
    rate: float
    normalizes: bool
    layer: MakeLayer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        hidden = pixel_norm(latents) if self.normalizes else latents
        for _ in range(self.layers):
            hidden = leaky_relu(self.layer(asked(self.width, rate=self.rate))(hidden, context))
        return hidden


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, side, side, channels] of the stage's side, about (-1, 1)."""

    first: int
    widths: Mapping[int, int]
    channels: int
    latent_size: int
    mapping: Mapping[str, Any]  # Of `Mapped`.
    has_styles: bool
    is_constant: bool
    noise: bool
    decay: float  # Of the mean of w.
    dtype: Any
    norm: MakeNorm = no_norm
    layer: MakeLayer = WeightLayer
    styles: MakeStyles = unmixed

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        last = max(self.widths) if self.is_initializing() else side_at(context.turn.stage, self.first)
        w = self.all_styles(latents, context, 2 * int(math.log2(last)) - 2)
        latents = latents[: len(w)]
        epilogue = self.epilogues(latents, w, context)
        hidden = epilogue(0, self.smallest(w[:, 0], context))
        hidden = epilogue(1, self.convolution(4, "conv_4")(hidden, context))
        images, before, side = hidden, hidden, 4
        while True:
            if side in (last, last // 2) or self.is_initializing():
                to_images = ToImages(self.channels, self.layer, self.dtype, name=f"to_images_{side}")
                before, images = images, to_images(hidden, context)
            if side == last:
                break
            side *= 2
            number = 2 * int(math.log2(side)) - 4
            hidden = blur(self.convolution(side, f"up_{side}")(upsample(hidden), context))
            hidden = epilogue(number, hidden)
            hidden = block_end(epilogue(number + 1, self.convolution(side, f"conv_{side}")(hidden, context)))
        if last > self.first and fades(context.turn.stage):
            return mixed(upsample(before), images, context.turn)
        return images

    def all_styles(self, latents: Array, context: Context, layers: int) -> Array:
        """Returns the w of every layer, [n, layers, size]: mixed in training, drawn to their mean in sampling."""
        mapped = Mapped(**self.mapping, layer=self.layer, name="mapping")
        w = mapped(latents, context)
        mean = self.variable(AVERAGES, "w", jnp.zeros, w.shape[1:])
        if context.train and not self.is_initializing():
            mean.value = mean.value + (1 - self.decay) * (jnp.mean(w, axis=0) - mean.value)

        def other(key: Key) -> Array:
            return mapped(jax.random.normal(key, (len(w), self.latent_size), w.dtype), context)

        if context.train:
            return self.styles()(self.make_rng("noise"), w, other, layers)
        options = context.options
        w = drawn_to_mean(w, mean.value, layers, options.get(PSI, 1.0), options.get(PSI_LAYERS))
        if (share := options.get(BETWEEN)) is not None:
            one, end = jnp.split(w, 2)
            return lerp(one, end, jnp.asarray(share))
        if (place := options.get("crossover")) is None:
            return w
        first, second = jnp.split(w, 2)
        return jnp.where((jnp.arange(layers) < place)[None, :, None], first, second)

    def smallest(self, w: Array, context: Context) -> Array:
        """Returns the features that it all begins with, [n, 4, 4, width]."""
        width = self.widths[4]
        if self.is_constant:
            constant = self.param("constant", nn.initializers.ones, (4, 4, width))
            return jnp.broadcast_to(constant.astype(self.dtype), (len(w), 4, 4, width))
        dense = asked(16 * width, gain=SMALLEST_GAIN, dtype=self.dtype, bias=False)
        return self.layer(dense)(w, context).reshape(-1, 4, 4, width)

    def convolution(self, side: int, name: str) -> "Convolution":
        """Returns a convolution without bias, which the epilogue has."""
        return Convolution(self.widths[side], self.layer, self.dtype, name=name)

    def epilogues(self, latents: Array, w: Array, context: Context) -> Callable[[int, Array], Array]:
        """Returns what follows the convolution of each number."""
        kind = context.options.get(NOISE, 1.0)

        def draw(number: int, shape: tuple[int, ...]) -> Array:
            if kind == 0:
                return jnp.zeros(shape)
            keys = keys_of(latents if kind == 1 else jnp.zeros_like(latents))
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
            return jax.vmap(lambda key: jax.random.normal(key, shape[1:]))(keys)

        style = functools.partial(Affine, layer=self.layer) if self.has_styles else None

        def epilogue(number: int, features: Array) -> Array:
            part = Epilogue(self.noise, leaky_relu, self.norm, style, number, name=f"epilogue_{number}")
            return part(features, w[:, number], draw, context)

        return epilogue


class Convolution(nn.Module):
    """Features -> features of the same resolution, without a bias."""

    width: int
    layer: MakeLayer
    dtype: Any

    @nn.compact
    def __call__(self, features: Array, context: Context) -> Array:
        return self.layer(asked(self.width, kernel=3, dtype=self.dtype, bias=False))(features, context)


class Affine(nn.Module):
    """w [n, size] -> a style [n, features]."""

    features: int
    layer: MakeLayer

    @nn.compact
    def __call__(self, w: Array, context: Context) -> Array:
        return self.layer(asked(self.features, gain=1.0))(w, context)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 512,
    mapping_layers: int = 8,
    mapping_width: int = 512,
    mapping_rate: float = 0.01,
    base: int = 8192,
    most: int = 512,
    first_resolution: int = 8,
    resolution: int = 0,
    train_images: int = 600_000,
    fade_images: int = 600_000,
    batch_sizes: tuple[int, ...] = (),
    rate_factors: tuple[float, ...] = (),
    styles_of_layers: bool = True,
    constant_input: bool = True,
    noise: bool = True,
    normalize_latents: bool = True,
    mean_decay: float = 0.995,
    precision: str = "float32",
) -> Networks:
    """Returns the paper's networks.

    Args:
      image_shape: height, width, channels; a square whose side is 4 times a power of two.
      classes: K for a discriminator with a logit for each class, None for a single logit.
      layers: what techniques put into the networks, by place. "generator_styles": () -> a function (key, first, other,
        layers) -> w of each layer in training, of w [n, size] and of what makes others by a key.
      latent_size: numbers in a latent, drawn from N(0, 1).
      mapping_layers: of the mapping network; 0: there is none, w are the latents.
      mapping_width: numbers in w.
      mapping_rate: multiplies the learning rate of the mapping network.
      base, most, first_resolution, resolution, train_images, fade_images, batch_sizes: as those of `progressive`.
      rate_factors, normalize_latents, precision: as those of `progressive`, too.
      styles_of_layers: whether there are styles, after an instance norm; without, there is the generator's norm.
      constant_input: whether features begin with a trained constant, or with a dense layer of w.
      noise: whether there is noise in each layer.
      mean_decay: of the mean of w, in each step of the generator.

    Raises UserError naming the hyper-parameter that is off, where the images do not fit, or for a norm beside styles.
    """
    require_latent_size(latent_size)
    last = require_growth(image_shape, "style", locals())
    require("mapping_layers", mapping_layers, "0 to 100", lambda count: isinstance(count, int) and 0 <= count <= 100)
    wanted = "a number of at least 2, up to a million"
    require("mapping_width", mapping_width, wanted, lambda count: isinstance(count, int) and 2 <= count <= 1_000_000)
    require("mapping_rate", mapping_rate, "a number in (0, 1]", lambda rate: 0 < rate <= 1)
    require("mean_decay", mean_decay, "a number in [0, 1)", lambda decay: 0 <= decay < 1)
    require(
        "styles_of_layers", styles_of_layers, "True where the input is constant", lambda has: has or not constant_input
    )
    if styles_of_layers and "generator_norm" in layers:
        raise UserError(
            "the networks 'style' normalise each map before its style, and have no other norm of the generator: leave"
            " out the technique that brings one (pixel_norm, say), or the styles"
            " (--config.networks.styles_of_layers=False --config.networks.constant_input=False)"
        )
    dtype, widths = precision_dtype(precision), widths_to(last, base, most)

    mapping = {"layers": mapping_layers, "width": mapping_width, "rate": mapping_rate, "normalizes": normalize_latents}
    generator = Generator(
        first_resolution,
        widths,
        image_shape[-1],
        latent_size,
        nn.FrozenDict(mapping),
        styles_of_layers,
        constant_input,
        noise,
        mean_decay,
        dtype,
        **filled(layers, norm="generator_norm", layer="generator_layer", styles="generator_styles"),
    )
    discriminator = Discriminator(
        first_resolution,
        widths,
        width_at(2, base, most),
        classes,
        dtype,
        blur=blur,
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features"),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=normal_latents(latent_size),
        image_range=(-1.0, 1.0),
        convolutional=True,
        blocks=True,
        gives=gives(
            classes,
            independent_examples=True,
            plain_weights="discriminator_layer" not in layers,
            styles=styles_of_layers,
        ),
        stages=stages(first_resolution, last, train_images, fade_images, batch_sizes, rate_factors),
        at_stage=lambda images, turn: real_images(images, turn, first_resolution),
        options=frozenset((PSI, PSI_LAYERS) * styles_of_layers + (NOISE,) * noise),
    )
