"""The fully connected MNIST networks of Salimans et al. (2016), section 6.1, and the released code."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from igan.layers.batch_norm import ShiftBatchNorm
from igan.layers.noise import GaussianNoise
from igan.layers.weight_norm import UnitNormDense, WeightNormDense
from igan.models import is_width, require, require_widths
from igan.models.functional import critique, network
from igan.types import Array, Critique, Key, Networks

PLACES = ("generator", "generator_norm", "discriminator_features")


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, height, width, channels] in (0, 1)."""

    layers: Sequence[int]
    image_shape: tuple[int, int, int]
    norm: Callable[[], nn.Module] = ShiftBatchNorm

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> Array:
        hidden = latents
        for features in self.layers:
            # The shift of the batch norm is the layer's bias.
            hidden = nn.Dense(features, use_bias=False, kernel_init=nn.initializers.glorot_uniform())(hidden)
            hidden = jax.nn.softplus(self.norm()(hidden, train))
        pixels = jax.nn.sigmoid(UnitNormDense(math.prod(self.image_shape))(hidden))
        return pixels.reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    """Images [n, height, width, channels] in [0, 1] -> Critique; features: the last hidden layer, before its noise."""

    layers: Sequence[int]
    input_noise: float
    hidden_noise: float
    classes: int | None
    minibatch: Callable[[], nn.Module] | None = None

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Critique:
        hidden = GaussianNoise(self.input_noise)(images.reshape(images.shape[0], -1), train)
        features = hidden
        for width in self.layers:
            features = jax.nn.relu(WeightNormDense(width)(hidden))
            hidden = GaussianNoise(self.hidden_noise)(features, train)
        if self.minibatch is not None:
            hidden = self.minibatch()(hidden)
        outputs = WeightNormDense(self.classes or 1, train_scale=True)(hidden)
        return critique(outputs, features, self.classes)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 100,
    generator_layers: tuple[int, ...] = (500, 500),
    discriminator_layers: tuple[int, ...] = (1000, 500, 250, 250, 250),
    input_noise: float = 0.3,
    hidden_noise: float = 0.5,
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

    Raises UserError naming the hyper-parameter that is off.
    """
    require("latent_size", latent_size, "a whole number from 1 to a million", is_width)
    require_widths("generator_layers", generator_layers)
    require_widths("discriminator_layers", discriminator_layers)
    require("discriminator_layers", discriminator_layers, "at least one width", len)
    for name, std in (("input_noise", input_noise), ("hidden_noise", hidden_noise)):
        require(name, std, "a standard deviation, 0 or more", lambda std: 0 <= std < 1e38)

    def sample_latents(key: Key, count: int) -> Array:
        return jax.random.uniform(key, (count, latent_size))

    generator = Generator(tuple(generator_layers), image_shape, layers.get("generator_norm", ShiftBatchNorm))
    discriminator = Discriminator(
        tuple(discriminator_layers), input_noise, hidden_noise, classes, layers.get("discriminator_features")
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=sample_latents,
        image_range=(0.0, 1.0),
    )
