"""Runs pooled into groups of repetitions: what may be averaged, what must not be, and what is doubtful about it."""

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np

from igan.reporting import experiments
from igan.reporting.paper import ABLATION
from igan.reporting.runs import ALL_LABELS, Run, Score
from igan.reporting.settings import TEST_EXAMPLES, Described, canonical, decisive, names_of

LONGEST_LABEL = 34  # Characters of a group's name that the legend of a chart has room for.
Curve = list[tuple[float, float, float]]  # (step, mean, std) with 0 for the std of a single value.


@dataclass(frozen=True)
class Group:
    """Runs of one experiment, variant, number of labels and config: they differ in their seeds alone.

    The numbers come from the finished runs alone (`runs`); the unfinished are `left_out`, unless there is nothing else.
    """

    experiment: str
    variant: str
    settings: str  # What tells the group from the others of its data set; mostly "".
    labels: int | None
    runs: tuple[Run, ...]
    left_out: tuple[Run, ...]

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.variant, self.settings) if part)

    @property
    def finished(self) -> bool:
        return all(run.finished for run in self.runs)

    @property
    def replicas(self) -> int:
        return sum(run.replicas for run in self.runs)

    @property
    def test_examples(self) -> int:
        return self.runs[0].test_examples

    @property
    def errors(self) -> list[float]:
        return list(chain.from_iterable(run.errors for run in self.runs))

    @property
    def errors_raw(self) -> list[float]:
        return list(chain.from_iterable(run.errors_raw for run in self.runs))

    @property
    def ensembles(self) -> list[Run]:
        return [run for run in self.runs if run.replicas > 1 and run.ensemble_errors is not None]

    def scores(self, name: str, protocol: str) -> list[Score]:
        """The scores of one name and one protocol: two protocols are two different measurements."""
        found = [run.scores[name] for run in self.runs if name in run.scores]
        return [score for score in found if score.protocol == protocol]


def pool(runs: Iterable[Run]) -> list[Group]:
    """Returns the groups of runs of one data set: variants in the order of the paper's Table 3, then by labels.

    Runs whose configs differ in anything that decides a result are never in one group, nor are two that do not tell.
    """
    pooled = [same for alike in _by_config(runs) for same in _by_test_examples(alike)]
    groups = []
    for same, name in zip(pooled, _names(pooled), strict=True):
        finished = tuple(run for run in same if run.finished)
        unfinished = tuple(run for run in same if not run.finished)
        kept, left_out = (finished, unfinished) if finished else (unfinished, ())
        groups.append(Group(same[0].experiment, same[0].variant, name, same[0].labels, kept, left_out))
    order = [*ABLATION, ""]

    def rank(group: Group) -> tuple[Any, ...]:
        place = order.index(group.variant) if group.variant in order else len(order)
        return group.experiment, place, group.variant, _natural(group.settings), labels_rank(group.labels)

    return sorted(groups, key=rank)


def _natural(text: str) -> list[tuple[int, float, str]]:
    """Returns what sorts 9 before 10 within a text."""
    parts = re.split(r"(\d+\.?\d*)", text)
    return [(1, float(part), "") if place % 2 else (0, 0.0, part) for place, part in enumerate(parts)]


def _by_config(runs: Iterable[Run]) -> list[list[Run]]:
    by_key: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        settings = {name: canonical(value) for name, value in run.settings.items()} or {"config of": str(run.workdir)}
        by_key.setdefault((run.experiment, run.variant, run.labels, *sorted(settings.items())), []).append(run)
    return list(by_key.values())


def _by_test_examples(runs: Sequence[Run]) -> list[list[Run]]:
    """Splits runs that were tested on different numbers of examples; one that was not tested yet goes anywhere."""
    sizes = sorted({run.test_examples for run in runs if run.errors})
    if len(sizes) < 2:
        return [list(runs)]
    return [[run for run in runs if size == (run.test_examples if run.errors else sizes[0])] for size in sizes]


def _names(pooled: Sequence[Sequence[Run]]) -> list[str]:
    """Returns for each pool of runs what tells its settings from those of all others in the tables of a data set."""
    described: dict[int, Described] = {}
    for place, runs in enumerate(pooled):
        run = max(runs, key=lambda run: bool(run.errors))
        if run.settings:
            fields = experiments.defaults(run.experiment, run.variant)
            tested = {TEST_EXAMPLES: run.test_examples} if run.errors else {}
            defaults = decisive(fields) if fields else None
            described[place] = Described(run.settings | tested, defaults, run.labels is not None)
    named = dict(zip(described, names_of(list(described.values())), strict=True))
    return [named.get(place, f"config unknown: {runs[0].workdir}") for place, runs in enumerate(pooled)]


def labels_text(labels: int | None) -> str:
    """Returns a number of labels for people.

    >>> labels_text(None), labels_text(0), labels_text(4000)
    ('no', 'all', '4,000')
    """
    return "no" if labels is None else "all" if labels == ALL_LABELS else f"{labels:,}"


def labels_rank(labels: int | None) -> float:
    """Returns what sorts numbers of labels: none first, all last."""
    return -1 if labels is None else math.inf if labels == ALL_LABELS else labels


