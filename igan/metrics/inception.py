"""The Inception network of 2015 behind the Inception score, FID and their relatives (Szegedy et al. 2015).

This is the graph that was published with the Inception score, not any later one: average pools leave the padding out
of their count, the pool of the last block takes the maximum, and there are 1,008 outputs, which the score uses without
their bias. Inference only: batch normalisation is folded into each convolution (`igan.metrics.fetch`).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from igan.errors import UserError, did_you_mean
from igan.metrics.extract import FeatureNetwork
from igan.metrics.resize import METHODS, resize
from igan.metrics.weights import Weights
from igan.types import Array

IMAGE_SIZE = 299
CLASSES = 1008
# Each output and the last weight it needs, in the order of the graph.
LEVELS = {
    "64": "conv_2/kernel",
    "192": "conv_4/kernel",
    "768": "mixed_7_conv/kernel",
    "1280": "mixed_8_tower_1_conv_3/kernel",
    "2048": "mixed_10_tower_2_conv/kernel",
    "logits_unbiased": "softmax/kernel",
    "logits": "softmax_bias",
}
PRECISIONS = {
    "float32": (jnp.float32, jax.lax.Precision.HIGHEST),
    "tensorfloat32": (jnp.float32, jax.lax.Precision.DEFAULT),  # On processors without it this is float32.
    "bfloat16": (jnp.bfloat16, jax.lax.Precision.DEFAULT),
}


class RectifiedConvolution(nn.Module):
    """A convolution with bias, then ReLU, computed in the type of its input."""

    features: int
    shape: tuple[int, int]
    strides: int
    padding: str
    precision: jax.lax.Precision

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*self.shape, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        if self.shape == (1, 1):  # XLA's matrix product is up to twice as fast as its convolution on CPU.
            return nn.relu(jnp.einsum("nhwc,cd->nhwd", x, kernel[0, 0], precision=self.precision) + bias)
        strides = (self.strides, self.strides)
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, kernel, strides, self.padding, dimension_numbers=layout, precision=self.precision
        )
        return nn.relu(x + bias)


class Inception(nn.Module):
    """The network up to the last level that is asked for.

    Called with float32 [n, 299, 299, 3] in [-1, 1), it returns a dict of float32 [n, d]: the levels `64`, `192`, `768`,
    `1280` and `2048` are means over space, `logits_unbiased` and `logits` have 1,008 entries.
    """

    levels: tuple[str, ...]
    dtype: jnp.dtype = jnp.float32
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, images: Array) -> dict[str, Array]:
        stages = {
            "64": self.stem,
            "192": self.second_stem,
            "768": self.body,
            "1280": self.reduction_8,
            "2048": self.tail,
        }
        outputs: dict[str, Array] = {}
        x = images.astype(self.dtype)
        for level, stage in stages.items():
            x = stage(x)
            outputs[level] = x.astype(jnp.float32).mean(axis=(1, 2))
            if outputs.keys() >= set(self.levels):
                return {level: outputs[level] for level in self.levels}
        classify = nn.Dense(CLASSES, use_bias=False, dtype=self.dtype, precision=self.precision, name="softmax")
        outputs["logits_unbiased"] = classify(outputs["2048"].astype(self.dtype)).astype(jnp.float32)
        if "logits" in self.levels:
            bias = self.param("softmax_bias", nn.initializers.zeros, (CLASSES,))
            outputs["logits"] = outputs["logits_unbiased"] + bias
        return {level: outputs[level] for level in self.levels}

    def stem(self, x: Array) -> Array:
        x = self.tower(x, "", (32, 3, 3), strides=2, padding="VALID")
        x = self.tower(x, "", (32, 3, 3), padding="VALID", first=1)
        return max_pool(self.tower(x, "", (64, 3, 3), first=2))

    def second_stem(self, x: Array) -> Array:
        return max_pool(self.tower(x, "", (80, 1, 1), (192, 3, 3), padding="VALID", first=3))

    def body(self, x: Array) -> Array:
        for name, pooled in (("mixed_", 32), ("mixed_1_", 64), ("mixed_2_", 64)):
            x = self.block_35(x, name, pooled)
        x = self.reduction_17(x)
        for name, narrow in (("mixed_4_", 128), ("mixed_5_", 160), ("mixed_6_", 160), ("mixed_7_", 192)):
            x = self.block_17(x, name, narrow)
        return x

    def tail(self, x: Array) -> Array:
        x = self.block_8(x, "mixed_9_", average_pool)
        return self.block_8(x, "mixed_10_", functools.partial(max_pool, strides=1, padding="SAME"))

    def tower(
        self,
        x: Array,
        name: str,
        *layers: tuple[int, int, int],
        strides: int = 1,
        padding: str = "SAME",
        first: int = 0,
    ) -> Array:
        """Applies convolutions of (features, height, width), named as in the graph: conv, conv_1, conv_2, ...

        `strides` and `padding` are those of the last one; before it everything has stride one and keeps its size.
        """
        for index, (features, height, width) in enumerate(layers, start=first):
            is_last = index == first + len(layers) - 1
            x = RectifiedConvolution(
                features,
                (height, width),
                strides if is_last else 1,
                padding if is_last else "SAME",
                self.precision,
                name=f"{name}conv_{index}" if index else f"{name}conv",
            )(x)
        return x

    def block_35(self, x: Array, name: str, pooled: int) -> Array:
        branches = [
            self.tower(x, name, (64, 1, 1)),
            self.tower(x, f"{name}tower_", (48, 1, 1), (64, 5, 5)),
            self.tower(x, f"{name}tower_1_", (64, 1, 1), (96, 3, 3), (96, 3, 3)),
            self.tower(average_pool(x), f"{name}tower_2_", (pooled, 1, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)

    def reduction_17(self, x: Array, name: str = "mixed_3_") -> Array:
        branches = [
            self.tower(x, name, (384, 3, 3), strides=2, padding="VALID"),
            self.tower(x, f"{name}tower_", (64, 1, 1), (96, 3, 3), (96, 3, 3), strides=2, padding="VALID"),
            max_pool(x),
        ]
        return jnp.concatenate(branches, axis=-1)

    def block_17(self, x: Array, name: str, narrow: int) -> Array:
        n = narrow
        branches = [
            self.tower(x, name, (192, 1, 1)),
            self.tower(x, f"{name}tower_", (n, 1, 1), (n, 1, 7), (192, 7, 1)),
            self.tower(x, f"{name}tower_1_", (n, 1, 1), (n, 7, 1), (n, 1, 7), (n, 7, 1), (192, 1, 7)),
            self.tower(average_pool(x), f"{name}tower_2_", (192, 1, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)

    def reduction_8(self, x: Array, name: str = "mixed_8_") -> Array:
        seven_by_seven = ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3))
        branches = [
            self.tower(x, f"{name}tower_", (192, 1, 1), (320, 3, 3), strides=2, padding="VALID"),
            self.tower(x, f"{name}tower_1_", *seven_by_seven, strides=2, padding="VALID"),
            max_pool(x),
        ]
        return jnp.concatenate(branches, axis=-1)

    def block_8(self, x: Array, name: str, pool) -> Array:
        tower = self.tower(x, f"{name}tower_", (384, 1, 1))
        tower_1 = self.tower(x, f"{name}tower_1_", (448, 1, 1), (384, 3, 3))
        branches = [
            self.tower(x, name, (320, 1, 1)),
            self.tower(tower, f"{name}tower_mixed_", (384, 1, 3)),
            self.tower(tower, f"{name}tower_mixed_", (384, 3, 1), first=1),
            self.tower(tower_1, f"{name}tower_1_mixed_", (384, 1, 3)),
            self.tower(tower_1, f"{name}tower_1_mixed_", (384, 3, 1), first=1),
            self.tower(pool(x), f"{name}tower_2_", (192, 1, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


def max_pool(x: Array, strides: int = 2, padding: str = "VALID") -> Array:
    """Returns the maximum over 3 x 3 windows."""
    return nn.max_pool(x, (3, 3), (strides, strides), padding)


def average_pool(x: Array) -> Array:
    """Returns the mean over 3 x 3 windows of stride one; at the border, of the pixels that are there."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def network(weights: Weights, resize_method: str = "tf1-bilinear", precision: str = "float32") -> FeatureNetwork:
    """Returns the network with its weights, for `igan.metrics.extract`: uint8 [n, height, width, 3] -> features.

    Args:
      weights: of `igan.metrics.weights.load`. Which levels there are depends on how far they reach.
      resize_method: one of `igan.metrics.resize.METHODS`; scores that are to be compared use `tf1-bilinear`.
      precision: a key of `PRECISIONS`; "bfloat16" is several times faster on a GPU and shifts the scores.

    Raises:
      UserError: an unknown resize or precision, or weights that are not this network's.

    >>> inception = network(weights.load())  # doctest: +SKIP
    >>> inception.label  # doctest: +SKIP
    'inception-2015-12-05, weights 6726825d, tf1-bilinear to 299, float32'
    """
    check_options(resize_method, precision)
    levels = tuple(level for level, last in LEVELS.items() if last in weights.arrays)
    _check(weights, levels)
    dtype, lax_precision = PRECISIONS[precision]

    def apply(params: Mapping, images: Array, levels: Sequence[str]) -> dict[str, Array]:
        module = Inception(tuple(levels), dtype, lax_precision)
        scaled = (resize(images, IMAGE_SIZE, resize_method) - 128) / 128
        outputs: Any = module.apply({"params": params}, scaled)
        return outputs

    params = flax.traverse_util.unflatten_dict(dict(weights.arrays), sep="/")
    label = f"{weights.name}, weights {weights.digest}, {resize_method} to {IMAGE_SIZE}, {precision}"
    return FeatureNetwork(label, levels, params, apply)


def check_options(resize_method: str, precision: str) -> None:
    """Raises UserError, suggesting the right one, for options of `network` that are unknown.

    >>> check_options("tf1-bilinear", "float32")
    """
    for name, known, what in ((resize_method, METHODS, "resize"), (precision, PRECISIONS, "precision")):
        if name not in known:
            raise UserError(f"unknown {what} '{name}'.{did_you_mean(name, known)}")


def shapes(levels: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every weight that the levels need, by name."""
    image = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.float32)
    variables = jax.eval_shape(Inception(tuple(levels)).init, jax.random.key(0), image)
    flat: Any = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def _check(weights: Weights, levels: Sequence[str]) -> None:
    if not levels:
        raise UserError(f"{weights.name} holds no weights of the Inception network: fetch them anew")
    for name, shape in shapes(levels).items():
        found = weights.arrays.get(name)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has the shape {found.shape} instead of {shape}"
            raise UserError(f"{weights.name} is not a copy of the Inception network: '{name}' {what}")
