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

BLOCK, BLOCK_BYTES = 256, 1 << 25  # Images that are read at once, and bytes of their pixels, at most.
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
    sizes = [source.images.read(0, 1).shape[1:3] for source in sources]
    height, width = next(size for size, source in zip(sizes, sources, strict=True) if not source.real)
    if max(height, width) > LARGEST:
        raise UserError(f"images of {width} x {height} pixels are too large for a page: at most {LARGEST}")
    for source, (own_height, own_width) in zip(sources, sizes, strict=True):
        if own_height * width != own_width * height:
            raise UserError(
                f"{source.name} is {own_width} x {own_height} and generated images are {width} x {height}: crop"
                " them to the same proportions first"
            )
    pixels = [_draw(source.images, most, (width, height)) for source in sources]
    grey = all((each[..., :1] == each).all() for each in pixels)
    return [_files(each, (width, height), "L" if grey else "RGB", jpeg) for each in pixels]


def encode(pixels: np.ndarray, size: tuple[int, int], mode: str, jpeg: int | None = None) -> bytes:
    """Returns the PNG file of uint8 [height, width, 3], in a size (width, height) and a mode, "L" or "RGB".

    >>> one, other = np.zeros((8, 8, 3), np.uint8), np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    >>> len(encode(one, (8, 8), "RGB")) == len(encode(other, (8, 8), "RGB"))
    True
    """
    pixels = _resized(pixels, size)
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels))
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


def _draw(images: Images, most: int, size: tuple[int, int]) -> np.ndarray:
    """Returns uint8 [n, height, width, 3] of a size (width, height), in random order.

    Each image is resized as it is read: 5,000 photographs of 1,024 pixels would be 15 GB.
    """
    generator = np.random.default_rng(secrets.randbits(128))
    order = generator.permutation(images.count)[:most]
    drawn = np.empty((len(order), size[1], size[0], 3), np.uint8)
    # Few of many are read one by one; else all, a block at a time, as folders are read quicker so.
    step = 1 if len(order) < images.count // 4 else min(BLOCK, max(1, BLOCK_BYTES // images.read(0, 1).nbytes))
    places = np.argsort(order)
    for start in sorted({int(number) // step * step for number in order}):
        block = images.read(start, min(start + step, images.count))
        first, last = np.searchsorted(order[places], (start, start + step))
        for place in places[first:last]:
            drawn[place] = _resized(block[order[place] - start], size)
    return drawn


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[:2] == size[::-1]:
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.LANCZOS))


def _files(pixels: np.ndarray, size: tuple[int, int], mode: str, jpeg: int | None) -> list[Picture]:
    files = [encode(each, size, mode, jpeg) for each in pixels]
    return list({each.hash: each for each in (Picture(hashlib.sha256(png).hexdigest(), png) for png in files)}.values())
