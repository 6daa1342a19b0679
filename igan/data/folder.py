"""Image folders: one sub-folder a class, split into training and test images, read into memory or one by one.

    flowers/daisy/1.jpg, flowers/daisy/old/2.PNG, flowers/rose/1.jpg     every tenth image of a class is for testing
    flowers/train/daisy/..., flowers/test/daisy/...                      split by hand, see igan.data.split_folders
    faces/1.jpg, faces/2.jpg                                             one class

Classes are numbered in the order of their sorted names. Images at any depth below a class folder belong to it; hidden
files and files without the suffix of an image do not count; symbolic links are followed.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import psutil

from igan.data import image_files, split_folders
from igan.data.dataset import Dataset, Records
from igan.data.decoding import THREADS, Header, Unreadable, decode, read_header
from igan.data.progress import progress_bar
from igan.errors import UserError

HELD_OUT = 10  # of a folder without a split of its own, every image of a class whose number this divides is for testing
MEMORY_SHARE = 0.5  # of the free memory: decoded images may take this much
NAMED_CLASSES = 5  # so many of a folder's classes are named when the data are announced
NAME_LENGTH = 30  # of a class, where it is announced

Item = TypeVar("Item")
Result = TypeVar("Result")


class Folder(NamedTuple):
    """The images of a folder: paths, sorted within each class, and their labels, int32."""

    path: str
    classes: list[str]
    train: list[str]
    train_labels: np.ndarray
    test: list[str]
    test_labels: np.ndarray
    parts: str  # how the two parts came about

    @property
    def name(self) -> str:
        return f"folder:{Path(self.path).name}"

    @property
    def origin(self) -> str:
        counts = f"{len(self.train):,} train / {len(self.test):,} test images, {self.parts}"
        return f"{self.path} ({counts}; {describe_classes(self.classes)})"


def describe_classes(names: list[str]) -> str:
    """Returns how many classes there are, and the first of them in the order of their numbers.

    >>> describe_classes(["daisy", "rose"])
    '2 classes from 0: daisy, rose'
    """
    if names == [""]:
        return "1 class"
    # A name may hold anything that a file's may, and this is a part of one line.
    printable = [name if name.isprintable() else ascii(name) for name in names[:NAMED_CLASSES]]
    shown = [name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}..." for name in printable]
    more = ["..."] if len(names) > NAMED_CLASSES else []
    return f"{len(names):,} class{'es' if len(names) > 1 else ''} from 0: {', '.join(shown + more)}"


def scan(path: str) -> Folder:
    """Finds the images of a folder and their classes. Opens none of them.

    Raises:
      UserError: the folder, or one below it, cannot be read; there are no images; a class has none; the classes of the
        two splits differ; images lie beside the class folders; there seem to be splits that are not understood.

    Example: `scan("flowers").classes` is ["daisy", "rose"].
    """
    path = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 (a link keeps its name; see sources)
    folders, images = image_files.entries(path)
    split = split_folders.find(path, folders)
    if split is None:
        classes = _classes(path, folders, images)
        split_folders.check_classes(path, folders, classes)
        everything = [(label, file) for label, files in enumerate(classes.values()) for file in _split(files, False)]
        held_out = [(label, file) for label, files in enumerate(classes.values()) for file in _split(files, True)]
        return _folder(path, list(classes), everything, held_out, f"every {HELD_OUT}th of a class for testing")
    if images:
        raise _lies_beside(path, images[0], f"the folders {split.train} and {split.test}")
    parts = [_classes(folders[name], *image_files.entries(folders[name])) for name in (split.train, split.test)]
    if parts[0].keys() != parts[1].keys():
        (only, *_) = sorted(parts[0].keys() ^ parts[1].keys())
        there, missing = (split.train, split.test) if only in parts[0] else (split.test, split.train)
        raise UserError(
            f"{path}: the class '{only or 'without a folder'}' of {there} is missing in {missing}: "
            "both need the same class folders"
        )
    train, test = ([(label, file) for label, files in enumerate(part.values()) for file in files] for part in parts)
    return _folder(path, list(parts[0]), train, test, split.describe())


def records(path: str) -> Records:
    """Returns random access to the training images of a folder, for streaming; errors as for `scan`."""
    found = scan(path)
    return Records(
        name=found.name,
        size=len(found.train),
        classes=len(found.classes),
        channels=None,
        origin=found.origin,
        read=lambda index: (int(found.train_labels[index]), found.train[index]),
        describe=lambda index: found.train[index],
    )


def load(path: str, image_size: int, crop: str, corrupt: str) -> Dataset:
    """Reads an image folder into memory.

    Args:
      path: the folder, as `scan` reads it.
      image_size: side of the images in pixels; 0 for images as they are, which must be of one size.
      crop: "none", or "center" to resize and crop to `image_size`.
      corrupt: "error", or "skip" to leave out what cannot be read.

    Returns:
      the data set, of one channel if all of its images are grey and of three otherwise.

    Raises:
      UserError: as `scan`; images of different sizes; unreadable images; more than half of the free memory needed.
    """
    found = scan(path)
    files = found.train + found.test
    unreadable = Unreadable(corrupt, len(files))
    headers = _for_each(f"Looking at {found.name}", lambda file: _attempt(read_header, file, unreadable), files)
    known = [(file, header) for file, header in zip(files, headers, strict=True) if header is not None]
    shape = common_shape(known, image_size, crop)
    _check_memory(found, len(files), shape)

    images, readable = np.empty((len(files), *shape), np.uint8), np.zeros(len(files), bool)

    def fill(index: int) -> None:
        def read(file: str) -> None:
            images[index] = decode(file, shape[-1], image_size, crop)
            readable[index] = True

        if headers[index] is not None:
            _attempt(read, files[index], unreadable)

    _for_each(f"Decoding {found.name}", fill, range(len(files)))
    labels = np.concatenate([found.train_labels, found.test_labels])
    train = np.arange(len(files)) < len(found.train)
    counts = np.bincount(labels[train & readable], minlength=len(found.classes))
    if (empty := int(counts.argmin())) >= 0 and counts[empty] == 0:
        raise UserError(f"{found.path}: no training image of class '{found.classes[empty]}' can be read")
    if readable.all():
        parts = np.split(images, [len(found.train)])  # views: no second copy in memory
    else:
        parts = [images[readable & train], images[readable & ~train]]
    return Dataset(
        name=found.name,
        train_images=parts[0],
        train_labels=labels[train & readable],
        test_images=parts[1],
        test_labels=labels[~train & readable],
        classes=len(found.classes),
        origin=found.origin,
        notice=unreadable.notice(),
    )


def common_shape(headers: Iterable[tuple[str, Header]], image_size: int, crop: str) -> tuple[int, int, int]:
    """Returns the shape (height, width, channels) that the named images have in common once they are cropped.

    Raises:
      UserError: they are of different sizes, or not of the size asked for, and are not to be cropped.
    """
    headers = list(headers)
    channels = 1 if all(header.grey for _, header in headers) else 3
    if crop != "none":
        return image_size, image_size, channels
    first, (height, width, _) = headers[0]
    if image_size:
        height, width = image_size, image_size
    for name, header in headers:
        if (header.height, header.width) != (height, width):
            raise wrong_size(name, (header.height, header.width), first, (height, width), image_size)
    return height, width, channels


def wrong_size(name: str, size: tuple[int, int], other: str, expected: tuple[int, int], image_size: int) -> UserError:
    """Returns the error about an image of another size (height, width) than `other`, or than `image_size`."""
    return UserError(
        f"{name} is {size[1]}x{size[0]} pixels but {'--config.data.image_size' if image_size else other} is "
        f"{expected[1]}x{expected[0]}: set --config.data.image_size={image_size or 32} --config.data.crop=center"
    )


def _classes(path: str, folders: dict[str, str], images: list[str]) -> dict[str, list[str]]:
    """Returns the images of each class, both sorted; the one class of a folder without sub-folders is called ''."""
    if folders and images:
        raise _lies_beside(path, images[0], "class folders")
    classes = {name: sorted(image_files.below(folder)) for name, folder in folders.items()} or {"": images}
    if not any(classes.values()):
        raise UserError(f"{path} holds no images ({', '.join(image_files.SUFFIXES)}): correct --config.data.name")
    for name, files in classes.items():
        if not files:
            raise UserError(f"the class folder {folders[name]} holds no images: fill or remove it")
    return classes


def _lies_beside(path: str, image: str, what: str) -> UserError:
    return UserError(f"{image} lies beside {what}: move the images of {path} into the folder of a class")


def _split(files: list[str], held_out: bool) -> list[str]:
    return [file for number, file in enumerate(files, start=1) if (number % HELD_OUT == 0) == held_out]


def _folder(
    path: str, classes: list[str], train: list[tuple[int, str]], test: list[tuple[int, str]], parts: str
) -> Folder:
    files = [[file for _, file in pairs] for pairs in (train, test)]
    labels = [np.array([label for label, _ in pairs], np.int32) for pairs in (train, test)]
    return Folder(path, classes, files[0], labels[0], files[1], labels[1], parts)


def _attempt(function: Callable[[str], Result], file: str, unreadable: Unreadable) -> Result | None:
    try:
        return function(file)
    except Exception as error:  # image decoders raise much besides OSError
        unreadable.report(file, error)
    return None


def _for_each(description: str, function: Callable[[Item], Result], items: list[Item] | range) -> list[Result]:
    """Returns the results for all items, in their order; the first exception stops everything."""
    with progress_bar() as bar, ThreadPoolExecutor(THREADS) as pool:
        try:
            return list(bar.track(pool.map(function, items), total=len(items), description=description))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_memory(found: Folder, count: int, shape: tuple[int, int, int]) -> None:
    needed, free = count * int(np.prod(shape)), _free_memory()
    if needed > MEMORY_SHARE * free:
        raise UserError(
            f"{found.name} takes {needed / 2**30:.1f} GiB decoded, more than half of the {free / 2**30:.1f} GiB of "
            "free memory: use --config.data.stream=True, or a smaller --config.data.image_size"
        )


def _free_memory() -> int:
    return psutil.virtual_memory().available
