"""Curves over many runs, one line and band a group, as PNG files in memory."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from igan.reporting.ablation import display_name
from igan.reporting.paper import ABLATION, SEMI_SUPERVISED
from igan.reporting.pooling import Curve, Group, binned_curve, chart_labels, mean_curve, titles
from igan.reporting.tables import in_percent

# Okabe and Ito's colours: told apart by colour-blind readers too. Black and yellow left out.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "-.", ":")  # The next style where the colours are used up.
RAW_UP_TO_GROUPS = 4  # More groups than that would hide one another behind twice as many lines.
LOG_FROM_RATIO = 8.0  # Errors that fall to less than an eighth are drawn on a logarithmic axis.
WIDE, PANEL = (6.4, 3.7), (5.4, 3.1)  # Inches of a chart without its legend.
MOST_COLUMNS = 3  # Of a legend.
DPI = 150


def plot_test_errors(dataset: str, groups: Sequence[Group]) -> tuple[bytes | None, list[str]]:
    """Returns a PNG of test errors against updates, and the titles of groups that have errors but nothing to draw.

    Solid lines are averaged parameters, dashed ones raw parameters (of a few groups only); bands are ± std over
    replicas; diamonds at the right edge are the paper's. None without a single curve.
    """
    all_titles, labels = titles(groups), chart_labels(groups)
    classified = [place for place, group in enumerate(groups) if group.errors]
    percent = in_percent(dataset)
    drawn, empty = [], []
    for place in classified:
        group = groups[place]
        scale = 100 / group.test_examples if percent else 1.0
        averaged = _scaled(mean_curve(group, "test_errors"), scale)
        raw = _scaled(mean_curve(group, "test_errors_raw"), scale) if len(classified) <= RAW_UP_TO_GROUPS else []
        if averaged or raw:
            drawn.append((place, averaged, raw))
        else:
            empty.append(all_titles[place])
    if not drawn:
        return None, empty
    figure = Figure(figsize=WIDE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    handles = []
    means = [mean for _, averaged, raw in drawn for _, mean, _ in (*averaged, *raw)]
    # On a logarithmic axis half an error stands for none.
    floor = 0.5 * (100 / max(groups[place].test_examples for place, _, _ in drawn) if percent else 1.0)
    is_log = is_logarithmic(means, floor)
    for place, averaged, raw in drawn:
        color, style = look(place)
        _draw(axes, averaged, color, style, band=True, floor=floor if is_log else None)
        _draw(axes, raw, color, "--", band=False, floor=floor if is_log else None)
        n = f"n = {groups[place].replicas}{'' if groups[place].finished else ', unfinished'}"
        handles.append(Line2D([], [], color=color, ls=style, lw=2, label=literal(f"{labels[place]} ({n})")))
    if any(raw for _, _, raw in drawn):
        handles.append(Line2D([], [], color="0.3", lw=2, label="averaged parameters (band: ± std)"))
        handles.append(Line2D([], [], color="0.3", lw=1.1, ls="--", label="raw parameters"))
    if _draw_paper(axes, dataset, groups, [place for place, _, _ in drawn]):
        handles.append(Line2D([], [], color="0.3", marker="D", ls="", ms=6, label="paper, after training"))
    _label_steps(axes)
    _label_errors(axes, groups[classified[0]].test_examples, percent, is_log)
    draw_legend(figure, handles)
    return png(figure), empty


def plot_score(name: str, groups: Sequence[Group], protocol: str) -> bytes | None:
    """Returns a PNG of a score by one protocol against updates, logged as `scores/<name>` while training.

    None where no group was scored twice: the table has what was scored at the end, and a lonely point is no curve.
    """
    curves = [mean_curve(group, f"scores/{name}", protocol) for group in groups]
    return _panel(display_name(name), curves, groups) if any(len(curve) > 1 for curve in curves) else None


def plot_loss(name: str, groups: Sequence[Group]) -> bytes | None:
    """Returns a PNG of a metric of the players (`d/<name>` or `g/<name>`) against updates; None without any."""
    return _panel(name, [binned_curve(group, name) for group in groups], groups)


def plot_balance(name: str, groups: Sequence[Group]) -> bytes | None:
    """Returns a PNG of how the players stand, logged as `balance/<name>`; None without any."""
    return _panel(name.partition("/")[2].replace("_", " "), [mean_curve(group, name) for group in groups], groups)


def is_logarithmic(means: Sequence[float], floor: float) -> bool:
    """Returns whether errors are drawn on a logarithmic axis, on which `floor` stands for none."""
    return max(means) > LOG_FROM_RATIO * max(min(means), floor)


def _panel(title: str, curves: Sequence[Curve], groups: Sequence[Group]) -> bytes | None:
    if not any(curves):
        return None
    figure = Figure(figsize=PANEL, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    handles = []
    for place, (curve, label) in enumerate(zip(curves, chart_labels(groups), strict=True)):
        if curve:
            color, style = look(place)
            _draw(axes, curve, color, style, band=True)
            handles.append(Line2D([], [], color=color, ls=style, lw=2, label=literal(label)))
    _draw_stages(axes, groups)
    axes.set_ylabel(literal(title))
    _label_steps(axes)
    draw_legend(figure, handles)
    return png(figure)


def _draw_stages(axes: Axes, groups: Sequence[Group]) -> None:
    """Marks where the stages of networks that grow begin, if all runs have the same ones."""
    stages = {run.stages for group in groups for run in group.runs}
    if len(stages) == 1:
        for start, name in stages.pop()[1:]:
            axes.axvline(start, color="0.8", lw=0.8, zorder=0)
            axes.annotate(
                literal(name), (start, 1), xycoords=axes.get_xaxis_transform(), rotation=90, fontsize=6, color="0.5",
                ha="left", va="top", annotation_clip=True,
            )  # fmt: skip


def look(place: int) -> tuple[str, str]:
    """Returns the colour and the line style of a group by its place."""
    return COLORS[place % len(COLORS)], STYLES[place // len(COLORS) % len(STYLES)]


def _scaled(curve: Curve, scale: float) -> Curve:
    return [(step, scale * mean, scale * std) for step, mean, std in curve]


def _draw(axes: Axes, curve: Curve, color: str, style: str, band: bool, floor: float | None = None) -> None:
    if not curve:
        return
    steps, means, stds = (np.array(column) for column in zip(*curve, strict=True))
    low, high = means - stds, means + stds
    if floor is not None:
        means, low, high = (np.maximum(values, floor) for values in (means, low, high))
    marker = "o" if len(curve) == 1 else ""
    axes.plot(steps, means, style, color=color, lw=1.8 if band else 1.1, alpha=1 if band else 0.8, marker=marker, ms=4)
    if band and stds.any():
        axes.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)


def _draw_paper(axes: Axes, dataset: str, groups: Sequence[Group], places: Sequence[int]) -> bool:
    """Marks the paper's results at the right edge; returns whether there were any for these groups."""
    drawn = False
    for place in places:
        if (value := published(dataset, groups[place])) is not None:
            # x in fractions of the axis, y in errors.
            axes.plot(
                1.0, value, "D", color=look(place)[0], ms=7, mec="white", clip_on=False, zorder=5,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            drawn = True
    return drawn


def published(dataset: str, group: Group) -> float | None:
    """Returns the paper's test error of what a group is; None where it has none."""
    errors = SEMI_SUPERVISED[dataset].errors if dataset in SEMI_SUPERVISED else {}
    return errors[group.labels][0] if group.labels in errors and group.variant not in ABLATION else None


def _label_steps(axes: Axes) -> None:
    axes.set_xlabel("training updates")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(True, which="major", alpha=0.3)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)


