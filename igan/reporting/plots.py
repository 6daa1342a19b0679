"""Pictures over many runs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from igan.reporting.tables import PAPER_ERRORS, PAPER_TEST_EXAMPLES, Cell, Evaluation, mean_and_std

# Okabe and Ito's colours: told apart by colour-blind readers too. Black and yellow left out.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

Curve = list[tuple[int, float, float]]  # (step, mean, std) with 0 for the std of a single replica.


def mean_curve(cell: Cell, raw: bool = False) -> Curve:
    """Returns (step, mean, sample std) of the test errors over all replicas, at the steps that all pooled runs have."""
    per_run = [
        {evaluation.step: values for evaluation in run.curve if (values := _values(evaluation, raw))}
        for run in cell.runs
    ]
    common = set.intersection(*(set(by_step) for by_step in per_run))
    curve = []
    for step in sorted(common):
        mean, std = mean_and_std([value for by_step in per_run for value in by_step[step]])
        curve.append((step, mean, std or 0.0))
    return curve


def _values(evaluation: Evaluation, raw: bool) -> tuple[float, ...]:
    return evaluation.errors_raw if raw else evaluation.errors


def plot_test_errors(cells: Sequence[Cell], path: Path) -> list[int]:
    """Writes a PNG of test errors against steps: a line and a band (± std over replicas) per number of labels.

    Solid lines are averaged parameters, dashed ones raw parameters; diamonds at the right edge are the paper's (full
    MNIST only). Returns the numbers of labels that had nothing to draw; without any curve at all no file is written.
    """
    curves = {cell.labels: (mean_curve(cell), mean_curve(cell, raw=True)) for cell in cells}
    empty = [labels for labels, (averaged, raw) in curves.items() if not averaged and not raw]
    if len(empty) == len(curves):
        return empty
    first = cells[0].runs[0]
    figure = Figure(figsize=(9.0, 5.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    handles = []
    for index, cell in enumerate(cells):
        color = COLORS[index % len(COLORS)]
        averaged, raw = curves[cell.labels]
        _draw(axes, averaged, color, "-", band=True)
        _draw(axes, raw, color, "--", band=False)
        state = "" if cell.finished else ", unfinished"
        handles.append(Line2D([], [], color=color, lw=2, label=f"{cell.labels} labels (n = {cell.replicas}{state})"))
    handles.append(Line2D([], [], color="0.3", lw=2, label="averaged parameters (band: ± std)"))
    handles.append(Line2D([], [], color="0.3", lw=1.1, ls="--", label="raw parameters"))
    if first.test_examples == PAPER_TEST_EXAMPLES and _draw_paper(axes, cells):
        handles.append(Line2D([], [], color="0.3", marker="D", ls="", ms=6, label="paper, after training"))
    _label_axes(axes, first.dataset, first.test_examples)
    axes.legend(handles=handles, loc="upper right", fontsize=9, framealpha=0.9)
    figure.savefig(path, format="png")
    return empty


def _draw(axes: Axes, curve: Curve, color: str, style: str, band: bool) -> None:
    if not curve:
        return
    steps = [step for step, _, _ in curve]
    # On a logarithmic axis half an error stands for none.
    means = [max(mean, 0.5) for _, mean, _ in curve]
    marker = "o" if len(curve) == 1 else ""
    axes.plot(steps, means, style, color=color, lw=2 if band else 1.1, alpha=1 if band else 0.8, marker=marker, ms=4)
    if band:
        low = [max(mean - std, 0.5) for _, mean, std in curve]
        high = [max(mean + std, 0.5) for _, mean, std in curve]
        axes.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)


def _draw_paper(axes: Axes, cells: Sequence[Cell]) -> bool:
    """Marks the paper's results at the right edge; returns whether there were any for these cells."""
    drawn = False
    for index, cell in enumerate(cells):
        if cell.labels in PAPER_ERRORS:
            color = COLORS[index % len(COLORS)]
            # x in fractions of the axis, y in errors.
            axes.plot(
                1.0, PAPER_ERRORS[cell.labels][0], "D", color=color, ms=7, mec="white", clip_on=False, zorder=5,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            drawn = True
    return drawn


def _label_axes(axes: Axes, dataset: str, test_examples: int) -> None:
    data = "full MNIST" if dataset == "mnist" else "5,000 embedded digits, not comparable with the paper"
    axes.set_title(f"Semi-supervised MNIST: test error during training ({data})", fontsize=11)
    axes.set_yscale("log")
    axes.set_xlabel("training step (updates)")
    axes.set_ylabel(f"incorrect test digits (of {test_examples:,})")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda errors, _: f"{errors:,.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", alpha=0.3)
    axes.margins(x=0.01)
    share = 100.0 / test_examples
    right = axes.secondary_yaxis("right", functions=(partial(np.multiply, share), partial(np.multiply, 1 / share)))
    right.set_ylabel("test error (%)")
    right.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    right.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.3g}"))
    right.yaxis.set_minor_formatter(NullFormatter())
