"""What every source of data returns: arrays in memory, or random access to images that are still encoded."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from igan.data.space import images
from igan.errors import UserError
from igan.types import Space


class Dataset(NamedTuple):
    """A data set small enough to be held in memory.

    Images are uint8 [n, height, width, channels] in 0..255, or what `no_images` says; labels are int32 [n] in
    0..classes-1. The training part has at least one example; the test part of an image folder may be empty.
    """

    name: str  # "mnist", "mnist5k" (the embedded digits), a name of tensorflow-datasets, "folder:flowers" or "ring"
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    origin: str  # where the data came from and which version, one line, for summary.json
    notice: str | None = None  # one line for the reader when these are not, or not all of, the data that were asked for
    no_images: Space | None = None  # what the examples are, where they are no images
    digits: "Dataset | None" = None  # of stacked digits: the single ones, which each channel of an image is one of

    @property
    def space(self) -> Space:
        """What the examples are."""
        return self.no_images or images(self.train_images.shape[1:])

    def padded(self, side: int) -> "Dataset":
        """Returns the data set with its images in the middle of black squares, `side` pixels wide and high.

        Raises:
          UserError: larger images, points, stacked digits, or a border that would not be the same on both sides.

        Example: `load("mnist", "embedded", "").padded(32).train_images.shape` is (4000, 32, 32, 1).
        """
        if self.no_images or self.digits:
            raise UserError(f"data.crop=pad has no place with {self.name}: use --config.data.crop=none")
        height, width = self.train_images.shape[1:3]
        borders = (side - height, side - width)
        if min(borders) < 0 or any(border % 2 for border in borders):
            raise UserError(
                f"data.crop=pad puts images into the middle of {side}x{side} pixels, and those of {self.name} are "
                f"{width}x{height}: set --config.data.image_size to an even number more than that"
            )
        around = ((0, 0), *((border // 2, border // 2) for border in borders), (0, 0))
        train, test = (np.pad(images, around) for images in (self.train_images, self.test_images))
        origin = f"{self.origin}; padded to {side}x{side}"
        return self._replace(name=f"{self.name}_{side}px", train_images=train, test_images=test, origin=origin)

    def fingerprint(self) -> str:
        """Returns a hash of all shapes and labels, so that a run can tell whether it goes on with what it began with.

        Not of the pixels: another version of a JPEG decoder rounds some of them differently. Of what is no image, of
        all numbers.

        >>> images, labels = np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32)
        >>> len(Dataset("black", images, labels, images, labels, 1, "nowhere").fingerprint())
        16
        """
        shapes = f"{self.train_images.shape} {self.test_images.shape} {self.classes}"
        digest = hashlib.blake2b(shapes.encode(), digest_size=8)
        for labels in (self.train_labels, self.test_labels):
            digest.update(np.ascontiguousarray(labels, np.int32).data)
        if self.no_images:
            digest.update(np.ascontiguousarray(self.train_images).data)
        return digest.hexdigest()


class Records(NamedTuple):
    """The training examples of a data set too large for memory, one by one and undecoded."""

    name: str
    size: int
    classes: int
    channels: int | None  # 1 or 3 where the data set says so, None where its images have to tell
    origin: str
    # Example i: its label, and its image as the path of a file or as the bytes of one. Called from many threads.
    read: Callable[[int], tuple[int, str | bytes]]
    describe: Callable[[int], str]  # what to call example i in a message
