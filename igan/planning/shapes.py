"""Data sets that need not be here: a plan asks for their sizes only."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from igan.config import Config
from igan.data import Dataset, Stream, points
from igan.data.stacked import TEST, TRAIN
from igan.errors import UserError
from igan.game.batches import Resident
from igan.run import experiment
from igan.run.experiment import Loaded


class Sizes(NamedTuple):
    """What there is to know of a data set."""

    train: int
    test: int
    image: tuple[int, int, int]  # Height, width, channels.
    classes: int


# As tensorflow-datasets has them.
KNOWN: Mapping[str, Sizes] = {
    "mnist": Sizes(60_000, 10_000, (28, 28, 1), 10),
    "fashion_mnist": Sizes(60_000, 10_000, (28, 28, 1), 10),
    "kmnist": Sizes(60_000, 10_000, (28, 28, 1), 10),
    "stacked_mnist": Sizes(TRAIN, TEST, (28, 28, 3), 1000),
    "cifar10": Sizes(50_000, 10_000, (32, 32, 3), 10),
    "cifar100": Sizes(50_000, 10_000, (32, 32, 3), 100),
    "svhn_cropped": Sizes(73_257, 26_032, (32, 32, 3), 10),
    "imagenet2012": Sizes(1_281_167, 0, (0, 0, 3), 1000),  # Of many sizes: as large as `data.image_size` says.
}
EXPECTED = "--data=IMAGESxHEIGHTxWIDTHxCHANNELS:CLASSES, such as --data=50000x32x32x3:10"


def of(config: Config, text: str = "") -> Loaded:
    """Returns the data of a config without their images.

    Args:
      text: their sizes, in place of those of a known name; "" for these, or for data that are here.

    Raises UserError where the sizes are not known, or cannot be understood.

    >>> of(default()).size
    60000
    """
    name, asked = config.data.name, config.data
    if points.is_name(name):
        return without_images(experiment.load(config))
    if text:
        sizes = parse(text)
    elif asked.source == "embedded" and name == "mnist":
        sizes = Sizes(4000, 1000, (28, 28, 1), 10)
    elif name in KNOWN:
        sizes = KNOWN[name]
    else:
        try:
            return without_images(experiment.load(config))
        except UserError as error:
            raise UserError(f"{error}; or say how large the data are: {EXPECTED}") from error
    side = asked.image_size
    image = (side, side, sizes.image[2]) if side else sizes.image
    if not all(image):
        raise UserError(f"the images of {name} are of many sizes: set --config.data.image_size=128")
    return _described(config, sizes._replace(image=image))


def parse(text: str) -> Sizes:
    """Returns the sizes that somebody typed; all images are to train on.

    >>> parse("50000x32x32x3:10").image
    (32, 32, 3)
    """
    found = re.fullmatch(r"(\d{1,10})x(\d{1,5})x(\d{1,5})x(\d{1,2})(?::(\d{1,6}))?", text)
    numbers = [int(number) for number in found.groups(default="1")] if found else [0]
    if not all(numbers):
        raise UserError(f"--data={text}: expected {EXPECTED}")
    size, height, width, channels, classes = numbers
    return Sizes(size, 0, (height, width, channels), classes)


def _described(config: Config, sizes: Sizes) -> Loaded:
    labels, test_labels = (np.arange(count, dtype=np.int32) % sizes.classes for count in (sizes.train, sizes.test))
    images, test_images = (_black(count, sizes.image) for count in (sizes.train, sizes.test))
    origin = "its sizes alone"
    if not config.data.stream:
        dataset = Dataset(config.data.name, images, labels, test_images, test_labels, sizes.classes, origin)
        return without_images(Loaded(dataset, Resident(images, labels, test_images, test_labels), sizes.train))

    def example(index: int, random: np.random.Generator) -> tuple[np.ndarray, np.int32]:
        raise UserError(f"{config.data.name} is not here")

    stream = Stream(config.data.name, sizes.image, sizes.classes, sizes.train, origin, None, example)
    first = min(config.initial_images, sizes.train)
    resident = Resident(images[:first], labels[:first], test_images[:0], test_labels[:0])
    return without_images(Loaded(stream, resident, sizes.train))


def _black(count: int, image: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.uint8(0), (count, *image))  # Takes no memory.


def without_images(loaded: Loaded) -> Loaded:
    """Returns data whose images are known by their shape alone."""

    def shape(images: object) -> object:
        return jax.ShapeDtypeStruct(images.shape, images.dtype)  # type: ignore[attr-defined]

    kept = loaded.resident
    return loaded._replace(
        resident=kept._replace(images=shape(kept.images), test_images=shape(kept.test_images))  # type: ignore[arg-type]
    )
