"""Small fully connected networks for points: of the toy experiments on mixtures of Gaussians.

The defaults are those of the ring of unrolled GANs (Metz et al. 2017, appendix A). The settings of others:

- PacGAN (Lin et al. 2018): latent_size=2, generator_layers=(400, 400, 400, 400), batch_norm=True,
  discriminator_layers=(200, 200, 200), discriminator_activation="maxout", initialiser="normal", gain=0.02,
  input_divisor=1;
- WGAN-GP's toy (Gulrajani et al. 2017): latent_size=2, both (512, 512, 512), initialiser="he", gain=1, input_divisor=1.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers.batch_norm import ShiftBatchNorm
from igan.layers.orthogonal import orthogonal
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.models import precision_dtype, require, require_latent_size, require_widths
from igan.models.functional import as_they_are, critique, filled, gives, network, normal_latents
from igan.types import Array, Context, Critique, Networks

PLACES = ("generator", "generator_norm", "generator_layer", "discriminator_layer", "discriminator_features")
TAKES = ("points",)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}
MAXOUT = "maxout"  # The largest of several linear functions (Goodfellow et al. 2013).
INITIALISERS = ("orthogonal", "normal", "he")
Initialise = Callable[[bool], Callable[..., Any]]  # (whether a layer is the last one) -> what draws its kernel.


class Hidden(nn.Module):
    """Hidden layers with their activations, [n, f] -> [n, g]."""

    widths: Sequence[int]
    activation: str
    pieces: int
    initialise: Initialise
    dtype: Any
    layer: MakeLayer
    norm: Callable[[], nn.Module] | None = None

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        hidden = inputs
        pieces = self.pieces if self.activation == MAXOUT else 1
        for width in self.widths:
            # The shift of a normalisation is the layer's bias.
            asked = Layer(width * pieces, bias=self.norm is None, kernel_init=self.initialise(False), dtype=self.dtype)
            hidden = self.layer(asked)(hidden, context).astype(float)
            if self.norm is not None:
                hidden = self.norm()(hidden, context)
            if self.activation == MAXOUT:
                hidden = functools.reduce(_larger, jnp.moveaxis(hidden.reshape(-1, width, pieces), 2, 0))
            else:
                hidden = ACTIVATIONS[self.activation](hidden)
        return hidden


def _larger(one: Array, other: Array) -> Array:
    """Returns the larger of two numbers, whose gradient one of them always has.

    That of a maximum over an axis asks which numbers are equal to it, and where the compiler computes them again, and
    rounds otherwise, none may be: zero divided by zero.
    """
    return jnp.where(other > one, other, one)


class Generator(nn.Module):
    """Latents [n, latent_size] -> points [n, coordinates]."""

    coordinates: int
    widths: Sequence[int]
    activation: str
    pieces: int
    initialise: Initialise
    dtype: Any
    norm: Callable[[], nn.Module] | None = None
    layer: MakeLayer = WeightLayer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        layers = Hidden(self.widths, self.activation, self.pieces, self.initialise, self.dtype, self.layer, self.norm)
        hidden = layers(latents, context)
        last = Layer(self.coordinates, is_last=True, kernel_init=self.initialise(True))
        return self.layer(last)(hidden, context)


class Discriminator(nn.Module):
    """Points [n, coordinates] -> Critique; features: the last hidden layer."""

    widths: Sequence[int]
    activation: str
    pieces: int
    initialise: Initialise
    input_divisor: float
    classes: int | None
    dtype: Any
    layer: MakeLayer = WeightLayer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are

    @nn.compact
    def __call__(self, points: Array, context: Context) -> Critique:
        hidden = Hidden(self.widths, self.activation, self.pieces, self.initialise, self.dtype, self.layer)
        features = hidden(points / self.input_divisor, context)
        last = Layer(self.classes or 1, is_last=True, kernel_init=self.initialise(True))
        return critique(self.layer(last)(self.on_features()(features), context), features, self.classes)


def make(
    shape: tuple[int, ...],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 256,
    generator_layers: tuple[int, ...] = (128, 128),
    discriminator_layers: tuple[int, ...] = (128,),
    generator_activation: str = "relu",
    discriminator_activation: str = "relu",
    pieces: int = 5,
    batch_norm: bool = False,
    initialiser: str = "orthogonal",
    gain: float = 0.8,
    input_divisor: float = 4.0,
    precision: str = "float32",
) -> Networks:
    """Returns fully connected networks for points.

    Args:
      shape: (coordinates,) of a point.
      classes: K for the semi-supervised discriminator, None for the ordinary one with a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent, drawn from N(0, 1).
      generator_layers, discriminator_layers: widths of the hidden layers.
      generator_activation, discriminator_activation: "relu", "tanh" or "maxout".
      pieces: linear functions of which maxout takes the largest; a width counts what is left of them.
      batch_norm: whether the generator's hidden layers are batch-normalised.
      initialiser: of all kernels: "orthogonal"; "normal"; "he", uniform in +-sqrt(6 / inputs), of the last layers
        uniform in +-sqrt(6 / (inputs + outputs)).
      gain: factor of orthogonal kernels, standard deviation of normal ones; "he" takes none.
      input_divisor: what the discriminator's inputs are divided by.
      precision: "float32", or "bfloat16" for the products of the hidden layers; the rest is float32 in any case.

    Raises UserError naming the hyper-parameter that is off.
    """
    require_latent_size(latent_size)
    for field, widths in (("generator_layers", generator_layers), ("discriminator_layers", discriminator_layers)):
        require_widths(field, widths)
        require(field, widths, "at least one width", len)
    activations = [*ACTIVATIONS, MAXOUT]
    for field, name in (
        ("generator_activation", generator_activation),
        ("discriminator_activation", discriminator_activation),
    ):
        require(field, name, f"one of {', '.join(activations)}", lambda name: name in activations)
    require("pieces", pieces, "a whole number from 1 to 1,000", lambda count: 1 <= count <= 1000)
    require("initialiser", initialiser, f"one of {', '.join(INITIALISERS)}", lambda name: name in INITIALISERS)
    for field, value in (("gain", gain), ("input_divisor", input_divisor)):
        require(field, value, "a positive number up to a million", lambda number: 0 < number <= 1e6)

    dtype = precision_dtype(precision)

    def initialise(is_last: bool) -> Callable[..., Any]:
        if initialiser == "orthogonal":
            return orthogonal(gain)
        if initialiser == "normal":
            return nn.initializers.normal(gain)
        return nn.initializers.glorot_uniform() if is_last else nn.initializers.he_uniform()

    usual: dict[str, Any] = {"norm": ShiftBatchNorm} if batch_norm else {}
    filling = usual | filled(layers, norm="generator_norm", layer="generator_layer")
    generator = Generator(shape[0], tuple(generator_layers), generator_activation, pieces, initialise, dtype, **filling)
    discriminator = Discriminator(
        tuple(discriminator_layers),
        discriminator_activation,
        pieces,
        initialise,
        input_divisor,
        classes,
        dtype,
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features"),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=normal_latents(latent_size),
        image_range=(-1.0, 1.0),  # Nobody's: points are as they are.
        gives=gives(classes, independent_examples=True, plain_weights="discriminator_layer" not in layers),
    )
