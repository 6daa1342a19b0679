"""Networks that grow from 4 x 4 pixels on, resolution by resolution (Karras et al. 2018, PGGAN, table 2).

The defaults are those of the paper's largest networks: 512 channels up to 32 pixels, then half as many at each
resolution. `experiments/growing.py` has those for CIFAR-10. How large images become is a matter of the data, up to
1,024 pixels.

The parameters of all resolutions are there from the start, and those not reached yet stay as they are. Pixel norm,
equalised learning rates and the standard deviation of the minibatch are techniques, which the recipe switches on.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from igan.layers.activation import leaky_relu
from igan.layers.block_end import block_end
from igan.layers.norms import MakeNorm, no_norm
from igan.layers.pixel_norm import pixel_norm
from igan.layers.resampling import mean_pool, upsample
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.models import precision_dtype, require_latent_size
from igan.models.functional import as_they_are, critique, filled, gives, network, normal_latents
from igan.models.growth import fades, mixed, real_images, require_growth, side_at, stages, width_at, widths_to
from igan.types import Array, Context, Critique, Networks

PLACES = ("generator", "generator_norm", "generator_layer", "discriminator_layer", "discriminator_features")
SQRT2 = math.sqrt(2)
SMALLEST_GAIN = SQRT2 / 4  # Of the dense layer that makes 4 x 4 pixels: its outputs count as 16 times as many inputs.


def asked(features: int, kernel: int = 0, gain: float | None = None, **others: Any) -> Layer:
    """Returns a layer with He's initialisation, for N(0, 1) inputs: with the gain that equalised rates would have."""
    layer = Layer(features, kernel=kernel, padding=kernel // 2, own_gain=gain, **others)
    return layer._replace(kernel_init=nn.initializers.variance_scaling(layer.gain**2, "fan_in", "normal"))


class ToImages(nn.Module):
    """Features -> images, linearly."""

    channels: int
    layer: MakeLayer
    dtype: Any

    @nn.compact
    def __call__(self, features: Array, context: Context) -> Array:
        last = asked(self.channels, kernel=1, is_last=True, dtype=self.dtype)
        return self.layer(last)(features, context).astype(float)


class FromImages(nn.Module):
    """Images -> features."""

    width: int
    layer: MakeLayer
    dtype: Any

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Array:
        return leaky_relu(self.layer(asked(self.width, kernel=1, dtype=self.dtype))(images, context))


class First(nn.Module):
    """Latents -> the features of the smallest images, [n, 4, 4, width]."""

    width: int
    norm: MakeNorm
    layer: MakeLayer
    dtype: Any

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        dense = asked(16 * self.width, gain=SMALLEST_GAIN, dtype=self.dtype, bias=False)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))  # One a channel, not one a pixel.
        hidden = self.layer(dense)(latents, context).reshape(-1, 4, 4, self.width)
        hidden = self.norm()(leaky_relu(hidden + bias.astype(self.dtype)), context)
        convolution = asked(self.width, kernel=3, dtype=self.dtype)
        return self.norm()(leaky_relu(self.layer(convolution)(hidden, context)), context)


