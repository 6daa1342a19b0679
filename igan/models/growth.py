"""How networks grow: stages, real images of each, and the way from one to the next (Karras et al. 2018).

A network starts with small images. Each resolution is trained for so many real images, then the next one is faded in
over so many: its layers come in with a share that rises from 0 to 1, beside those of the resolution before. A stage is
one or the other.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from igan.errors import UserError
from igan.layers.resampling import mean_pool, upsample
from igan.models import is_width, require
from igan.types import Array, Stage, Turn

SMALLEST = 4  # Side of an image, as in the papers.


def stages(
    first: int,
    last: int,
    train_images: int,
    fade_images: int,
    batch_sizes: Sequence[int],
    rate_factors: Sequence[float] = (),
) -> tuple[Stage, ...]:
    """Returns the stages from one resolution to another, those in which a resolution fades in between.

    Args:
      first, last: sides of the images, each 4 times a power of two.
      train_images: real images that the discriminator is shown of a resolution, once all of it is there; the last one
        lasts until the end of the run.
      fade_images: real images over which a resolution fades in.
      batch_sizes: for images of 4, 8, 16, ... pixels, the last number for all that are larger; none: the config's.
      rate_factors: of both players' learning rates, for the same; none: 1. A resolution that fades in has its own.

    >>> [(stage.name, stage.images) for stage in stages(4, 8, 800, 400, ())]
    [('4 px', 800), ('8 px fading in', 400), ('8 px', 0)]
    """
    made: list[Stage] = []
    for level in range(int(math.log2(first)), int(math.log2(last)) + 1):
        side = 2**level
        size = batch_sizes[min(level - 2, len(batch_sizes) - 1)] if batch_sizes else 0
        rate = rate_factors[min(level - 2, len(rate_factors) - 1)] if rate_factors else 1.0
        own = Stage(batch_sizes=(size, size), rate=rate)
        if side > first:
            made.append(own._replace(index=len(made), images=fade_images, name=f"{side} px fading in"))
        made.append(own._replace(index=len(made), images=train_images if side < last else 0, name=f"{side} px"))
    return tuple(made)


def side_at(stage: Stage, first: int) -> int:
    """Returns the side of the images of a stage.

    >>> [side_at(Stage(index), first=4) for index in range(5)]
    [4, 8, 8, 16, 16]
    """
    return first * 2 ** ((stage.index + 1) // 2)


def fades(stage: Stage) -> bool:
    """Returns whether a stage is one in which its resolution fades in."""
    return stage.index % 2 == 1


def share(turn: Turn) -> Array:
    """Returns the share of a resolution that fades in, from 0 in the stage's first update to less than 1 in its last.

    >>> share(Turn(jnp.int32(15), jnp.int32(15), Stage(1, start=10, updates=20)))
    Array(0.25, dtype=float32)
    """
    done = jnp.asarray(turn.step - turn.stage.start, float)
    return jnp.clip(done / max(turn.stage.updates, 1), 0.0, 1.0)


def mixed(before: Array, after: Array, turn: Turn) -> Array:
    """Returns (1 - a) before + a after, with the share a of what fades in."""
    alpha = share(turn).astype(after.dtype)
    return (1 - alpha) * before + alpha * after


def real_images(images: Array, turn: Turn, first: int) -> Array:
    """Returns real images as a stage shows them: means of squares of pixels, which fade in with their resolution.

    Args:
      images: float [n, side, side, channels], of a side that is a power of two times that of the stage.

    Returns: float [n, side, side, channels] with the stage's side.
    """
    side = side_at(turn.stage, first)
    while images.shape[1] > side:
        images = mean_pool(images)
    if not fades(turn.stage):
        return images
    return mixed(upsample(mean_pool(images)), images, turn)


def width_at(side: int, base: int, most: int) -> int:
    """Returns the channels of a resolution.

    >>> [width_at(side, base=8192, most=512) for side in (4, 32, 64, 128, 1024)]
    [512, 512, 256, 128, 16]
    """
    return max(1, min(2 * base // side, most))


def widths_to(last: int, base: int, most: int) -> nn.FrozenDict[int, int]:
    """Returns the channels of all resolutions from 4 pixels to the last one."""
    return nn.FrozenDict(
        {4 * 2**level: width_at(4 * 2**level, base, most) for level in range(int(math.log2(last)) - 1)}
    )


def require_growth(image_shape: tuple[int, int, int], family: str, settings: Mapping[str, Any]) -> int:
    """Returns the last resolution, the images' own if `resolution` is 0.

    Args:
      settings: those of the family, of which `base` and `most` are looked at, see `width_at`, `first_resolution` and
        `resolution`, and `train_images`, `fade_images`, `batch_sizes` and `rate_factors`, see `stages`.

    Raises UserError naming the hyper-parameter that is off, or where the images do not fit.
    """
    for field in ("base", "most"):
        require(field, settings[field], "a number of channels from 1 to a million", is_width)
    first, resolution = settings["first_resolution"], settings["resolution"]

    def is_side(side: object) -> bool:
        return isinstance(side, int) and side >= SMALLEST and side & (side - 1) == 0

    wanted = "4 times a power of two (4, 8, 16, 32, ...)"
    require("first_resolution", first, wanted, is_side)
    require("resolution", resolution, f"0 for that of the data, or {wanted}", lambda side: side == 0 or is_side(side))
    height, width, _ = image_shape
    if height != width or not is_side(height):
        side = max(SMALLEST, 2 ** round(math.log2(max(height, width))))
        raise UserError(
            f"images of {height} x {width} pixels do not fit the networks '{family}', which need squares of {wanted}:"
            f" set --config.data.image_size={side}, and for an image folder or a stream --config.data.crop=center, for"
            " a data set of smaller images --config.data.crop=pad"
        )
    if height < resolution:
        raise UserError(
            f"images of {height} x {width} pixels are smaller than the last stage, {resolution} x {resolution}: set"
            f" --config.networks.resolution={height}, or for an image folder --config.data.image_size={resolution}"
        )
    last = resolution or height
    if first > last:
        raise UserError(
            f"config.networks.first_resolution is {first}, and the last stage has {last} pixels: set"
            f" --config.networks.first_resolution={last} or less"
        )
    for field in ("train_images", "fade_images"):
        require(
            field,
            settings[field],
            "a whole number of images from 1 to 2^31",
            lambda count: isinstance(count, int) and 1 <= count < 2**31,
        )
    require(
        "batch_sizes",
        settings["batch_sizes"],
        "sizes of batches from 1 to a million, for images of 4, 8, 16, ... pixels",
        lambda sizes: (
            isinstance(sizes, tuple | list) and all(isinstance(size, int) and 1 <= size <= 1_000_000 for size in sizes)
        ),
    )
    require(
        "rate_factors",
        settings["rate_factors"],
        "positive numbers up to a million, for images of 4, 8, 16, ... pixels",
        lambda factors: isinstance(factors, tuple | list) and all(0 < factor <= 1_000_000 for factor in factors),
    )
    return last
