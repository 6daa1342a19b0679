"""Scores of a run's averaged generators under named protocols: while it trains, and of its checkpoints."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from igan import data, hosts
from igan.config import Config
from igan.errors import RunError, UserError, did_you_mean
from igan.game.inference import NO_OPTIONS
from igan.layers.truncation import NOISE, PSI
from igan.metrics import compute, image_classifier, images, inception, mixture, path_length, stacked_digits, weights
from igan.metrics.classifier_score import classifier_score
from igan.metrics.extract import FeatureNetwork
from igan.metrics.images import Images
from igan.metrics.score import Score
from igan.run import judges
from igan.run.drawing import enlarged, make_draw, make_paths
from igan.run.experiment import Experiment
from igan.run.reference import reference_count, reference_images, reference_labels
from igan.types import GameState

CLASSIFIER_SCORE = "classifier_score"
PAIRS = {"precision_recall": ("precision", "recall"), "density_coverage": ("density", "coverage")}  # Two in one.
# Of the features of a classifier that is trained on the data's own labels, instead of Inception features.
BY_JUDGE = tuple(f"{name}_{image_classifier.LEVEL}" for name in compute.SCORES if name != "inception_score")
BY_CLASS = (compute.INTRA_FID, f"{compute.INTRA_FID}_{image_classifier.LEVEL}")  # Within each class.
PATHS, PATHS_BY_JUDGE = path_length.NAME, f"{path_length.NAME}_{image_classifier.LEVEL}"
KNOWN = (CLASSIFIER_SCORE, *BY_JUDGE, *compute.SCORES, *BY_CLASS, *mixture.SCORES, PATHS, PATHS_BY_JUDGE)

# By name: {"value": [R], "std": [R] or None, "protocol": str}, as it is written down.
Scores = dict[str, dict[str, Any]]


class StoppedError(RunError):
    """Raised where scores were not finished because the run is to stop."""


class Scorer(Protocol):
    """Returns the scores of all replicas. It asks before every batch whether to stop, and raises StoppedError then.

    Between replicas it calls `agree`, on several hosts at the same replica on each.
    """

    def __call__(
        self, state: GameState, is_stopping: Callable[[], bool], agree: Callable[[], object] = lambda: None, /
    ) -> Scores: ...


class Asked(NamedTuple):
    """What `config.evaluation` asks for, understood and possible."""

    by_features: list[str]  # The scores of Inception features,
    network: FeatureNetwork | None  # what they are computed with,
    settings: compute.Settings  # and how.
    by_judge: list[str]  # Those of the classifier, which is trained when they are computed.
    judge_settings: compute.Settings
    by_modes: list[str]  # Those of a mixture of points, or of stacked digits.
    by_class: list[str]  # Those within each class.
    paths: bool  # Whether the length of paths in Inception features is one of them.


def check(config: Config, built: Experiment) -> Asked:
    """Returns the scores that a config asks for. Looks at no image and trains nothing.

    Raises UserError for an unknown score, weights that are not there, too few images for a protocol, or a stream where
    there must be images in memory.
    """
    asked = config.evaluation
    names = [name.strip() for entry in asked.scores for name in entry.split(",") if name.strip()]
    for name in names:
        if name not in KNOWN:
            raise UserError(f"unknown score '{name}' in evaluation.scores.{did_you_mean(name, KNOWN)}")
    by_features = [name for name in names if name in compute.SCORES]
    by_modes = [name for name in names if name in mixture.SCORES]
    by_class = [name for name in names if name in BY_CLASS]
    by_judge = [name for name in names if name not in (*by_features, *by_modes, *by_class, PATHS)]
    network, settings, paths = None, compute.Settings(), PATHS in names
    _check_kinds([*by_features, *by_judge, *by_class, *[PATHS] * paths], by_modes, built)
    if by_class:
        _check_classes(by_class[0], config, built)
    if by_features or paths or compute.INTRA_FID in by_class:
        network = inception.network(weights.load(asked.inception_weights or None))._replace(devices=built.devices)
        distances = by_features + ["fid"] * (compute.INTRA_FID in by_class)  # It needs what that needs.
        settings = compute.complete(distances, asked.images, reference_count(config, built), network, settings)
    of_judge = by_judge + [name for name in by_class if name != compute.INTRA_FID]
    computed = [compute.full_name(each, settings.level) for name in by_features for each in PAIRS.get(name, (name,))]
    computed += [
        compute.full_name(each, image_classifier.LEVEL) for name in _bare(by_judge) for each in PAIRS.get(name, (name,))
    ]
    computed += [name for name in (CLASSIFIER_SCORE, PATHS_BY_JUDGE) if name in by_judge] + by_modes
    computed += [name if name in of_judge else compute.full_name(name, settings.level) for name in by_class]
    computed += [compute.full_name(PATHS, compute.level_of(network, settings))] if network and paths else []
    if computed:
        best_by(config, computed)
    if of_judge and not isinstance(built.dataset, data.Dataset):
        raise UserError(
            f"the classifier is trained on data in memory: leave {of_judge[0]} out, or --config.data.stream=False"
        )
    judge_settings = _judge_settings(config, built, by_judge)
    return Asked(by_features, network, settings, by_judge, judge_settings, by_modes, by_class, paths)


def make(config: Config, built: Experiment, options: Mapping[str, float] = NO_OPTIONS) -> Scorer:
    """Returns what computes the scores of `config.evaluation` for a state of an experiment.

    Image i is a pure function of the seed and of i, whatever the update: curves are not shaken by other latents.
    Several hosts score together: each draws the images that its own devices look at, and what the first computes from
    what all of them saw is the score.

    Args:
      options: sampling options, see `make_draw`; every score's protocol names them.

    Raises UserError as `check`, and for data that no classifier can be trained on.

    >>> score = make(config, built)  # doctest: +SKIP
    >>> score(state, lambda: False)["fid"]  # doctest: +SKIP
    {'value': [41.2], 'std': None, 'protocol': '50,000 against 50,000 images, ...'}
    """
    by_features, network, settings, by_judge, judge_settings, by_modes, by_class, paths = check(config, built)
    judge = judges.judge(built) if by_judge or set(by_class) - {compute.INTRA_FID} else None
    count_modes = judges.mode_counter(built, by_modes) if by_modes else None
    same_judge = functools.cache(lambda: judges.same(judge) if judge else None)  # When all hosts have come so far.
    draw, count = make_draw(built, options), config.evaluation.images
    named = ({PSI: 1.0} if PSI in built.game.networks.options else {}) | dict(options)  # 1 is no truncation.
    named = {name: value for name, value in named.items() if (name, value) != (NOISE, 1)}  # 1 is as without.
    looks = sum(map(bool, (by_features, CLASSIFIER_SCORE in by_judge, _bare(by_judge), by_modes)))
    stopping: Callable[[], bool] = lambda: False  # noqa: E731 (each scoring has its own)

    def check_stop() -> None:
        if stopping():
            raise StoppedError

    compares = by_features or by_judge or by_class
    reference = _stoppable(reference_images(config, built, check_stop), check_stop) if compares else None
    within = _within_classes(config, built, options, check_stop)

    way, draw_paths = make_paths(built, options)

    def length(state: GameState, replica: int, network: FeatureNetwork, level: str) -> Score:
        pairs = _stoppable(draw_paths(state, replica, count), check_stop)
        return path_length.path_length(pairs, network, level, way)

    def score(state: GameState, is_stopping: Callable[[], bool], agree: Callable[[], object] = lambda: None) -> Scores:
        nonlocal stopping
        stopping = is_stopping
        judge = same_judge()
        results: list[Mapping[str, Score]] = []
        for replica in range(built.plan.replicas):
            agree()
            check_stop()
            generated = images.read_once(draw(state, replica, count)) if looks > 1 else draw(state, replica, count)
            generated = _stoppable(generated, check_stop)
            found: dict[str, Score] = {}
            if by_features and network:
                found |= compute.compute(by_features, generated, reference, network, settings)
            if judge and CLASSIFIER_SCORE in by_judge:
                found[CLASSIFIER_SCORE] = classifier_score(generated, judge)
            if judge and (distances := _bare(by_judge)):
                found |= compute.compute(distances, generated, reference, judge, judge_settings)
            if count_modes:
                found |= count_modes(generated)
            for name in by_class:
                by = (network, settings) if name == compute.INTRA_FID else (judge, judge_settings)
                found |= within(state, replica, reference, *by)
            if network and paths:
                level = compute.level_of(network, settings)
                found[compute.full_name(PATHS, level)] = length(state, replica, network, level)
            if judge and PATHS_BY_JUDGE in by_judge:
                found[PATHS_BY_JUDGE] = length(state, replica, judge, image_classifier.LEVEL)
            results.append(hosts.share(lambda found=found: found)[0])
        statistics, size = built.plan.initial_images, enlarged(built, int(state.step))
        return {name: _together([found[name] for found in results], named, statistics, size) for name in results[0]}

    return score


def best_by(config: Config, names: Iterable[str]) -> str:
    """Returns the name of the score that decides which checkpoint is the best, out of the names of those computed.

    A score of other features than usual may be called by its plain name: "fid" finds "fid_768".

    Raises UserError if there is none of the name in `config.evaluation.best`.
    """
    names, wanted = list(names), config.evaluation.best
    for name in names:
        if wanted in ("", name, re.sub(r"_\d+$", "", name)):
            return name
    raise UserError(f"evaluation.best={wanted} is not among the scores.{did_you_mean(wanted, names)}")


def _check_kinds(of_images: Sequence[str], of_modes: Sequence[str], built: Experiment) -> None:
    """Raises UserError for scores of other data than these."""
    space = built.dataset.space
    if of_images and space.kind != "images":
        known = f"use {','.join(mixture.SCORES)}" if space.modes else "leave it out"
        raise UserError(f"{of_images[0]} is a score of images, and the data are {space.kind}: {known}")
    if not of_modes or space.modes:
        return
    if judges.digits(built) is None:
        raise UserError(
            f"{of_modes[0]} is a score of mixtures, and {built.dataset.name} is none: leave it out, or use"
            " --config.data.name=ring or grid with networks for points, or =stacked_mnist with networks for images"
        )
    for name in of_modes:
        if name not in stacked_digits.SCORES:
            raise UserError(
                f"{name} is a score of points, and the data are {built.dataset.name}: use"
                f" {','.join(stacked_digits.SCORES)}"
            )


def _bare(names: Iterable[str]) -> list[str]:
    """Returns the scores of the classifier's features by their names in `igan.metrics.compute`."""
    return [name.removesuffix(f"_{image_classifier.LEVEL}") for name in names if name in BY_JUDGE]


