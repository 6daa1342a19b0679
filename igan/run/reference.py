"""The real images that the generated ones of a run are compared with, and their classes."""

import concurrent.futures
from collections.abc import Callable, Iterator

import numpy as np

from igan import data
from igan.config import Config
from igan.metrics import images
from igan.metrics.images import Images
from igan.run.experiment import Experiment

AT_ONCE = 256  # Images of a stream whose labels are read at once.


def reference_images(config: Config, built: Experiment, check_stop: Callable[[], object] = lambda: None) -> Images:
    """Returns the real images that generated ones are compared with: training images, or so many drawn from them.

    Those of a stream are read as it reads them, resized and cropped in the middle. `check_stop` is called before each
    of its batches, also where only their hash is wanted, and may raise.
    """
    dataset, chosen = built.dataset, _chosen(config, built)
    name, count = f"{dataset.name} train", len(chosen)
    if count < built.training_images:
        name += f", {count:,} of {built.training_images:,}"
    if isinstance(dataset, data.Dataset):
        return images.from_array(name, dataset.train_images[chosen])
    examples = _reader(config)

    def read(start: int, stop: int) -> np.ndarray:
        check_stop()
        return np.stack([image for image, _ in examples(chosen[start:stop])])

    return images.from_function(name, count, read)


def reference_labels(config: Config, built: Experiment, check_stop: Callable[[], object] = lambda: None) -> np.ndarray:
    """Returns the labels of `reference_images`, int32 [n]; of a stream, whose images have to be read for that."""
    chosen = _chosen(config, built)
    if isinstance(built.dataset, data.Dataset):
        return built.dataset.train_labels[chosen]
    examples, labels = _reader(config), []
    for start in range(0, len(chosen), AT_ONCE):
        check_stop()
        labels += [label for _, label in examples(chosen[start : start + AT_ONCE])]
    return np.array(labels, np.int32)


def reference_count(config: Config, built: Experiment) -> int:
    """Returns how many real images generated ones are compared with."""
    return min(config.evaluation.reference_images or built.training_images, built.training_images)


def _chosen(config: Config, built: Experiment) -> np.ndarray:
    """Returns which training images they are."""
    total, count = built.training_images, reference_count(config, built)
    # RandomState's stream is frozen: the same images in every version of NumPy.
    return np.sort(np.random.RandomState(0).permutation(total)[:count]) if count < total else np.arange(total)


def _reader(config: Config) -> Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.int32]]]:
    """Returns what reads the images and labels of a stream, by their numbers."""
    asked = config.data
    crop = "center" if asked.crop == "random" else asked.crop
    fixed = data.open_stream(asked.name, asked.source, asked.dir, asked.image_size, crop, asked.corrupt)

    def decode(index: np.int64) -> tuple[np.ndarray, np.int32]:
        return fixed.example(int(index), np.random.default_rng(0))

    def read(numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.int32]]:
        with concurrent.futures.ThreadPoolExecutor(images.DECODE_THREADS) as pool:
            yield from pool.map(decode, numbers)

    return read