def _label_errors(axes: Axes, test_examples: int, percent: bool, is_log: bool) -> None:
    axes.set_ylabel("test error (%)" if percent else f"incorrect test examples (of {test_examples:,})")
    if is_log:
        axes.set_yscale("log")
        _log_ticks(axes)
    if not percent:
        share = 100.0 / test_examples
        right = axes.secondary_yaxis("right", functions=(partial(np.multiply, share), partial(np.multiply, 1 / share)))
        right.set_ylabel("test error (%)")
        if is_log:
            _log_ticks(right)


def _log_ticks(axes: Any) -> None:
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def literal(text: str) -> str:
    """Returns text for Matplotlib, which takes what is between dollars for a formula and hides what begins with _."""
    line = " ".join(text.split()).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def draw_legend(figure: Figure, handles: list[Line2D]) -> None:
    """Lays the legend below, where it hides no curve, and makes the figure taller by what it needs."""
    for columns in range(min(MOST_COLUMNS, len(handles)), 0, -1):
        legend = figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, fontsize=8.5, frameon=False, columnspacing=1.2
        )
        with _without_glyph_warnings():
            extent = legend.get_window_extent()
        if columns == 1 or extent.width < figure.bbox.width:
            width, height = figure.get_size_inches()
            figure.set_size_inches(width, height + extent.height / figure.dpi)
            return
        legend.remove()


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with _without_glyph_warnings():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes; the tables have its letters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
