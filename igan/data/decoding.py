"""One encoded image -> one uint8 array: grey or RGB, upright, resized and cropped.

What files hold besides plain grey or RGB is converted: palettes, CMYK and other colour spaces to RGB; transparent
pixels are laid over white; 16-bit grey is scaled to 8 bits; of an animation the first frame is taken; the EXIF
orientation is applied.
"""

import io
import os
import threading
import warnings
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from rich.console import Console

from igan.errors import UserError

CROPS = ("none", "center", "random")
CORRUPT = ("error", "skip")
THREADS = min(16, os.cpu_count() or 1)  # Pillow decodes and resizes outside Python's interpreter lock.
NAMED = 3  # unreadable images whose names fit into one line
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's reader of EXIF data, which are laid out as in a TIFF file, warns of every flaw in them and goes on.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded."""

    height: int
    width: int
    grey: bool


def read_header(source: str | bytes) -> Header:
    """Returns the size and the kind of an image, upright, without decoding it.

    Args:
      source: the path of a file, or the bytes of one.

    Raises:
      Exception: whatever Pillow raises for a file that it cannot read.
    """
    with _open(source) as image:
        width, height = image.size
        # A PNG would be decoded to look for an orientation after its pixels, and a TIFF gives its upright size.
        known_early = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        if known_early and _orientation(image) >= 5:
            width, height = height, width
        return Header(height, width, image.mode in GREY_MODES)


def decode(
    source: str | bytes, channels: int, image_size: int, crop: str, random: np.random.Generator | None = None
) -> np.ndarray:
    """Returns the pixels of an image.

    Args:
      source: the path of a file, or the bytes of one.
      channels: 1 for grey (a coloured image becomes its luminance), 3 for RGB.
      image_size: side of the result in pixels unless `crop` is "none".
      crop: "none" for the whole image as it is; "center" to resize its shorter side to `image_size` and keep the middle
        of the longer one; "random" to keep a random window of the longer one.
      random: where the window comes from; for "random" only.

    Returns:
      uint8 [height, width, channels].

    Raises:
      Exception: whatever Pillow raises for a file that it cannot read, such as a truncated one.

    Example: `decode("photo.jpg", channels=3, image_size=64, crop="center").shape` is (64, 64, 3).
    """
    with _open(source) as file:
        file.load()  # before the orientation is looked up: some formats keep it after the pixels
        turn = UPRIGHT.get(_orientation(file))
        image = file if turn is None else file.transpose(turn)
        image = _plain(image, channels)
    if crop != "none":
        image = _resize(image, image_size, None if crop == "center" else random)
    pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], channels)


class Unreadable:
    """What becomes of images that cannot be read: the first is an error, or each is left out and named once.

    Safe to use from many threads.
    """

    def __init__(self, corrupt: str, total: int):
        """Takes "error" or "skip", and how many images there are: when most are unreadable, skipping is no remedy."""
        self._corrupt, self._total = corrupt, total
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def report(self, name: str, error: Exception) -> None:
        """Notes that the image `name` cannot be read; raises UserError if the run should not go on without it."""
        reason = _reason(error)
        if self._corrupt == "error":
            raise UserError(
                f"{name} cannot be read ({reason}): repair or remove it, or leave such images out with "
                "--config.data.corrupt=skip"
            ) from error
        with self._lock:
            known = name in self._names
            self._names.add(name)
            count = len(self._names)
        if 2 * count > self._total:
            raise UserError(
                f"more than half of the {self._total:,} images cannot be read, for example {name} ({reason}): "
                "check --config.data.name"
            ) from error
        if not known:
            Console(stderr=True, soft_wrap=True).print(f"Skipped {name}: {reason}", markup=False, highlight=False)

    def notice(self) -> str | None:
        """Returns how many images were left out and the names of the first few, in one line; None if none were."""
        with self._lock:
            names = sorted(self._names)
        if not names:
            return None
        more = ", ..." if len(names) > NAMED else ""
        return (
            f"{len(names):,} of {self._total:,} images could not be read and were skipped: "
            f"{', '.join(names[:NAMED])}{more}"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which the message names anyway
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _open(source: str | bytes) -> Image.Image:
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # photographs with broken EXIF data are common and no reason to lose their pixels
        return 1


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Returns an opaque image of mode L or RGB."""
    if image.mode.startswith("I"):
        # 16-bit grey, which convert() would clip instead of scale.
        image = Image.fromarray(np.round(np.clip(np.asarray(image), 0, 65535) / 257.0).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("an image of floating-point numbers has no range to map to 0..255")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _resize(image: Image.Image, size: int, random: np.random.Generator | None) -> Image.Image:
    """Returns the square window at the middle, or at random, of the image whose shorter side is resized to `size`."""
    shorter = min(image.size)
    sides = [max(size, round(side * size / shorter)) for side in image.size]
    # The window's offset in pixels of the resized image. One of the two sides leaves no choice.
    offsets = [(side - size) // 2 if random is None else int(random.integers(side - size + 1)) for side in sides]
    # Resizing only the window gives the same pixels as resizing everything and cutting it out.
    left, top = (offset * whole / side for offset, whole, side in zip(offsets, image.size, sides, strict=True))
    right, bottom = (
        (offset + size) * whole / side for offset, whole, side in zip(offsets, image.size, sides, strict=True)
    )
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
