"""Networks of strided convolutions since DCGAN (Radford et al. 2016), for images of any multiple of 4 up to 128 pixels.

The networks of several papers are settings of this family; `experiments/gans.py` has them. The defaults are DCGAN as
Heusel et al. (2017) have it for 32 x 32 pixels. The others of that size are the convolutional networks of Gulrajani et
al. (2017) and of Miyato et al. (2018, table 3), and for stacked MNIST those of Srivastava et al. (2017) and of Metz et
al. (2017).

Where those papers sample with running averages of the generator's batch statistics, igan refreshes the statistics
before sampling (`igan.game.inference.freeze`): they belong to the parameters that are sampled.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.errors import UserError
from igan.layers import truncation
from igan.layers.activation import leaky_relu
from igan.layers.batch_norm import BatchNorm
from igan.layers.heads import MakeHead, no_head
from igan.layers.norms import NORMS, MakeNorm, no_norm
from igan.layers.truncation import truncated
from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.models import precision_dtype, require, require_fitting, require_latent_size, require_widths
from igan.models.functional import as_they_are, critique, filled, gives, network
from igan.types import Array, Context, Critique, Key, Networks

PLACES = (
    "generator",
    "generator_norm",
    "generator_layer",
    "discriminator_layer",
    "discriminator_features",
    "discriminator_head",
)
KERNELS = (3, 4, 5)
LATENTS: dict[str, Callable[..., Array]] = {
    "normal": jax.random.normal,
    "uniform": lambda key, shape: jax.random.uniform(key, shape, minval=-1.0),
}
GENERATOR_NORMS = ("batch", "flat", "convolutions", "none")
LARGEST = 128  # Side of an image.


class Generator(nn.Module):
    """Latents [n, latent_size] -> images [n, height, width, channels] in (-1, 1), twice as large after each layer.

    Sides are halved, rounded up, from those of the images: 28, 14, 7, 4. A layer makes its image twice as large, and
    what is too much at the end is left out.
    """

    widths: Sequence[int]
    kernel: int
    ends_plain: bool  # The last layer is a 3 x 3 convolution at full size, and does not double the image.
    normalized: str  # Of `GENERATOR_NORMS`.
    kernel_std: float
    image_shape: tuple[int, int, int]
    dtype: Any
    norm: MakeNorm = BatchNorm
    layer: MakeLayer = WeightLayer

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        *sides, channels = self.image_shape
        sizes = shapes(sides, len(self.widths) - self.ends_plain)

        def doubled(hidden: Array, features: int, size: tuple[int, int], is_last: bool = False) -> Array:
            init = initializer(self.kernel_std, stride=2, transposed=True)
            asked = Layer(features, self.kernel, transposed=True, is_last=is_last, dtype=self.dtype, kernel_init=init)
            return self.layer(asked)(hidden, context)[:, : size[0], : size[1]]

        first = (*sizes[0], self.widths[0])
        dense = Layer(math.prod(first), kernel_init=initializer(self.kernel_std, dense=True))
        hidden = self.layer(dense)(truncated(latents, context), context)
        if self.normalized == "flat":
            hidden = self.norm()(hidden, context)
        hidden = hidden.reshape(-1, *first).astype(self.dtype)
        if self.normalized == "batch":
            hidden = self.norm()(hidden, context)
        hidden = jax.nn.relu(hidden)
        between = no_norm if self.normalized == "none" else self.norm
        for features, size in zip(self.widths[1:], sizes[1:], strict=False):
            hidden = jax.nn.relu(between()(doubled(hidden, features, size), context))
        if self.ends_plain:
            init = initializer(self.kernel_std)
            plain = Layer(channels, kernel=3, padding=1, is_last=True, dtype=self.dtype, kernel_init=init)
            pixels = self.layer(plain)(hidden, context)
        else:
            pixels = doubled(hidden, channels, sizes[-1], is_last=True)
        return jnp.tanh(pixels.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images [n, height, width, channels] in [-1, 1] -> Critique; features: all of the last convolution's numbers."""

    widths: Sequence[int]
    kernel: int
    paired: bool  # Every other convolution, from the first one on, is 3 x 3 and keeps the image's size.
    normalizes_first: bool
    slope: float
    kernel_std: float
    classes: int | None
    dtype: Any
    norm: MakeNorm
    layer: MakeLayer = WeightLayer
    on_features: Callable[..., Callable[[Array], Array]] = as_they_are
    head: MakeHead = no_head

    @nn.compact
    def __call__(self, images: Array, context: Context) -> Critique:
        hidden = images.astype(self.dtype)
        for index, features in enumerate(self.widths):
            kernel, stride = (3, 1) if self.paired and index % 2 == 0 else (self.kernel, 2)
            init = initializer(self.kernel_std, stride)
            asked = Layer(features, kernel, stride, (kernel - 1) // 2, dtype=self.dtype, kernel_init=init)
            hidden = self.layer(asked)(hidden, context)
            if index or self.normalizes_first:
                hidden = self.norm()(hidden, context)
            hidden = leaky_relu(hidden, self.slope)
        features = hidden.reshape(len(images), -1).astype(jnp.float32)
        init = initializer(self.kernel_std, dense=True)
        last = Layer(self.classes or 1, is_last=True, kernel_init=init)
        shown = self.on_features()(features)
        said = critique(self.layer(last)(shown, context), features, self.classes)
        return self.head(self.layer)(said, shown, context)


def make(
    image_shape: tuple[int, int, int],
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
    latent_size: int = 100,
    latents: str = "uniform",
    generator_widths: tuple[int, ...] = (512, 256, 128, 64),
    generator_kernel: int = 5,
    generator_norm: str = "batch",
    generator_ends_plain: bool = False,
    discriminator_widths: tuple[int, ...] = (64, 128, 256, 512),
    discriminator_kernel: int = 5,
    discriminator_paired: bool = False,
    discriminator_norm: str = "batch",
    discriminator_normalizes_first: bool = False,
    slope: float = 0.2,
    kernel_std: float = 0.02,
    precision: str = "float32",
) -> Networks:
    """Returns networks of strided convolutions.

    Every layer has a bias, also in front of a normalisation, as the released codes have. Images are halved with zeros
    of half a kernel on each side, as PyTorch's users do it: TensorFlow's "SAME" pads an even image on one side more.

    Args:
      image_shape: height, width, channels; both sides are multiples of 4 up to 128.
      classes: K for a discriminator with a logit for each class, None for a single logit.
      layers: what techniques put into the networks, by place.
      latent_size: numbers in a latent.
      latents: "uniform", drawn from U[-1, 1], or "normal", from N(0, 1).
      generator_widths: channels of the generator's hidden layers, from the dense one, the smallest image, on. Each
        layer after it makes the image twice as large, also the last one, which makes the pixels.
      generator_kernel: side of its transposed convolutions: 3, 4 or 5.
      generator_norm: "batch", after every hidden layer; "flat", the same, but the dense layer's numbers each by itself
        instead of a channel together; "convolutions", not after the dense layer; "none".
      generator_ends_plain: whether a 3 x 3 convolution at full size makes the pixels, instead of a transposed one. The
        image is doubled once less then.
      discriminator_widths: channels of the discriminator's convolutions, each of which halves the image.
      discriminator_kernel: side of their kernels: 3, 4 or 5.
      discriminator_paired: whether the first, third, ... of them are 3 x 3 instead and keep the image's size.
      discriminator_norm: "batch"; "layer", with one scale and shift a channel; "none".
      discriminator_normalizes_first: whether the first convolution is normalised as the others are.
      slope: of the discriminator's rectifiers below zero.
      kernel_std: kernels are drawn from N(0, kernel_std^2); 0: uniform, by the sizes of each layer, see `initializer`.
      precision: "float32", or "bfloat16" for the convolutions; parameters and losses are float32 in any case.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    require_latent_size(latent_size)
    require("latents", latents, "normal or uniform", lambda name: name in LATENTS)
    for player, widths, kernel in (
        ("generator", generator_widths, generator_kernel),
        ("discriminator", discriminator_widths, discriminator_kernel),
    ):
        require_widths(f"{player}_widths", widths)
        require(f"{player}_widths", widths, "at least one width", len)
        require(f"{player}_kernel", kernel, "3, 4 or 5", lambda side: side in KERNELS)
    require("generator_norm", generator_norm, " or ".join(GENERATOR_NORMS), lambda name: name in GENERATOR_NORMS)
    require("discriminator_norm", discriminator_norm, " or ".join(NORMS), lambda name: name in NORMS)
    require("slope", slope, "a number in [0, 1)", lambda slope: 0 <= slope < 1)
    require("kernel_std", kernel_std, "a standard deviation from 0 to 1", lambda std: 0 <= std <= 1)
    dtype = precision_dtype(precision)
    _require_norm_in_use(generator_norm, layers)
    _require_fitting(image_shape, len(generator_widths) - generator_ends_plain, generator_widths=generator_widths)
    halvings = len(discriminator_widths) // (2 if discriminator_paired else 1)
    _require_fitting(image_shape, halvings, discriminator_widths=discriminator_widths)
    generator = Generator(
        tuple(generator_widths),
        generator_kernel,
        generator_ends_plain,
        generator_norm,
        kernel_std,
        image_shape,
        dtype,
        **filled(layers, norm="generator_norm", layer="generator_layer"),
    )
    discriminator = Discriminator(
        tuple(discriminator_widths),
        discriminator_kernel,
        discriminator_paired,
        discriminator_normalizes_first,
        slope,
        kernel_std,
        classes,
        dtype,
        NORMS[discriminator_norm],
        **filled(layers, layer="discriminator_layer", on_features="discriminator_features", head="discriminator_head"),
    )
    return Networks(
        generator=network(layers.get("generator", lambda module: module)(generator)),
        discriminator=network(discriminator),
        sample_latents=lambda key, count: LATENTS[latents](key, (count, latent_size)),
        image_range=(-1.0, 1.0),
        convolutional=True,
        options=frozenset({truncation.OPTION} if latents == "normal" else ()),
        gives=gives(
            classes,
            independent_examples=discriminator_norm != "batch",
            plain_weights="discriminator_layer" not in layers,
        ),
    )


def shapes(sides: Sequence[int], doublings: int) -> list[tuple[int, int]]:
    """Returns the heights and widths of a generator's images, from the smallest to the full size.

    >>> shapes((28, 32), 3)
    [(4, 4), (7, 8), (14, 16), (28, 32)]
    """
    height, width = sides
    return [(-(-height // 2**times), -(-width // 2**times)) for times in range(doublings, -1, -1)]


def initializer(std: float, stride: int = 1, transposed: bool = False, dense: bool = False) -> Callable[..., Array]:
    """Returns the initialiser of a layer's kernel: N(0, std^2), or where std is 0 the one of WGAN-GP's code.

    That is uniform with the variance 4 / (inputs + outputs), counted with the kernel's area, and the outputs by places
    where it is evaluated; 2 / (inputs + outputs) for a dense layer (Gulrajani et al. 2017).
    """
    if std:
        return nn.initializers.normal(std)
    if dense:
        return nn.initializers.glorot_uniform()

    def initialize(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        inputs, outputs = (shape[0] * shape[1] * channels for channels in shape[2:])
        seen = inputs / stride**2 + outputs if transposed else inputs + outputs / stride**2
        bound = math.sqrt(3 * 4 / seen)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


def _require_norm_in_use(name: str, layers: Mapping[str, Callable[..., Any]]) -> None:
    if name == "none" and "generator_norm" in layers:
        raise UserError(
            "config.networks.generator_norm is none, and a technique wants to be the generator's normalisation: set"
            " --config.networks.generator_norm=batch, or disable that technique"
        )


def _require_fitting(image_shape: tuple[int, int, int], times: int, **setting: Any) -> None:
    needed = f"multiples of 4, more than {2**times} and at most {LARGEST}"
    holds = lambda side: side % 4 == 0 and 2**times < side <= LARGEST  # noqa: E731
    require_fitting("dcgan", image_shape, needed, holds, **setting)
