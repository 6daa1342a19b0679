"""The ImageNet 128 x 128 networks of Salimans et al. (2016), section 6.4, and the released code.

The generator gets fresh noise at every resolution; those maps are part of its latent, so that one latent is one image.
The discriminator sees real and generated images in one batch, by turns.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.errors import UserError
from igan.layers.activation import leaky_relu
from igan.layers.batch_norm import ShiftBatchNorm
from igan.layers.convolution import TransposedConv
from igan.layers.noise import GaussianNoise
from igan.layers.weights import Layer, MakeLayer
from igan.models import (
    is_width,
    precision_dtype,
    require,
    require_latent_size,
    require_noise,
    require_widths,
)
from igan.models.functional import as_they_are, critique, filled, gives, network
from igan.types import Array, Context, Critique, Key, Networks

PLACES = ("generator", "generator_norm", "generator_layer", "discriminator_layer", "discriminator_features")
KERNEL_STD, LAST_STD = 0.02, 0.075  # Of kernels as they are drawn; of the generator's last one.
SMALLEST = 4  # Side of the first feature map, in pixels.


def generator_layer(asked: Layer) -> Callable[[Array, Context], Array]:
    """Returns the generator's layers."""
    if asked.is_last:
        kernel_init, bias_init = nn.initializers.normal(LAST_STD), nn.initializers.constant(-0.45)
        side = (asked.kernel, asked.kernel)
        layer = nn.Conv(asked.features, side, kernel_init=kernel_init, bias_init=bias_init, dtype=asked.dtype)
    elif asked.transposed:
        layer = TransposedConv(asked.features, std=KERNEL_STD, dtype=asked.dtype)
    else:
        layer = nn.Dense(asked.features, use_bias=asked.bias, kernel_init=nn.initializers.normal(KERNEL_STD))
    return lambda inputs, context: layer(inputs)


def discriminator_layer(asked: Layer) -> Callable[[Array, Context], Array]:
    """Returns the discriminator's layers."""
    settings = {"use_bias": asked.bias, "kernel_init": nn.initializers.normal(KERNEL_STD)}
    if asked.kernel:
        side, strides = (asked.kernel, asked.kernel), (asked.stride, asked.stride)
        layer = nn.Conv(asked.features, side, strides, padding=asked.padding, dtype=asked.dtype, **settings)
    else:
        layer = nn.Dense(asked.features, **settings)
    return lambda inputs, context: layer(inputs)


