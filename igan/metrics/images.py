"""Images to be scored: a folder of files, an array file or an array, opened in one way and checked before any number.

Whatever the source, images are uint8 RGB of one size. Grey images are repeated in three channels, and an alpha channel
that is opaque everywhere is dropped; nothing else is converted silently.
"""

import concurrent.futures
import functools
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from igan.data import image_files
from igan.errors import UserError

DECODE_THREADS = 8
HASH_BYTES = 2**24
HASH_IMAGES = 256
MOST_KEPT_BYTES = 2**31
Item = TypeVar("Item")


class Images(NamedTuple):
    """A set of images that is read piece by piece."""

    name: str  # What a protocol calls it.
    count: int
    read: Callable[[int, int], np.ndarray]  # (start, stop) -> uint8 [stop - start, height, width, 3]; from any thread.
    content_hash: Callable[[], str]  # A SHA-256 that changes with the pixels or their order. Reads everything.
    folders: int = 1  # In how many they lie, one after the other, as images that are sorted by class do.


def from_path(path: str | Path) -> Images:
    """Opens a folder of images, or an `.npy` or `.npz` file with one array of them.

    Raises:
      UserError: nothing there, or another kind of file; and what `from_folder` and `from_array` raise.
    """
    path = Path(path)
    if path.is_dir():
        return from_folder(path)
    if not path.exists():
        raise UserError(f"there is no {path}: give a folder of images, an .npy or .npz file, or tfds:NAME/SPLIT")
    if path.suffix not in (".npy", ".npz"):
        raise UserError(f"{path} is neither a folder nor an .npy or .npz file")
    try:
        if path.suffix == ".npy":  # Mapped, so that it need not fit into memory.
            return from_array(path.name, np.load(path, mmap_mode="r", allow_pickle=False))
        with np.load(path, allow_pickle=False) as archive:
            entries = archive.files if len(archive.files) == 1 else [e for e in archive.files if e == "images"]
            if not entries:
                raise UserError(f"{path} holds {', '.join(archive.files)}: keep one array, or name it 'images'")
            return from_array(path.name, archive[entries[0]])
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise their own kinds for damaged files.
        raise UserError(f"{path} cannot be read as an array ({type(error).__name__}: {error})") from error


def from_array(name: str, array: np.ndarray) -> Images:
    """Wraps an array.

    Args:
      name: what the protocol calls it.
      array: uint8 [n, height, width, 1, 3 or 4] or [n, height, width]; may be mapped from a file.

    Raises:
      UserError: another shape, floats, NaN, or transparency.

    >>> from_array("digits", np.zeros((5, 28, 28), np.uint8)).read(0, 2).shape
    (2, 28, 28, 3)
    """
    if array.dtype != np.uint8:
        raise UserError(f"{name} holds {_seen(array)}: images are integers in 0..255 of type uint8{_remedy(array)}")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3, 4)) or 0 in array.shape:
        raise UserError(f"{name} has the shape {array.shape}: images are [n, height, width, 1 or 3]")
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        raise UserError(f"{name} has the shape {array.shape}, as one image has: images are [n, height, width, 1 or 3]")

    def read(start: int, stop: int) -> np.ndarray:
        return _to_rgb(name, np.asarray(array[start:stop]))

    def content_hash() -> str:
        digest = hashlib.sha256(f"array {array.shape}\n".encode())
        rows = max(1, HASH_BYTES // array[0].nbytes)
        for start in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[start : start + rows]).data)
        return digest.hexdigest()

    return Images(name, len(array), read, content_hash)


def from_function(name: str, count: int, make: Callable[[int, int], np.ndarray]) -> Images:
    """Wraps images that are made when they are looked at.

    Args:
      name: what the protocol calls them.
      count: how many.
      make: (start, stop) -> uint8 [stop - start, height, width, 1 or 3], always the same; called from any thread.

    >>> from_function("black", 5, lambda start, stop: np.zeros((stop - start, 8, 8, 1), np.uint8)).read(0, 2).shape
    (2, 8, 8, 3)
    """

    @functools.cache
    def content_hash() -> str:
        digest = hashlib.sha256(f"function {count}\n".encode())
        for start in _track(range(0, count, HASH_IMAGES), name):
            digest.update(np.ascontiguousarray(make(start, min(start + HASH_IMAGES, count))).data)
        return digest.hexdigest()

    return Images(name, count, lambda start, stop: _to_rgb(name, make(start, stop)), content_hash)


