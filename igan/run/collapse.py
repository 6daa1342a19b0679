"""Notices in what a run has logged of its balance that a generator has collapsed, or learns nothing any more."""

from collections.abc import Iterable, Mapping
from typing import Any

PREFIX = "balance/"
LOW = 0.2  # Of the data's diversity: less than this is a collapse,
HIGH = 0.4  # if it was more than this before, or
EARLY = 0.1  # this share of the run has gone by: a generator begins with images that are all alike.
IN_A_ROW = 3  # Evaluations, so that one odd batch is none.
APART, VANISHED = 0.999, 1e-3  # Separation; the norm of the generator's gradient, over the largest that it has had.
ADVICE = {
    "collapsed": (
        "has collapsed: its samples differ less than a fifth as much as the data do. What usually helps: a smaller"
        " learning rate, techniques that look at several images at once (minibatch_discrimination, packing) or that"
        " hold the discriminator back (spectral_norm, gradient_penalty, r1); with a checkpoint of the best score,"
        " --from=best goes back to it"
    ),
    "vanished": (
        "learns nothing any more: the discriminator tells everything apart, and the generator's gradient has vanished."
        " What usually helps: non_saturating instead of minimax for the generator, a smaller learning rate of the"
        " discriminator, or techniques that hold it back (spectral_norm, gradient_penalty, r1, label_smoothing)"
    ),
}


class Watch:
    """Follows the evaluations of a run of R replicas in their order.

    Args:
      total: the updates of the run.
      lines: of its `metrics.jsonl`, those of before.

    >>> watch = Watch(100)
    >>> for step in (10, 20, 30):
    ...     line = watch.see(step, {"balance/diversity": [0.9, 0.01]})
    >>> line[:71]
    'the generator of replica 1 of 2 has collapsed: its samples differ less '
    >>> watch.found
    {'collapsed': {1: 30}, 'vanished': {}}
    """

    def __init__(self, total: int, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self.found: dict[str, dict[int, int]] = {what: {} for what in ADVICE}  # The update by the replica.
        self._total = total
        self._in_a_row: dict[tuple[str, int], int] = {}
        self._highest: dict[int, float] = {}
        self._steepest: dict[int, float] = {}
        for line in lines:
            if f"{PREFIX}diversity" in line:
                self.see(line["step"], line)

    def see(self, step: int, values: Mapping[str, Any]) -> str:
        """Takes the balance of one evaluation, a list over replicas by name; returns what is to be said of it, or "".

        Each of the two things is said once, when it is first seen of a replica.
        """
        said = [what for what in ADVICE if self.found[what]]
        diversities = values[f"{PREFIX}diversity"]
        for replica, diversity in enumerate(diversities):
            separation, norm = (values.get(f"{PREFIX}{name}", [None] * len(diversities))[replica] for name in (
                "separation", "gradient_norm_generator"))  # fmt: skip
            highest = self._highest.get(replica, 0.0)
            late = highest > HIGH or step >= EARLY * self._total
            self._count("collapsed", replica, step, diversity is not None and diversity < LOW and late)
            self._highest[replica] = max(highest, diversity or 0.0)
            steepest = self._steepest.get(replica, 0.0)
            flat = separation is not None and norm is not None and norm < VANISHED * steepest and separation > APART
            self._count("vanished", replica, step, flat)
            self._steepest[replica] = max(steepest, norm or 0.0)
        new = [what for what in ADVICE if self.found[what] and what not in said]
        return "; ".join(f"{_whose(self.found[what], len(diversities))} {ADVICE[what]}" for what in new)

    def _count(self, what: str, replica: int, step: int, seen: bool) -> None:
        count = self._in_a_row[what, replica] = self._in_a_row.get((what, replica), 0) + 1 if seen else 0
        if count == IN_A_ROW:
            self.found[what].setdefault(replica, step)


def _whose(replicas: Iterable[int], count: int) -> str:
    numbers = ", ".join(map(str, sorted(replicas)))
    return "the generator" if count == 1 else f"the generator of replica {numbers} of {count}"
