"""The classifiers that a run's images are judged by: of the data's own labels, or of the digits that stacks are of."""

import functools
from collections.abc import Callable, Sequence

from igan import data, hosts
from igan.metrics import image_classifier, mixture, stacked_digits
from igan.metrics.extract import FeatureNetwork
from igan.metrics.images import Images
from igan.metrics.score import Score
from igan.run.experiment import Experiment


def judge(built: Experiment) -> FeatureNetwork:
    """Returns the classifier of the data's own labels, which must be in memory; it is trained if nobody has."""
    dataset = built.dataset
    assert isinstance(dataset, data.Dataset)  # As checked.
    found = image_classifier.load(dataset.name, dataset.train_images, dataset.train_labels)
    return found._replace(devices=built.devices)


def same(network: FeatureNetwork) -> FeatureNetwork:
    """Returns the first host's classifier: another machine's is the same to rounding only."""
    label, params = hosts.share(lambda: (network.label, network.params))[0]
    return network._replace(label=label, params=params)


def digits(built: Experiment) -> data.Dataset | None:
    """Returns the single digits of stacked ones, which say what its modes are."""
    return built.dataset.digits if isinstance(built.dataset, data.Dataset) else None


def mode_counter(built: Experiment, by_modes: Sequence[str]) -> Callable[[Images], dict[str, Score]]:
    """Returns what computes the scores of modes of a mixture of points, or of stacked digits."""
    if modes := built.dataset.space.modes:
        return lambda generated: mixture.scores(by_modes, generated.read(0, generated.count), modes)
    singles = digits(built)
    assert singles is not None  # As checked.
    of_digits = image_classifier.load(singles.name, singles.train_images, singles.train_labels)

    @functools.cache
    def of_channels() -> FeatureNetwork:
        shared = same(of_digits._replace(devices=built.devices))
        return stacked_digits.of_channels(shared, singles.test_images, singles.test_labels)

    return lambda generated: stacked_digits.scores(by_modes, generated, of_channels())
