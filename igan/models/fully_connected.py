"""The fully connected MNIST networks of Salimans et al. (2016), section 6.1, and the released code."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from igan.layers.batch_norm import ShiftBatchNorm
from igan.layers.heads import MakeHead, no_head
from igan.layers.noise import GaussianNoise
from igan.layers.weight_norm import UnitNormDense, WeightNormDense
from igan.layers.weights import Layer, MakeLayer
from igan.models import PRECISIONS, precision_dtype, require, require_latent_size, require_noise, require_widths
from igan.models.functional import as_they_are, critique, filled, gives, network
from igan.types import Array, Context, Critique, Key, Networks

DIRECTION_STD = 0.1  # Of the discriminator's weights, as they are drawn.
PLACES = (
    "generator",
    "generator_norm",
    "generator_layer",
    "discriminator_layer",
    "discriminator_features",
    "discriminator_head",
)


def generator_layer(asked: Layer) -> Callable[[Array, Context], Array]:
    """Returns the generator's layers: plain ones, but for the last."""
    if asked.is_last:
        layer = UnitNormDense(asked.features, dtype=rough(asked))
    else:
        init = nn.initializers.glorot_uniform()
        layer = nn.Dense(asked.features, use_bias=asked.bias, dtype=rough(asked), kernel_init=init)
    return lambda inputs, context: layer(inputs)


def discriminator_layer(asked: Layer) -> Callable[[Array, Context], Array]:
    """Returns the discriminator's layers, weight-normalised."""
    layer = WeightNormDense(asked.features, train_scale=asked.is_last, direction_std=DIRECTION_STD, dtype=rough(asked))
    return lambda inputs, context: layer(inputs)


def rough(asked: Layer) -> Any:
    """Returns in which type a layer is computed, None where it is that of its inputs."""
    return None if asked.dtype is PRECISIONS["float32"] else asked.dtype


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, height, width, channels] in (0, 1)."""

    layers: Sequence[int]
    image_shape: tuple[int, int, int]
    dtype: Any
    norm: Callable[[], nn.Module] = ShiftBatchNorm
    layer: MakeLayer = generator_layer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        hidden = latents
        for features in self.layers:
            # The shift of the batch norm is the layer's bias.
            hidden = self.layer(Layer(features, bias=False, dtype=self.dtype))(hidden, context)
            hidden = jax.nn.softplus(self.norm()(hidden, context))
        outputs = self.layer(Layer(math.prod(self.image_shape), is_last=True, dtype=self.dtype))(hidden, context)
        pixels = jax.nn.sigmoid(outputs.astype(float))
        return pixels.reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    """Images [n, height, width, channels] in [0, 1] -> Critique; features: the last hidden layer, before its noise."""

    layers: Sequence[int]
    input_noise: float
    hidden_noise: float
    classes: int | None
    dtype: Any
    layer: MakeLayer = discriminator_layer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are
    head: MakeHead = no_head

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        drawn = nn.initializers.normal(DIRECTION_STD)
        hidden = GaussianNoise(self.input_noise)(images.reshape(images.shape[0], -1), context.train)
        features = hidden
        for width in self.layers:
            asked = Layer(width, dtype=self.dtype, kernel_init=drawn)
            features = jax.nn.relu(self.layer(asked)(hidden, context)).astype(float)
            hidden = GaussianNoise(self.hidden_noise)(features, context.train)
        last = Layer(self.classes or 1, is_last=True, kernel_init=drawn)
        shown = self.on_features()(hidden)
        said = critique(self.layer(last)(shown, context), features, self.classes)
        return self.head(self.layer)(said, shown, context)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 100,
    generator_layers: tuple[int, ...] = (500, 500),
    discriminator_layers: tuple[int, ...] = (1000, 500, 250, 250, 250),
    input_noise: float = 0.3,
    hidden_noise: float = 0.5,
    precision: str = "float32",
) -> Networks:
    """Returns the paper's MNIST networks.

    Args:
      image_shape: height, width, channels.
      classes: K for the semi-supervised discriminator, None for the ordinary one with a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent, drawn from U[0, 1].
      generator_layers: widths of the generator's hidden layers.
      discriminator_layers: widths of the discriminator's hidden layers.
      input_noise: standard deviation of the noise added to the pixels.
      hidden_noise: standard deviation of the noise added before every further layer.
      precision: "float32", or "bfloat16" for the products but the discriminator's last; the rest is float32.

    Raises UserError naming the hyper-parameter that is off.
    """
    require_latent_size(latent_size)
    require_widths("generator_layers", generator_layers)
    require_widths("discriminator_layers", discriminator_layers)
    require("discriminator_layers", discriminator_layers, "at least one width", len)
    require_noise(input_noise=input_noise, hidden_noise=hidden_noise)

    dtype = precision_dtype(precision)

    def sample_latents(key: Key, count: int) -> Array:
        return jax.random.uniform(key, (count, latent_size))

    generator = Generator(
        tuple(generator_layers), image_shape, dtype, **filled(layers, norm="generator_norm", layer="generator_layer")
    )
    discriminator = Discriminator(
        tuple(discriminator_layers),
        input_noise,
        hidden_noise,
        classes,
        dtype,
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features", head="discriminator_head"),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=sample_latents,
        image_range=(0.0, 1.0),
        gives=gives(classes, independent_examples=True),
    )
