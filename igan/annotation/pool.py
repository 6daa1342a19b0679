"""From images of any source to the files that people are sent: one way for all, so that only pixels differ.

All images of a study have one size, one mode and one PNG writer without compression, so that their files have the same
number of bytes. Compressed, a background of exactly zero would tell generated from real by length alone.
"""

import hashlib
import io
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from igan.errors import UserError
from igan.metrics.images import Images

BLOCK = 256
LARGEST = 1024  # Pixels of a side.


class Source(NamedTuple):
    """Where images come from."""

    name: str
    real: bool
    address: str  # As it was typed.
    description: str
    images: Images


class Picture(NamedTuple):
    """An image as it is stored."""

    hash: str  # SHA-256 of the file.
    png: bytes


def gather(sources: Sequence[Source], most: int, jpeg: int | None = None) -> list[list[Picture]]:
    """Returns the pictures of each source, at most so many, drawn at random, none of them twice.

    Args:
      most: pictures of a source.
      jpeg: the quality of the JPEG that all images are put through first: real photographs have been.

    Raises UserError for images whose sides are in other proportions than those of the first generator.
    """
    pixels = [_draw(source.images, most) for source in sources]
    model = next(each for each, source in zip(pixels, sources, strict=True) if not source.real)
    height, width = model.shape[1:3]
    if max(height, width) > LARGEST:
        raise UserError(f"images of {width} x {height} pixels are too large for a page: at most {LARGEST}")
    for source, each in zip(sources, pixels, strict=True):
        if each.shape[1] * width != each.shape[2] * height:
            raise UserError(
                f"{source.name} is {each.shape[2]} x {each.shape[1]} and generated images are {width} x {height}: crop"
                " them to the same proportions first"
            )
    grey = all((each[..., :1] == each).all() for each in pixels)
    return [_files(each, (width, height), "L" if grey else "RGB", jpeg) for each in pixels]


def encode(pixels: np.ndarray, size: tuple[int, int], mode: str, jpeg: int | None = None) -> bytes:
    """Returns the PNG file of uint8 [height, width, 3], in a size (width, height) and a mode, "L" or "RGB".

    >>> one, other = np.zeros((8, 8, 3), np.uint8), np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    >>> len(encode(one, (8, 8), "RGB")) == len(encode(other, (8, 8), "RGB"))
    True
    """
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    if jpeg is not None:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=jpeg)
        image = Image.open(buffer)
        image.load()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def decode(png: bytes) -> np.ndarray:
    """Returns a picture's pixels, uint8 [height, width] or [height, width, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def _draw(images: Images, most: int) -> np.ndarray:
    """Returns uint8 [n, height, width, 3], in random order."""
    generator = np.random.default_rng(secrets.randbits(128))
    order = generator.permutation(images.count)[:most]
    if len(order) < images.count // 4:
        return np.concatenate([images.read(int(number), int(number) + 1) for number in order])
    everything = [images.read(start, min(start + BLOCK, images.count)) for start in range(0, images.count, BLOCK)]
    return np.concatenate(everything)[order]


def _files(pixels: np.ndarray, size: tuple[int, int], mode: str, jpeg: int | None) -> list[Picture]:
    files = [encode(each, size, mode, jpeg) for each in pixels]
    return list({each.hash: each for each in (Picture(hashlib.sha256(png).hexdigest(), png) for png in files)}.values())
