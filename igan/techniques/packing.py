"""Packing (Lin et al. 2018, "PacGAN", section 3): the discriminator judges several images at once, as one input.

A generator that leaves modes out is easier to find out by several of its images than by one. The m images of a pack are
neighbours in the batch, independent draws of one kind, laid behind each other as channels; a pack has one logit.
Nothing else changes, neither the losses nor the rest of the networks. `batch_size` counts images: 100 packs are 100 m.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp

from igan.errors import UserError
from igan.game.technique import Technique
from igan.types import Array

MOST = 100


def make(images: int = 2) -> Technique:
    """Returns packing of what the discriminator is shown.

    Args:
      images: m, images of a pack, 1 to 100; the paper's PacGAN2, 3 and 4. With 1 nothing changes.

    Raises UserError for another number.
    """
    if isinstance(images, bool) or not isinstance(images, int) or not 1 <= images <= MOST:
        raise UserError(f"techniques.packing.images is {images}, expected a whole number from 1 to {MOST}")
    if images == 1:
        return Technique()

    def conflict(techniques: Mapping[str, Technique]) -> str | None:
        for name, each in techniques.items():
            if needed := each.needs & WHY.keys():
                return f"{name} {WHY[min(needed)]}: set --config.techniques.{name}.enabled=False"
        return None

    return Technique(
        discriminator_input=lambda state, key, shown: pack(shown, images),
        images_per_input=images,
        conflict=conflict,
    )


# Why what a technique needs is not to be had of packs.
WHY = {
    **dict.fromkeys(("labeled", "labels"), "needs the label of each image, and a pack of several images has none"),
    "class_logits": "tells the class of each image, and a pack of several images has none",
    "reconstruction": "compares reconstructions of single images, and the discriminator sees packs of several",
}


def pack(images: Array, count: int) -> Array:
    """Returns neighbours of a batch as one input each, behind each other as channels.

    Args:
      images: float [n, ..., channels]; points are [n, 2].
      count: images of a pack, m.

    Returns: float [n / m, ..., m * channels]: the channels of the first image of a pack, then those of the second.

    >>> pack(jnp.arange(8.0).reshape(4, 2), 2)
    Array([[0., 1., 2., 3.],
           [4., 5., 6., 7.]], dtype=float32)

    Raises UserError for images that do not make whole packs.
    """
    total, *middle, channels = images.shape
    if total % count:
        raise UserError(
            f"{total} images do not make packs of {count}: set --config.techniques.packing.images to a number that"
            f" divides them, say {math.gcd(total, count)}"
        )
    packs = images.reshape(total // count, count, *middle, channels)
    return jnp.moveaxis(packs, 1, -2).reshape(total // count, *middle, count * channels)
