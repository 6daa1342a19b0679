"""What every source of data returns."""

from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """A data set small enough to be held in memory as bytes.

    Images are uint8 [n, height, width, channels] in 0..255; labels are int32 [n] in 0..classes-1.
    """

    name: str  # "mnist", "mnist5k" (the embedded digits), or another name of tensorflow-datasets
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    origin: str  # where the data came from and which version, one line, for summary.json
    notice: str | None = None  # one line for the reader when these are not the data that were asked for
