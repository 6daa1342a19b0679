"""What every source of data returns: arrays in memory, or random access to images that are still encoded."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """A data set small enough to be held in memory as bytes.

    Images are uint8 [n, height, width, channels] in 0..255; labels are int32 [n] in 0..classes-1. The training part has
    at least one example; the test part of an image folder may be empty.
    """

    name: str  # "mnist", "mnist5k" (the embedded digits), another name of tensorflow-datasets, or "folder:flowers"
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    origin: str  # where the data came from and which version, one line, for summary.json
    notice: str | None = None  # one line for the reader when these are not, or not all of, the data that were asked for


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
