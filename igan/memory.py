"""Samples beside their nearest training images, by pixels and by features where they are at hand, in one picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from igan import data
from igan.config import Config
from igan.data.grids import encode_png, image_grid
from igan.errors import UserError
from igan.metrics import compute, image_classifier, inception, weights
from igan.metrics.extract import FeatureNetwork, collect, stream
from igan.metrics.images import Images
from igan.metrics.nearest import nearest
from igan.reporting.frames import GREY, WHITE, font
from igan.run import scoring
from igan.run.experiment import Experiment

COUNT = 5  # Nearest images of each sample.
BATCH = 2000
SIDE, GAP = 48, 12  # Pixels of an image, at least; between the parts of the picture.
LETTERS = 13


class Found(NamedTuple):
    """The nearest training images of n samples by one distance."""

    by: str  # What the distance is of.
    images: np.ndarray  # uint8 [n, k, height, width, 3]
    distance: float  # Mean distance of a sample to the nearest one,
    of_test: float | None  # and of as many test images, which cannot have been learnt by heart; None without any.


def compare(config: Config, built: Experiment, samples: np.ndarray) -> list[Found]:
    """Returns the nearest training images of samples, uint8 [n, height, width, 3], by each distance that is at hand.

    Features are those of the data's own classifier, if a score has trained it before, or else of Inception weights in
    the cache.
    """
    if isinstance(built.dataset, data.Dataset):  # All of them; of a stream those of the scores.
        config = config.copy_and_resolve_references()
        config.evaluation.reference_images = 0
    real = scoring.reference_images(config, built)
    test = None
    if isinstance(built.dataset, data.Dataset) and len(built.dataset.test_images) >= len(samples):
        test = np.asarray(built.dataset.test_images[: len(samples)])
        test = np.broadcast_to(test, (*test.shape[:3], 3))  # Grey ones have three equal channels.

    def found(by: str, queries: np.ndarray, of_test: np.ndarray | None, batches: Iterator[np.ndarray]) -> Found:
        both = queries if of_test is None else np.concatenate([queries, of_test])
        result = nearest(both, batches, COUNT)
        chosen = result.indices[: len(queries)]
        images = np.stack([np.concatenate([real.read(each, each + 1) for each in row]) for row in chosen])
        first = result.distances[:, 0]
        tested = None if of_test is None else float(first[len(queries) :].mean())
        return Found(by, images, float(first[: len(queries)].mean()), tested)

    pixels = (real.read(start, min(start + BATCH, real.count)) for start in range(0, real.count, BATCH))
    results = [found("pixels", samples, test, pixels)]
    if at_hand := _features(built):
        network, level = at_hand

        def features(images: np.ndarray) -> np.ndarray:
            source = Images("samples", len(images), lambda start, stop: images[start:stop], lambda: "")
            return collect(stream(source, network, [level]), len(images))[level]

        each = compute.reference_features(real, network, compute.Settings(level=level))
        of_test = None if test is None else features(test)
        results.append(found(f"features of {network.label}", features(samples), of_test, iter([each])))
    return results


def _features(built: Experiment) -> tuple[FeatureNetwork, str] | None:
    """Returns the network whose features are compared, and which of them; None where there is none at hand."""
    dataset = built.dataset
    if isinstance(dataset, data.Dataset) and image_classifier.is_at_hand(dataset.train_images, dataset.train_labels):
        judge = image_classifier.load(dataset.name, dataset.train_images, dataset.train_labels)
        return judge._replace(devices=built.devices), image_classifier.LEVEL
    try:
        network = inception.network(weights.load())
    except UserError:
        return None
    return network._replace(devices=built.devices), "2048" if "2048" in network.levels else "768"


def picture(samples: np.ndarray, results: list[Found]) -> bytes:
    """Returns a PNG: a row for each sample, with its nearest training images at the right, for each distance."""
    scale = max(1, -(-SIDE // samples.shape[1]))
    blocks = [("samples", samples[:, None]), *((f"nearest by {each.by}", each.images) for each in results)]
    grids, letters = [], font(LETTERS)
    for _, images in blocks:
        large = images.reshape(-1, *images.shape[2:]).repeat(scale, axis=1).repeat(scale, axis=2)
        grids.append(Image.fromarray(image_grid(large, images.shape[1], (0, 255))))
    titles = [_lines(title, grid.width) for (title, _), grid in zip(blocks, grids, strict=True)]
    top = 6 + (LETTERS + 4) * max(map(len, titles))
    width = sum(grid.width for grid in grids) + GAP * (len(grids) - 1)
    sheet = Image.new("RGB", (width, top + grids[0].height), WHITE)
    draw, left = ImageDraw.Draw(sheet), 0
    for grid, lines in zip(grids, titles, strict=True):
        sheet.paste(grid.convert("RGB"), (left, top))
        draw.multiline_text((left, 3), "\n".join(lines), GREY, letters)
        left += grid.width + GAP
    return encode_png(np.asarray(sheet))


def _lines(title: str, width: int) -> list[str]:
    """Returns a title in lines of at most so many pixels, where its words allow it."""
    lines, letters = [""], font(LETTERS)
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and letters.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def describe(results: list[Found]) -> str:
    """Returns what the distances say, a line each."""
    lines = []
    for each in results:
        line = f"mean distance to the nearest training image, by {each.by}: {each.distance:.4g}"
        lines.append(line if each.of_test is None else f"{line}; of test images: {each.of_test:.4g}")
    return "\n".join(lines)


def write(config: Config, built: Experiment, samples: Images, output: Path) -> None:
    """Draws samples beside their nearest training images into a .png file, and prints how near they are.

    Raises OSError for a full disk.
    """
    drawn = samples.read(0, samples.count)
    results = compare(config, built, drawn)
    output.write_bytes(picture(drawn, results))
    print(describe(results))
    if len(results) == 1:
        print("distances of features need a classifier of the data (igan.evaluate --scores=classifier_score trains it)")