def read_once(source: Images) -> Images:
    """Returns images that are made once, however often they are looked at: kept in memory, if they fit into 2 GiB.

    >>> read_once(from_array("digits", np.zeros((5, 28, 28), np.uint8))).count
    5
    """
    lock, done = threading.Lock(), 0
    kept: np.ndarray | None = None

    def read(start: int, stop: int) -> np.ndarray:
        nonlocal kept, done
        with lock:
            if kept is None:
                first = source.read(start, stop)
                if start or source.count * first[0].nbytes > MOST_KEPT_BYTES:
                    return first
                kept, done = np.empty((source.count, *first.shape[1:]), first.dtype), stop
                kept[:stop] = first
            if stop > done:
                kept[done:stop], done = source.read(done, stop), stop
            return kept[start:stop]

    return source._replace(read=read)


def from_folder(folder: str | Path) -> Images:
    """Opens the image files in a folder and below it, in the order of their paths. All must be of one size.

    They are the files that training takes from it: links are followed, and what is hidden or without the suffix of an
    image does not count.

    Raises:
      UserError: no images; and, when they are read, one that is damaged, transparent, 16 bits deep, of another size or
        with several frames.
    """
    folder = Path(folder)
    paths = [Path(path) for path in sorted(image_files.below(str(folder)))]
    if not paths:
        raise UserError(f"{folder} holds no images ({', '.join(image_files.SUFFIXES)})")
    first = paths[0]
    size = _decode(first).shape

    def decode(path: Path) -> np.ndarray:
        pixels = _decode(path)
        if pixels.shape != size:
            sizes = f"{first} is {size[1]}x{size[0]} and {path} is {pixels.shape[1]}x{pixels.shape[0]}"
            raise UserError(f"{sizes}: scores need images of one size; resize them first, all in the same way")
        return pixels

    def read(start: int, stop: int) -> np.ndarray:
        with concurrent.futures.ThreadPoolExecutor(
            DECODE_THREADS
        ) as pool:  # Pillow decodes without the interpreter lock.
            return np.stack(list(pool.map(decode, paths[start:stop])))

    def content_hash() -> str:
        digest = hashlib.sha256(b"folder\n")
        for path in _track(paths, folder.name):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    parts = len({path.parent for path in paths})
    return Images(folder.name or str(folder), len(paths), read, content_hash, parts)


def _track(pieces: Sequence[Item], name: str) -> Iterable[Item]:
    return track(pieces, f"Hash of {name}", console=Console(stderr=True), transient=True)


def _decode(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            stored = str(image.tile)  # With the layout in the file, which Pillow has cut to 8 bits once it is loaded.
            image.load()
            if image.mode in ("I", "I;16", "I;16B", "F") or re.search(";(16|32)", stored):
                raise UserError(f"{path} has more than 8 bits a channel: save it as 8-bit RGB")
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # A photo with a preview.
                raise UserError(f"{path} holds {image.n_frames} images: save the one that is meant by itself")  # pyright: ignore[reportAttributeAccessIssue]
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    except UserError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files.
        raise UserError(f"{path} cannot be decoded ({type(error).__name__}: {error}): remove or replace it") from error
    return _to_rgb(str(path), pixels[None])[0]


def _to_rgb(name: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        if (images[..., 3] != 255).any():
            raise UserError(
                f"{name} has transparent pixels: compose it on a background of your choice and save it as RGB"
            )
        return np.ascontiguousarray(images[..., :3])
    return images


def _seen(array: np.ndarray) -> str:
    """Describes pixels of the wrong type by what was seen of them."""
    sample = np.asarray(array[: max(1, 2**22 // max(1, array[0].size))]) if len(array) else np.asarray(array)
    if not np.issubdtype(array.dtype, np.number) or sample.size == 0:
        return f"values of type {array.dtype}"
    if np.isnan(sample.astype(np.float64)).any():
        return f"{array.dtype} pixels, some of them NaN"
    return f"{array.dtype} pixels between {sample.min():g} and {sample.max():g}"


def _remedy(array: np.ndarray) -> str:
    if array.dtype == np.bool_:
        return "; save x * np.uint8(255)"
    if not np.issubdtype(array.dtype, np.floating) or not len(array):
        return "; if they are, save them with .astype('uint8')"
    sample = np.asarray(array[:64], np.float64)
    if np.isnan(sample).any():
        return ""
    if sample.min() < 0:
        return "; if -1..1 was meant, save ((x + 1) * 127.5).round().clip(0, 255).astype('uint8')"
    factor = " * 255" if sample.max() <= 1 else ""
    return f"; save (x{factor}).round().clip(0, 255).astype('uint8')"
