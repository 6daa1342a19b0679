"""Many images on disk: one picture, an array, or a folder; whole at the end, or nothing of it."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

from igan.data.grids import encode_png, image_grid
from igan.errors import UserError
from igan.metrics.images import Images

BATCH = 256
BLOCK = 4096  # Bytes: a file takes a whole number of such blocks on most disks.
HEADERS = 512  # Bytes: more than what a file holds besides its pixels.


def is_folder(output: Path) -> bool:
    """Whether a path is one of a folder: without a suffix of letters, of which runs/lr0.001 has none."""
    return output.is_dir() or not output.suffix[1:].isalpha()


def size(count: int, shape: tuple[int, ...], output: Path) -> int:
    """Returns how many bytes images of a shape [height, width, channels] take at most, as nothing is compressed.

    >>> size(1000, (28, 28, 1), Path("images.npz"))
    813512
    """
    pixels = shape[0] * (shape[1] * shape[2] + 1)  # PNG has a byte more a row,
    pixels += pixels // 1000 + 1  # and what cannot be compressed becomes a little larger.
    if not is_folder(output):
        return count * pixels + HEADERS
    return count * -(-(pixels + HEADERS) // BLOCK) * BLOCK


def check_room(output: Path, needed: int) -> None:
    """Raises UserError if so many bytes do not fit on the disk of a path.

    >>> check_room(Path("images.npz"), 784)
    """
    there = next(each for each in (output, *output.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"--output={output} takes up to {in_bytes(needed)}, and {in_bytes(free)} are free there: give a smaller"
            " --count, or an --output on another disk"
        )


def in_bytes(number: int) -> str:
    """Returns a number of bytes as people read it.

    >>> in_bytes(78_400_000_000_000)
    '78.4 TB'
    """
    value, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.3g} {unit}"


def write(images: Images, channels: int, output: Path, columns: int = 0) -> None:
    """Writes images as one picture (`.png`), an array uint8 [n, height, width, channels] (`.npz`), or a folder.

    A picture has so many columns, or as many as rows if that is 0. Whatever goes wrong, nothing of it is left. A
    picture alone is held in memory.

    Raises OSError for a full disk.

    >>> write(from_array("digits", np.zeros((5, 28, 28), np.uint8)), 1, Path("digits.npz"))  # doctest: +SKIP
    """
    if is_folder(output):
        _write_folder(images, channels, output)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with _whole(output) as partial:
        if output.suffix == ".npz":
            _write_array(images, channels, partial)
        else:
            pictures = np.concatenate([pixels for _, pixels in _batches(images, channels)])
            columns = columns or max(1, round(images.count**0.5))
            partial.write_bytes(encode_png(image_grid(pictures, columns, (0, 255))))


def follow(images: Images) -> None:
    """Reads what `write` reads, where another host writes what all of them draw."""
    for _ in _batches(images, 1):
        pass


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """Yields another name in the same folder, which becomes the right one at the end; nothing is left otherwise."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def _write_array(images: Images, channels: int, path: Path) -> None:
    """Writes what `np.savez_compressed(path, images=...)` would, a batch at a time."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        for start, pixels in _batches(images, channels):
            if not start:
                header = {"descr": "|u1", "fortran_order": False, "shape": (images.count, *pixels.shape[1:])}
                np.lib.format.write_array_header_1_0(member, header)
            member.write(pixels.tobytes())


def _write_folder(images: Images, channels: int, output: Path) -> None:
    """Writes a file an image, into a hidden folder first, so that half of them never pass for all."""
    is_new = not output.exists()
    partial = output / ".partial"
    partial.mkdir(parents=True)
    digits = max(6, len(str(images.count - 1)))
    done = False
    try:
        for start, batch in _batches(images, channels):
            for number, image in enumerate(batch, start):
                pixels = image[..., 0] if channels == 1 else image
                (partial / f"{number:0{digits}d}.png").write_bytes(encode_png(pixels))
        for file in partial.iterdir():
            file.rename(output / file.name)
        partial.rmdir()
        done = True
    finally:
        if not done:
            shutil.rmtree(partial, ignore_errors=True)
            for file in output.iterdir():  # It was empty.
                file.unlink()
            if is_new:
                output.rmdir()


def _batches(images: Images, channels: int) -> Iterator[tuple[int, np.ndarray]]:
    others = jax.process_index() > 0
    for start in track(range(0, images.count, BATCH), "Generating", console=Console(stderr=True), disable=others):
        yield start, images.read(start, min(start + BATCH, images.count))[..., :channels]
