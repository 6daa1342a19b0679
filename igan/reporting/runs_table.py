"""The table of all runs: what each is, when and how fast it ran, and its best value beside its last one."""

import statistics
from collections.abc import Sequence

from igan.reporting.ablation import direction, display_name, format_score
from igan.reporting.pooling import labels_text
from igan.reporting.runs import Run
from igan.reporting.tables import NONE, Table, duration, format_errors, in_percent

BEST = (
    "Best: of all evaluations, with its update; it was chosen by the test itself, so that only the last one is a "
    "result. Both are means over replicas. Date: when the files of the run were last written. igan: its version "
    "and, where it was a checkout, the commit; changed: the tree was not what the commit says."
)


def runs_table(runs: Sequence[Run]) -> Table:
    """Returns one row for every run."""
    header = (
        "work directory", "experiment", "variant", "data set", "labels", "seed", "replicas", "updates", "state",
        "last", "best", "time", "updates/s", "date", "igan",
    )  # fmt: skip
    return Table(f"All runs ({len(runs)})", header, tuple(_row(run) for run in runs), (BEST,))


def _row(run: Run) -> tuple[str, ...]:
    ends = last_and_best(run)
    return (
        str(run.workdir),
        run.experiment,
        run.variant or "default",
        run.dataset,
        labels_text(run.labels),
        "?" if run.seed is None else str(run.seed),
        str(run.replicas),
        f"{run.steps:,}",
        "finished" if run.finished else "unfinished",
        "; ".join(last for last, _ in ends) or NONE,
        "; ".join(best for _, best in ends) or NONE,
        NONE if run.seconds is None else duration(run.seconds),
        f"{run.steps / run.seconds:,.3g}" if run.seconds else NONE,
        f"{run.written:%Y-%m-%d %H:%M}",
        run.versions.get("igan", NONE),
    )


def last_and_best(run: Run) -> list[tuple[str, str]]:
    """Returns the last and the best of a run's test errors and scores, as text, each with its update.

    >>> last_and_best(run)
    [('test errors 94.0 at 1,200', 'test errors 92.5 at 600')]
    """
    found = []
    for name, curve in run.curves.items():
        score = name.removeprefix("scores/")
        arrow = "↓" if name == "test_errors" else direction(score) if score != name else ""
        if arrow:
            means = [(statistics.fmean(values), step) for step, values in curve]
            best = min(means, key=lambda point: point[0] if arrow == "↓" else -point[0])
            found.append((_text(run, name, means[-1]), _text(run, name, best)))
    return found


def _text(run: Run, name: str, point: tuple[float, int]) -> str:
    mean, step = point
    if name != "test_errors":
        return f"{display_name(name.removeprefix('scores/'))} {format_score(mean, None)} at {step:,}"
    if not in_percent(run.dataset):
        return f"test errors {round(mean, 1):g} at {step:,}"
    return f"test error {format_errors(mean, None, run.test_examples, percent=True)} % at {step:,}"