def _check_classes(name: str, config: Config, built: Experiment) -> None:
    """Raises UserError unless generated images have classes, and each of them has images to compare."""
    classes, count = built.game.networks.classes, config.evaluation.images
    if not classes:
        raise UserError(
            f"{name} is a score within each class, and the networks of this run are given no labels: leave it out, or"
            " enable --config.techniques.projection.enabled=True, say"
        )
    if count < 2 * classes:
        raise UserError(
            f"{name} compares each class with two images or more, and {count} are not that for {classes:,} classes:"
            f" set --config.evaluation.images={2 * classes} or more"
        )
    if isinstance(built.dataset, data.Dataset):  # Of a stream that is seen when its images are.
        found = np.bincount(reference_labels(config, built), minlength=classes)
        if found.min() < 2:
            raise UserError(
                f"{name} compares each class with two real images or more, and class {found.argmin()} has"
                f" {found.min()}: set --config.evaluation.reference_images=0 for all of them, or leave {name} out"
            )


def _within_classes(
    config: Config, built: Experiment, options: Mapping[str, float], check_stop: Callable[[], object]
) -> Callable[..., dict[str, Score]]:
    """Returns what computes a score within each class: (state, replica, reference, network, settings) -> scores.

    Of the generated images each class has as many as any other.
    """
    classes = built.game.networks.classes
    draw = make_draw(built, options, tuple(range(classes)))
    count = config.evaluation.images // max(1, classes) * classes

    @functools.cache
    def real_labels() -> np.ndarray:  # Of a stream they are read, once, and not before they are needed.
        return reference_labels(config, built, check_stop)

    def within(state: GameState, replica: int, reference: Images, *by: Any) -> dict[str, Score]:
        generated = _stoppable(draw(state, replica, count), check_stop)
        return compute.intra_fid(generated, np.arange(count) % classes, reference, real_labels(), *by)

    return within


