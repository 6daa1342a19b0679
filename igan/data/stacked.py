"""Stacked MNIST: three random digits are the red, green and blue of one image, which makes 1,000 modes to be found.

The set of Metz et al. (2017), section 3.3.1, with as many images as in VEEGAN (Srivastava et al. 2017): how many of the
thousand a generator reaches can be counted by a classifier of digits, `igan.metrics.stacked_digits`.
"""

import numpy as np

from igan.data.dataset import Dataset
from igan.errors import UserError

TRAIN, TEST = 128_000, 26_000  # Images; as many are sampled to count modes.


def stack(digits: Dataset, train: int = TRAIN, test: int = TEST) -> Dataset:
    """Returns a data set of stacked images, the same in every run: digits drawn with a fixed seed.

    Args:
      digits: grey images; training images are stacked of its training images, test images of its test images.
      train, test: how many of each.

    Returns:
      the data set "stacked_<name of the digits>", images uint8 [n, height, width, 3]; the label of digits a, b and c is
      100 a + 10 b + c. It keeps the digits, for who counts modes.

    >>> stack(embedded.load(), train=5, test=5).train_images.shape
    (5, 28, 28, 3)
    """
    if (channels := digits.train_images.shape[3]) != 1:
        raise UserError(f"stacked images are made of grey ones, and {digits.name} has {channels} channels: use mnist")
    random = np.random.RandomState(0)  # Its stream is frozen: the same digits in every version of NumPy.
    train_images, train_labels = _stack(digits.train_images, digits.train_labels, digits.classes, train, random)
    test_images, test_labels = _stack(digits.test_images, digits.test_labels, digits.classes, test, random)
    return digits._replace(
        name=f"stacked_{digits.name}",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=digits.classes**3,
        digits=digits,
        origin=f"three digits an image, drawn from {digits.origin}",
    )


def _stack(
    images: np.ndarray, labels: np.ndarray, classes: int, count: int, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    chosen = random.randint(len(images), size=(count, 3))
    stacked = np.stack([images[chosen[:, channel], :, :, 0] for channel in range(3)], axis=-1)
    return stacked, (labels[chosen] @ np.array([classes**2, classes, 1])).astype(np.int32)
