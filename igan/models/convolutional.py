"""The CIFAR-10 and SVHN networks of Salimans et al. (2016), sections 6.2 and 6.3, and the released code."""

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
from igan.layers.noise import Dropout, GaussianNoise
from igan.layers.weight_norm import WeightNormConv, WeightNormDense
from igan.layers.weights import Layer, MakeLayer
from igan.models import precision_dtype, require, require_latent_size, require_noise, require_widths
from igan.models.functional import as_they_are, critique, filled, gives, network
from igan.types import Array, Context, Critique, Key, Networks

KERNEL_STD = 0.05  # Of all kernels, as they are drawn.
PLACES = ("generator", "generator_norm", "generator_layer", "discriminator_layer", "discriminator_features")


def generator_layer(asked: Layer) -> Callable[[Array, Context], Array]:
    """Returns the generator's layers: plain ones, but for the last."""
    if asked.is_last:
        layer = WeightNormConv(
            asked.features,
            asked.kernel,
            transposed=asked.transposed,
            train_scale=True,
            initial_std=0.1,
            direction_std=KERNEL_STD,
            dtype=asked.dtype,
        )
    elif asked.transposed:
        layer = TransposedConv(asked.features, std=KERNEL_STD, dtype=asked.dtype)
    else:
        layer = nn.Dense(asked.features, use_bias=asked.bias, kernel_init=nn.initializers.normal(KERNEL_STD))
    return lambda inputs, context: layer(inputs)


def discriminator_layer(asked: Layer) -> Callable[[Array, Context], Array]:
    """Returns the discriminator's layers, weight-normalised."""
    if asked.kernel:
        settings = {"direction_std": KERNEL_STD, "dtype": asked.dtype}
        layer = WeightNormConv(asked.features, asked.kernel, asked.stride, asked.padding, **settings)
    else:
        layer = WeightNormDense(asked.features, train_scale=True, initial_std=0.1, direction_std=KERNEL_STD)
    return lambda inputs, context: layer(inputs)


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, height, width, channels] in (-1, 1), twice as large after each layer."""

    widths: Sequence[int]
    image_shape: tuple[int, int, int]
    dtype: Any
    norm: Callable[[], nn.Module] = ShiftBatchNorm
    layer: MakeLayer = generator_layer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        drawn = nn.initializers.normal(KERNEL_STD)
        height, width, channels = self.image_shape
        shrunk = 2 ** len(self.widths)
        shape = (height // shrunk, width // shrunk, self.widths[0])
        # The shift of the batch norm is the layer's bias.
        hidden = self.layer(Layer(math.prod(shape), bias=False, kernel_init=drawn))(latents, context)
        hidden = jax.nn.relu(self.norm()(hidden.astype(self.dtype), context)).reshape(-1, *shape)
        for features in self.widths[1:]:
            upsampling = Layer(features, kernel=5, transposed=True, bias=False, dtype=self.dtype, kernel_init=drawn)
            hidden = jax.nn.relu(self.norm()(self.layer(upsampling)(hidden, context), context))
        last = Layer(channels, kernel=5, transposed=True, is_last=True, dtype=self.dtype, kernel_init=drawn)
        pixels = self.layer(last)(hidden, context)
        return jnp.tanh(pixels.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images [n, height, width, channels] in [-1, 1] -> Critique; features: the last convolution's spatial mean."""

    widths: tuple[int, int]
    input_dropout: float
    input_noise: float
    dropout: float
    classes: int | None
    dtype: Any
    layer: MakeLayer = discriminator_layer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        drawn = nn.initializers.normal(KERNEL_STD)

        def layer(hidden: Array, features: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> Array:
            asked = Layer(features, kernel, stride, padding, dtype=self.dtype, kernel_init=drawn)
            return leaky_relu(self.layer(asked)(hidden, context))

        (narrow, wide), train = self.widths, context.train
        hidden = GaussianNoise(self.input_noise)(Dropout(self.input_dropout)(images, train), train)
        hidden = hidden.astype(self.dtype)
        for features in (narrow, wide):
            hidden = layer(layer(hidden, features), features)
            hidden = Dropout(self.dropout)(layer(hidden, features, stride=2), train)
        hidden = layer(hidden, wide, padding=0)
        hidden = layer(layer(hidden, wide, kernel=1, padding=0), wide, kernel=1, padding=0)
        features = jnp.mean(hidden, axis=(1, 2), dtype=jnp.float32)
        last = Layer(self.classes or 1, is_last=True, kernel_init=drawn)
        outputs = self.layer(last)(self.on_features()(features), context)
        return critique(outputs, features, self.classes)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 100,
    generator_widths: tuple[int, ...] = (512, 256, 128),
    discriminator_widths: tuple[int, ...] = (96, 192),
    input_dropout: float = 0.2,
    input_noise: float = 0.0,
    dropout: float = 0.5,
    precision: str = "float32",
) -> Networks:
    """Returns the paper's convolutional networks for small colour or grey images.

    Args:
      image_shape: height, width, channels; height and width are multiples of 2 ** len(generator_widths), 16 or more.
      classes: K for the semi-supervised discriminator, None for the ordinary one with a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent, drawn from U[0, 1].
      generator_widths: channels of the generator's hidden layers, from the smallest image to half of the full size.
      discriminator_widths: channels of the discriminator before and after its second halving of the image.
      input_dropout: share of the pixels that are set to zero.
      input_noise: standard deviation of the noise added to the pixels.
      dropout: share of the activations that are set to zero after each halving.
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    require_widths("generator_widths", generator_widths)
    require("generator_widths", generator_widths, "at least one width", len)
    require_widths("discriminator_widths", discriminator_widths, count=2)
    for name, rate in (("input_dropout", input_dropout), ("dropout", dropout)):
        require(name, rate, "a share in [0, 1)", lambda rate: 0 <= rate < 1)
    require_noise(input_noise=input_noise)
    dtype = precision_dtype(precision)
    shrunk = 2 ** len(generator_widths)
    if min(image_shape[:2]) < 16 or image_shape[0] % shrunk or image_shape[1] % shrunk:
        raise UserError(
            f"images of {image_shape[0]} x {image_shape[1]} pixels do not fit the networks 'convolutional': with"
            f" {len(generator_widths)} generator_widths they need multiples of {shrunk}, 16 or more. Choose other"
            " generator_widths, or --config.networks.name=fully_connected, or for an image folder"
            " --config.data.image_size=32 --config.data.crop=center"
        )

    def sample_latents(key: Key, count: int) -> Array:
        return jax.random.uniform(key, (count, latent_size))

    generator = Generator(
        tuple(generator_widths),
        image_shape,
        dtype,
        **filled(layers, norm="generator_norm", layer="generator_layer"),
    )
    narrow, wide = discriminator_widths
    discriminator = Discriminator(
        (narrow, wide),
        input_dropout,
        input_noise,
        dropout,
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
        gives=gives(classes, independent_examples=True),
    )