def titles(groups: Sequence[Group]) -> list[str]:
    """Returns a title for each group that says no more than what tells them apart.

    >>> titles(pool(runs))  # Of the paper's semi-supervised table.
    ['20 labels', '50 labels', '100 labels', '200 labels']
    """
    experiments, names = {group.experiment for group in groups}, {group.name for group in groups}
    result = []
    for group in groups:
        alike = sum((other.experiment, other.name) == (group.experiment, group.name) for other in groups)
        parts = [group.experiment] if len(experiments) > 1 else []
        parts += [group.name or "default"] if len(names) > 1 or (group.name and alike == 1) else []
        if alike > 1 or not parts:
            parts.append(f"{labels_text(group.labels)} labels")
        result.append(", ".join(parts))
    return result


def are_keyed(groups: Sequence[Group]) -> bool:
    """Returns whether titles are too long for charts, where letters then stand for them."""
    return any(len(title) > LONGEST_LABEL for title in titles(groups))


def keyed_titles(groups: Sequence[Group]) -> list[str]:
    """Returns the titles, each after its letter if charts name it by one.

    >>> keyed_titles(pool(runs))
    ['A: label_smoothing.real_target=0.8, discriminator_layers=(1000, 500)', 'B: label_smoothing.real_target=0.9, ...']
    """
    letters = [f"{chr(ord('A') + place % 26)}{place // 26 or ''}" for place in range(len(groups))]
    keys = [f"{letter}: " for letter in letters] if are_keyed(groups) else [""] * len(groups)
    return [key + title for key, title in zip(keys, titles(groups), strict=True)]


def chart_labels(groups: Sequence[Group]) -> list[str]:
    """Returns what a chart's legend calls the groups: their keyed titles, cut where they are too long.

    >>> chart_labels(pool(runs))
    ['A: label_smoothing.real_target=0.…', 'B: label_smoothing.real_target=0.…']
    """
    return [text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…" for text in keyed_titles(groups)]


def pooling_warnings(groups: Sequence[Group]) -> list[str]:
    """Returns what makes a group doubtful: runs that share seeds, or that trained for different times."""
    warnings = []
    for group, title in zip(groups, titles(groups), strict=True):
        for one, other in combinations(group.runs, 2):
            # Replica r of a run is the game with seed + r.
            shared = _shared_seeds(one, other)
            if shared:
                warnings.append(
                    f"{title}: {one.workdir} and {other.workdir} share {len(shared)} of their seeds "
                    f"({span([shared[0], shared[-1]])}): the same games count twice. Give one another --config.seed."
                )
        if len({run.steps for run in group.runs}) > 1:
            lengths = ", ".join(f"{run.workdir}: {run.steps} steps" for run in group.runs)
            warnings.append(f"{title}: the pooled runs differ in length ({lengths}).")
        if group.left_out:
            left_out = ", ".join(str(run.workdir) for run in group.left_out)
            warnings.append(f"{title}: left out of the numbers, as unfinished beside finished runs: {left_out}.")
    return warnings


def _shared_seeds(one: Run, other: Run) -> range:
    if one.seed is None or other.seed is None:
        return range(0)
    first = max(one.seed, other.seed)
    return range(first, max(first, min(one.seed + one.replicas, other.seed + other.replicas)))


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and the sample standard deviation (n - 1 in the denominator); None for the latter if n = 1.

    >>> mean_and_std([90, 93, 99])
    (94.0, 4.58257569495584)
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def mean_curve(group: Group, name: str, protocol: str | None = None) -> Curve:
    """Returns (step, mean, sample std) of a metric over all replicas, at the steps that all runs that have it share.

    Of scores, only runs count that were scored by this protocol: no mean is taken over two of them.
    """
    runs = [run for run in group.runs if name in run.curves and run.curve_protocols.get(name) == protocol]
    per_run = [dict(run.curves[name]) for run in runs]
    if not per_run:
        return []
    curve: Curve = []
    for step in sorted(set.intersection(*(set(by_step) for by_step in per_run))):
        mean, std = mean_and_std([value for by_step in per_run for value in by_step[step]])
        curve.append((step, mean, std or 0.0))
    return curve


def binned_curve(group: Group, name: str, bins: int = 200) -> Curve:
    """Returns (middle of the bin, mean, sample std) of a noisy metric over runs, each averaged in bins of equal width.

    Runs need no steps in common; a bin in which one of them has no value is left out.
    """
    series = [run.curves[name] for run in group.runs if name in run.curves]
    if not series:
        return []
    last = max(points[-1][0] for points in series)
    edges = np.linspace(0, last + 1, bins + 1)
    averages = []
    for points in series:
        steps = np.array([step for step, _ in points], np.float64)
        values = np.array([np.mean(values) for _, values in points])
        counts, sums = np.histogram(steps, edges)[0], np.histogram(steps, edges, weights=values)[0]
        averages.append(np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0))
    stacked = np.stack(averages, axis=1)
    middles = (edges[:-1] + edges[1:]) / 2
    curve: Curve = []
    for middle, values in zip(middles, stacked, strict=True):
        if np.isfinite(values).all():
            mean, std = mean_and_std(values.tolist())
            curve.append((float(middle), mean, std or 0.0))
    return curve


def span(values: Sequence[float]) -> str:
    """Returns one number, or lowest to highest: whole numbers without a decimal point.

    >>> span([1200, 600]), span([0.5])
    ('600 to 1,200', '0.50')
    """

    def text(value: float) -> str:
        return f"{value:,.0f}" if math.isclose(value, round(value), abs_tol=0.005) else f"{value:,.2f}"

    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"