class Generator(nn.Module):
    """Latents [n, latent_size + noise] -> images [n, height, width, channels] in (-1, 1).

    A latent is `latent_size` numbers, followed by the noise maps from the smallest resolution to the largest.
    """

    latent_size: int
    widths: Sequence[int]
    noise_channels: Sequence[int]
    channels: int
    dtype: Any
    norm: Callable[[], nn.Module] = ShiftBatchNorm
    layer: MakeLayer = generator_layer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        drawn, drawn_last = nn.initializers.normal(KERNEL_STD), nn.initializers.normal(LAST_STD)
        sizes = noise_sizes(self.noise_channels)
        ends = [self.latent_size + sum(sizes[:level]) for level in range(len(sizes))]
        latent, *noise = jnp.split(latents, ends, axis=1)
        first = Layer(SMALLEST**2 * self.widths[0], bias=False, kernel_init=drawn)
        hidden = self.layer(first)(latent, context)
        hidden = hidden.astype(self.dtype).reshape(-1, SMALLEST, SMALLEST, self.widths[0])
        for level, maps in enumerate(noise):
            if level:
                upsampling = Layer(self.widths[level], kernel=5, transposed=True, bias=False, dtype=self.dtype)
                hidden = self.layer(upsampling._replace(kernel_init=drawn))(hidden, context)
            hidden = jax.nn.relu(self.norm()(hidden, context))
            maps = maps.reshape(*hidden.shape[:3], self.noise_channels[level]).astype(self.dtype)
            hidden = jnp.concatenate([hidden, maps], axis=-1)
        last = Layer(self.channels, kernel=5, padding=2, is_last=True, dtype=self.dtype, kernel_init=drawn_last)
        pixels = self.layer(last)(hidden, context)
        return jnp.tanh(pixels.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images [n, height, width, channels] in [-1, 1] -> Critique; features: the last dense layer.

    With K classes there are K + 1 outputs, and the class logits are the first K minus the last, that of "generated":
    a softmax does not change when all its logits shift.
    """

    widths: Sequence[int]
    strides: Sequence[int]
    dense_width: int
    input_noise: float
    classes: int | None
    dtype: Any
    layer: MakeLayer = discriminator_layer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        drawn = nn.initializers.normal(KERNEL_STD)
        hidden = GaussianNoise(self.input_noise)(images, context.train).astype(self.dtype)
        for index, (features, stride) in enumerate(zip(self.widths, self.strides, strict=True)):
            asked = Layer(features, kernel=3, stride=stride, padding=1, bias=index == 0, dtype=self.dtype)
            hidden = self.layer(asked._replace(kernel_init=drawn))(hidden, context)
            if index:  # As usual, the layer on the pixels is not normalised.
                hidden = ShiftBatchNorm()(hidden, context)
            hidden = leaky_relu(hidden)
        hidden = hidden.reshape(len(images), -1).astype(jnp.float32)
        hidden = self.layer(Layer(self.dense_width, bias=False, kernel_init=drawn))(hidden, context)
        features = leaky_relu(ShiftBatchNorm()(hidden, context))
        last = Layer(1 if self.classes is None else self.classes + 1, is_last=True, kernel_init=drawn)
        # Half of the batch is real, and closeness is measured to each half.
        outputs = self.layer(last)(self.on_features(halves=True)(features), context)
        if self.classes is not None:
            outputs = outputs[:, :-1] - outputs[:, -1:]
        return critique(outputs, features, self.classes)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 8192,
    generator_widths: tuple[int, ...] = (512, 256, 128, 64, 64, 64),
    noise_channels: tuple[int, ...] = (64, 64, 32, 16, 8, 8),
    discriminator_widths: tuple[int, ...] = (64, 128, 256, 256, 256, 512, 512),
    discriminator_strides: tuple[int, ...] = (2, 2, 2, 1, 1, 2, 2),
    dense_width: int = 2560,
    input_noise: float = 0.1,
    precision: str = "float32",
) -> Networks:
    """Returns the paper's ImageNet networks.

    Args:
      image_shape: height, width, channels; a square of side 4 * 2 ** (len(generator_widths) - 1).
      classes: K for K + 1 outputs of the discriminator, None for a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent without its noise maps; all are drawn from U[-1, 1].
      generator_widths: channels of the generator at 4, 8, ... pixels.
      noise_channels: noise maps concatenated there.
      discriminator_widths: channels of the discriminator's convolutions.
      discriminator_strides: by which each makes the image smaller.
      dense_width: the discriminator's features.
      input_noise: standard deviation of the noise added to the pixels.
      precision: "float32", or "bfloat16" for the convolutions.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    require_widths("generator_widths", generator_widths)
    require("generator_widths", generator_widths, "at least one width", len)
    require_widths("noise_channels", noise_channels, count=len(generator_widths))
    require_widths("discriminator_widths", discriminator_widths)
    require("discriminator_widths", discriminator_widths, "at least one width", len)
    require_widths("discriminator_strides", discriminator_strides, count=len(discriminator_widths))
    require("dense_width", dense_width, "a whole number from 1 to a million", is_width)
    require_noise(input_noise=input_noise)
    dtype = precision_dtype(precision)
    side = SMALLEST * 2 ** (len(generator_widths) - 1)
    if image_shape[:2] != (side, side):
        raise UserError(
            f"images of {image_shape[0]} x {image_shape[1]} pixels do not fit the networks 'imagenet':"
            f" {len(generator_widths)} generator_widths make {side} x {side}; set --config.data.image_size={side}"
            " --config.data.crop=center, or other generator_widths and noise_channels"
        )
    total = latent_size + sum(noise_sizes(noise_channels))

    def sample_latents(key: Key, count: int) -> Array:
        return jax.random.uniform(key, (count, total), minval=-1.0)

    generator = Generator(
        latent_size,
        tuple(generator_widths),
        tuple(noise_channels),
        image_shape[2],
        dtype,
        **filled(layers, norm="generator_norm", layer="generator_layer"),
    )
    discriminator = Discriminator(
        tuple(discriminator_widths),
        tuple(discriminator_strides),
        dense_width,
        input_noise,
        classes,
        dtype,
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features"),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=sample_latents,
        image_range=(-1.0, 1.0),
        convolutional=True,
        joint=True,
        gives=gives(classes),
    )


def noise_sizes(noise_channels: Sequence[int]) -> list[int]:
    """Returns how many numbers the noise of one image has at 4, 8, ... pixels.

    >>> noise_sizes((64, 64))
    [1024, 4096]
    """
    return [channels * math.prod([SMALLEST * 2**level] * 2) for level, channels in enumerate(noise_channels)]