class Up(nn.Module):
    """Features -> features of twice the resolution."""

    width: int
    norm: MakeNorm
    layer: MakeLayer
    dtype: Any

    @nn.compact
    def __call__(self, hidden: Array, context: Context) -> Array:
        hidden = upsample(hidden)
        for _ in range(2):
            convolution = asked(self.width, kernel=3, dtype=self.dtype)
            hidden = self.norm()(leaky_relu(self.layer(convolution)(hidden, context)), context)
        return block_end(hidden)


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, side, side, channels] of the stage's side, about (-1, 1)."""

    first: int  # The first resolution.
    widths: Mapping[int, int]  # By resolution, from 4 x 4 on.
    channels: int
    normalizes_latents: bool
    dtype: Any
    norm: MakeNorm = no_norm
    layer: MakeLayer = WeightLayer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        parts = (self.norm, self.layer, self.dtype)
        hidden = First(self.widths[4], *parts, name="first")(
            pixel_norm(latents) if self.normalizes_latents else latents, context
        )
        last = max(self.widths) if self.is_initializing() else side_at(context.turn.stage, self.first)
        images, before, side = hidden, hidden, 4
        while True:
            if side in (last, last // 2) or self.is_initializing():
                to_images = ToImages(self.channels, self.layer, self.dtype, name=f"to_images_{side}")
                before, images = images, to_images(hidden, context)
            if side == last:
                break
            side *= 2
            hidden = Up(self.widths[side], *parts, name=f"up_{side}")(hidden, context)
        if last > self.first and fades(context.turn.stage):
            return mixed(upsample(before), images, context.turn)
        return images


class Down(nn.Module):
    """Features -> features of half the resolution."""

    width: int
    after: int  # Channels of the next resolution.
    layer: MakeLayer
    smaller: Callable[[Array], Array]
    blur: Callable[[Array], Array]
    dtype: Any

    @nn.compact
    def __call__(self, hidden: Array, context: Context) -> Array:
        for width, before in ((self.width, lambda images: images), (self.after, self.blur)):
            convolution = asked(width, kernel=3, dtype=self.dtype)
            hidden = leaky_relu(self.layer(convolution)(before(hidden), context))
        return block_end(self.smaller(hidden))


class Last(nn.Module):
    """Features [n, 4, 4, c] -> outputs [n, k], and the features [n, width] before the last layer."""

    width: int
    inner: int
    outputs: int
    layer: MakeLayer
    on_features: Callable[..., Callable[[Array], Array]]
    dtype: Any

    @nn.compact
    def __call__(self, hidden: Array, context: Context) -> tuple[Array, Array]:
        hidden = self.on_features()(hidden)
        convolution = asked(self.width, kernel=3, dtype=self.dtype)
        hidden = leaky_relu(self.layer(convolution)(hidden, context)).astype(float)
        features = leaky_relu(self.layer(asked(self.inner))(hidden.reshape(len(hidden), -1), context))
        return self.layer(asked(self.outputs, is_last=True))(features, context), features


class Discriminator(nn.Module):
    """Images [n, side, side, channels] of the stage's side -> Critique; features: those before the last layer."""

    first: int
    widths: Mapping[int, int]
    inner: int
    classes: int | None
    dtype: Any
    layer: MakeLayer = WeightLayer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are
    blur: Callable[[Array], Array] = lambda images: images

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        last = max(self.widths) if self.is_initializing() else side_at(context.turn.stage, self.first)

        def from_images(images: Array) -> Array:
            side = images.shape[1]
            part = FromImages(self.widths[side], self.layer, self.dtype, name=f"from_images_{side}")
            return part(images, context)

        hidden, side = from_images(images), last
        while side > 4:
            down = Down(
                self.widths[side], self.widths[side // 2], self.layer, mean_pool, self.blur, self.dtype,
                name=f"down_{side}",
            )  # fmt: skip
            hidden, smaller = down(hidden, context), mean_pool(images)
            if self.is_initializing():  # All of them are made.
                images = smaller
                from_images(images)
            elif side == last and last > self.first and fades(context.turn.stage):
                hidden = mixed(from_images(smaller), hidden, context.turn)
            side //= 2
        part = Last(
            self.widths[4], self.inner, self.classes or 1, self.layer, self.on_features, self.dtype, name="last"
        )
        outputs, features = part(hidden, context)
        return critique(outputs, features, self.classes)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 512,
    base: int = 8192,
    most: int = 512,
    first_resolution: int = 4,
    resolution: int = 0,
    train_images: int = 600_000,
    fade_images: int = 600_000,
    batch_sizes: tuple[int, ...] = (),
    rate_factors: tuple[float, ...] = (),
    normalize_latents: bool = True,
    precision: str = "float32",
) -> Networks:
    """Returns the paper's networks.

    Args:
      image_shape: height, width, channels; a square whose side is 4 times a power of two.
      classes: K for a discriminator with a logit for each class, None for a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent, drawn from N(0, 1).
      base: a resolution of s pixels has 2 base / s channels,
      most: but at most so many.
      first_resolution: side of the images that the networks begin with.
      resolution: side of the images of the last stage, at most that of the data; 0: that of the data.
      train_images, fade_images: real images that the discriminator is shown of each resolution once it is there, and
        while it fades in; brought to a round number of updates.
      batch_sizes: for images of 4, 8, 16, ... pixels, the last number for all that are larger; none: the config's.
      rate_factors: of both players' learning rates, for the same; none: 1.
      normalize_latents: whether latents are brought to a mean square of 1, as the paper does.
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    last = require_growth(image_shape, "progressive", locals())
    dtype = precision_dtype(precision)
    widths = widths_to(last, base, most)

    generator = Generator(
        first_resolution,
        widths,
        image_shape[-1],
        normalize_latents,
        dtype,
        **filled(layers, norm="generator_norm", layer="generator_layer"),
    )
    discriminator = Discriminator(
        first_resolution,
        widths,
        width_at(2, base, most),
        classes,
        dtype,
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features"),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=normal_latents(latent_size),
        image_range=(-1.0, 1.0),
        convolutional=True,
        blocks=True,
        gives=gives(classes, independent_examples=True, plain_weights="discriminator_layer" not in layers),
        stages=stages(first_resolution, last, train_images, fade_images, batch_sizes, rate_factors),
        at_stage=lambda images, turn: real_images(images, turn, first_resolution),
    )