def _judge_settings(config: Config, built: Experiment, by_judge: Iterable[str]) -> compute.Settings:
    settings, distances = compute.Settings(level=image_classifier.LEVEL), _bare(by_judge)
    if not distances:
        return settings
    # What it checks and fills in depends on the names of the classifier's outputs, not on its weights.
    untrained = FeatureNetwork("the classifier", ("logits", image_classifier.LEVEL), {}, lambda *_: {})
    return compute.complete(distances, config.evaluation.images, reference_count(config, built), untrained, settings)


def _stoppable(source: Images, check_stop: Callable[[], object]) -> Images:
    def read(start: int, stop: int) -> np.ndarray:
        check_stop()
        return source.read(start, stop)

    return source._replace(read=read)


def _together(scores: list[Score], options: Mapping[str, float], statistics: int, size: str = "") -> dict[str, Any]:
    """Returns one score of all replicas. Its protocol ends with how images were made.

    Args:
      options: what networks were asked for in sampling.
      statistics: latents that batch statistics are of. A generator without any says it too: one with batch norm and
        one without are compared, which is what a protocol is for.
      size: how images were made as large as the data; "" where they were.
    """
    stds = [score.std for score in scores]
    made = [f"batch statistics, if any, of {statistics:,} latents", *[size] * bool(size)]
    made += [f"{name}={value:g}" for name, value in sorted(options.items())]
    return {
        "value": [score.value for score in scores],
        "std": None if None in stds else stds,
        "protocol": "; ".join([scores[0].protocol, *made]),
    }
