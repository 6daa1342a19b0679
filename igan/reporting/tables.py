"""Runs pooled into the cells of the paper's semi-supervised MNIST table, as Markdown."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

# Salimans et al. (2016), table 1: incorrect of 10,000, mean and std over 10 label draws, by number of labels.
PAPER_TEST_EXAMPLES = 10_000
PAPER_ERRORS = {20: (1677.0, 452.0), 50: (221.0, 136.0), 100: (93.0, 6.5), 200: (90.0, 4.2)}
PAPER_ENSEMBLE_ERRORS = {20: (1134.0, 445.0), 50: (142.0, 96.0), 100: (86.0, 5.6), 200: (81.0, 4.3)}
NONE = "-"
UNFINISHED = " (unfinished)"


@dataclass(frozen=True)
class Evaluation:
    """Test errors at one step, one number per replica, of the averaged and of the raw parameters (maybe none)."""

    step: int
    errors: tuple[float, ...]
    errors_raw: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """What the report needs of one work directory. `labels` counts all classes; errors are one number per replica."""

    workdir: Path
    dataset: str
    test_examples: int
    labels: int
    seed: int | None
    epochs: float  # Done, not planned.
    steps: int
    finished: bool
    errors: tuple[float, ...]
    errors_raw: tuple[float, ...]
    ensemble_errors: float | None
    curve: tuple[Evaluation, ...]

    @property
    def replicas(self) -> int:
        return len(self.errors)


@dataclass(frozen=True)
class Cell:
    """All runs with the same number of labels.

    The numbers come from the finished runs alone (`runs`); the unfinished are `left_out`, unless there is nothing else.
    """

    labels: int
    runs: tuple[Run, ...]
    left_out: tuple[Run, ...]

    @property
    def finished(self) -> bool:
        return all(run.finished for run in self.runs)

    @property
    def replicas(self) -> int:
        return sum(run.replicas for run in self.runs)

    @property
    def errors(self) -> list[float]:
        return list(chain.from_iterable(run.errors for run in self.runs))

    @property
    def errors_raw(self) -> list[float]:
        return list(chain.from_iterable(run.errors_raw for run in self.runs))

    @property
    def ensembles(self) -> list[Run]:
        return [run for run in self.runs if run.replicas > 1 and run.ensemble_errors is not None]


def pool(runs: Iterable[Run]) -> list[Cell]:
    """Returns one cell per number of labels, in order."""
    by_labels: dict[int, list[Run]] = {}
    for run in runs:
        by_labels.setdefault(run.labels, []).append(run)
    cells = []
    for labels, members in sorted(by_labels.items()):
        finished = tuple(run for run in members if run.finished)
        unfinished = tuple(run for run in members if not run.finished)
        cells.append(Cell(labels, finished or unfinished, unfinished if finished else ()))
    return cells


def pooling_warnings(cells: Iterable[Cell]) -> list[str]:
    """Returns what makes a pooled cell doubtful: runs that share seeds, or that trained for different times."""
    warnings = []
    for cell in cells:
        for one, other in combinations(cell.runs, 2):
            # Replica r of a run is the game with seed + r.
            shared = set(_seeds(one)) & set(_seeds(other))
            if shared:
                warnings.append(
                    f"{cell.labels} labels: {one.workdir} and {other.workdir} share {len(shared)} of their seeds "
                    f"({_span(sorted(shared))}): the same games count twice. Give one another --config.seed."
                )
        if len({run.steps for run in cell.runs}) > 1:
            lengths = ", ".join(f"{run.workdir}: {run.steps} steps" for run in cell.runs)
            warnings.append(f"{cell.labels} labels: the pooled runs differ in length ({lengths}).")
    return warnings


def _seeds(run: Run) -> range:
    return range(0) if run.seed is None else range(run.seed, run.seed + run.replicas)


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and the sample standard deviation (n - 1 in the denominator); None for the latter if n = 1.

    >>> mean_and_std([90, 93, 99])
    (94.0, 4.58257569495584)
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def format_errors(mean: float, std: float | None, test_examples: int, percent: bool = False) -> str:
    """Returns a number of errors as text: one decimal where the spread is below ten, as in the paper.

    >>> format_errors(93.0, 6.5, 10_000), format_errors(221.4, 136.2, 10_000), format_errors(57, 3.1, 1_000, True)
    ('93.0 ± 6.5', '221 ± 136', '57.0 ± 3.1 (5.70 ± 0.31 %)')
    """
    if std is None:
        text = f"{mean:g}"
        share = f"{100 * mean / test_examples:.2f} %"
    else:
        digits = 1 if std < 10 else 0
        text = f"{mean:.{digits}f} ± {std:.{digits}f}"
        share = f"{100 * mean / test_examples:.2f} ± {100 * std / test_examples:.2f} %"
    return f"{text} ({share})" if percent else text


def markdown_report(cells: Sequence[Cell]) -> str:
    """Returns the table beside the paper's rows, and a second one that says what each cell is made of.

    Args:
      cells: at least one, all of the same data set.
    """
    dataset, test_examples = cells[0].runs[0].dataset, cells[0].runs[0].test_examples
    percent = test_examples != PAPER_TEST_EXAMPLES
    labels = sorted(set(PAPER_ERRORS) | {cell.labels for cell in cells})
    by_labels = {cell.labels: cell for cell in cells}

    def paper_row(name: str, results: dict[int, tuple[float, float]]) -> list[str]:
        # As in the paper: 93 ± 6.5, not 93.0 ± 6.5.
        counts = {key: f"{mean:g} ± {std:g}" for key, (mean, std) in results.items()}
        if percent:
            share = 100 / PAPER_TEST_EXAMPLES
            counts = {
                key: f"{counts[key]} ({share * mean:.2f} ± {share * std:.2f} %)" for key, (mean, std) in results.items()
            }
        return [name, *(counts.get(number, NONE) for number in labels)]

    def igan_row(name: str, values_of: str) -> list[str]:
        texts = [_errors_text(by_labels.get(number), values_of, percent) for number in labels]
        return [name, *texts]

    of_paper = f" (of {PAPER_TEST_EXAMPLES:,})" if percent else ""
    of_igan = f" (of {test_examples:,})" if percent else ""
    rows = [
        paper_row(f"paper{of_paper}", PAPER_ERRORS),
        igan_row(f"igan, averaged parameters{of_igan}", "errors"),
        igan_row(f"igan, raw parameters{of_igan}", "errors_raw"),
        paper_row(f"paper, ensemble of 10{of_paper}", PAPER_ENSEMBLE_ERRORS),
        [f"igan, ensemble{of_igan}", *(_ensemble_text(by_labels.get(number), percent) for number in labels)],
    ]
    return "\n".join(
        [
            "# Semi-supervised MNIST: test errors",
            "",
            *_introduction(dataset, test_examples, cells),
            "",
            *_markdown_table(["labels", *(str(number) for number in labels)], rows),
            "",
            "## What each cell is made of",
            "",
            *_details(cells),
            "",
        ]
    )


def _introduction(dataset: str, test_examples: int, cells: Sequence[Cell]) -> list[str]:
    if dataset == "mnist5k":
        what = (
            f"**5,000 embedded digits, errors of {test_examples:,}, not comparable** with the paper's of 10,000: "
            "training saw 4,000 digits instead of 60,000. Per cent in brackets."
        )
    else:
        what = f"Incorrectly predicted test examples of {test_examples:,} (full MNIST)."
    spread = (
        "± is the sample standard deviation over the n replicas (each with its own label draw and initialisation); "
        "for ensembles, over the ensembles."
    )
    lines = [what, "", spread]
    if not all(cell.finished for cell in cells):
        lines += ["", "Unfinished: still running, or stopped; its newest evaluation so far."]
    return lines


def _errors_text(cell: Cell | None, values_of: str, percent: bool) -> str:
    values = getattr(cell, values_of) if cell is not None else []
    if cell is None or not values:
        return NONE
    text = format_errors(*mean_and_std(values), cell.runs[0].test_examples, percent)
    return f"{text}, n = {len(values)}{'' if cell.finished else UNFINISHED}"


def _ensemble_text(cell: Cell | None, percent: bool) -> str:
    if cell is None or not cell.ensembles:
        return NONE
    values = [run.ensemble_errors for run in cell.ensembles if run.ensemble_errors is not None]
    sizes = "/".join(str(size) for size in sorted({run.replicas for run in cell.ensembles}))
    text = format_errors(*mean_and_std(values), cell.runs[0].test_examples, percent)
    made_of = f"{sizes} models" if len(values) == 1 else f"{len(values)} ensembles of {sizes} models"
    return f"{text}, {made_of}{'' if cell.finished else UNFINISHED}"


def _details(cells: Sequence[Cell]) -> list[str]:
    header = ["labels", "data set", "replicas n", "runs", "epochs", "steps", "state", "work directories"]
    rows = []
    for cell in cells:
        state = "finished" if cell.finished else "**running/unfinished**"
        if cell.left_out:
            state += f"; left out, unfinished: {', '.join(str(run.workdir) for run in cell.left_out)}"
        rows.append(
            [
                str(cell.labels),
                cell.runs[0].dataset,
                str(cell.replicas),
                str(len(cell.runs)),
                _span([run.epochs for run in cell.runs]),
                _span([run.steps for run in cell.runs]),
                state,
                ", ".join(str(run.workdir) for run in cell.runs),
            ]
        )
    return _markdown_table(header, rows)


def _span(values: Sequence[float]) -> str:
    """One number, or lowest to highest: whole numbers without a decimal point."""

    def text(value: float) -> str:
        return f"{value:,.0f}" if math.isclose(value, round(value), abs_tol=0.005) else f"{value:,.2f}"

    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with padded columns, so that it also reads well in a terminal."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"

    return [line(cells[0]), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, cells[1:])]
