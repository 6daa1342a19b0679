"""Charts of a study, as PNG files in memory."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtr

from igan.annotation.estimates import Estimate, as_single
from igan.annotation.summary import CHANCE, Summary
from igan.annotation.tables import arm_name
from igan.reporting import paper
from igan.reporting.plots import COLORS, DPI, WIDE, draw_legend, literal, png

MOST_GENERATORS = 12
WITH, WITHOUT, ALL, PAPER = COLORS[1], COLORS[0], "0.15", "0.45"
WRAP = 34  # Letters of a row's name.


def arm_color(feedback: bool) -> str:
    return WITH if feedback else WITHOUT


def plot_accuracies(summary: Summary) -> bytes | None:
    """Returns a PNG of accuracies with intervals, a dot a person behind them, and the paper's; None without answers."""
    if summary.accuracy is None:
        return None
    rows: list[tuple[str, Estimate, str, list[float]]] = []
    everybody = [person.accuracy for person in summary.people]
    rows.append(("all people", summary.accuracy, ALL, everybody))
    for arm in summary.arms if len(summary.arms) > 1 else ():
        own = [person.accuracy for person in summary.people if person.feedback == arm.feedback]
        if arm.accuracy:
            rows.append((arm_name(arm.feedback), arm.accuracy, arm_color(arm.feedback), own))
    fakes = [each for each in summary.generators if each.balanced]
    if 1 < len(fakes) <= MOST_GENERATORS:
        rows += [(each.name, each.balanced, COLORS[2], []) for each in fakes if each.balanced]
    figure = Figure(figsize=(WIDE[0], 1.0 + 0.36 * (len(rows) + len(paper.PEOPLE))), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    random = np.random.default_rng(0)  # Only so that equal people do not hide one another.
    convert = as_single if summary.design.side_by_side else float
    for place, (_, value, color, own) in enumerate(rows):
        shown = [convert(each) for each in own if np.isfinite(each)]
        axes.plot(shown, place + random.uniform(-0.22, 0.22, len(shown)), "o", color=color, ms=3.5, alpha=0.3, mew=0)
        if value.low is not None and value.high is not None:
            axes.plot([convert(value.low), convert(value.high)], [place, place], color=color, lw=2.4)
        axes.plot(convert(value.mean), place, "o", color=color, ms=7, mec="white")
    for place, each in enumerate(paper.PEOPLE, start=len(rows)):
        axes.plot(each.right, place, ">" if each.at_least else "D", color=PAPER, ms=6)
    axes.axvline(CHANCE, color="0.6", lw=1, ls="--")
    names = [name for name, *_ in rows] + [f"paper: {each.title}" for each in paper.PEOPLE]
    axes.set_yticks(range(len(names)), [_wrapped(name) for name in names], fontsize=8.5)
    axes.invert_yaxis()
    label = "share of right answers, as of single images" if summary.design.side_by_side else "share of right answers"
    _label_share(axes.set_xlabel, f"{label} (%); dashed: chance", axes.xaxis)
    axes.grid(True, axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return png(figure)


def plot_curve(summary: Summary) -> bytes | None:
    """Returns a PNG of accuracy against position in the sequence, a line an arm; None with fewer than two blocks."""
    if len({block.first for block in summary.curve}) < 2:
        return None
    figure = Figure(figsize=WIDE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    handles = []
    for arm in summary.arms:
        blocks = [block for block in summary.curve if block.feedback == arm.feedback]
        color = arm_color(arm.feedback)
        middle = [(block.first + block.last) / 2 + 1 for block in blocks]
        axes.plot(middle, [block.accuracy.mean for block in blocks], "o-", color=color, lw=1.8, ms=4)
        # Where people do not differ there is no interval, and none is drawn, rather than one without width.
        bands = np.array([(block.accuracy.low, block.accuracy.high) for block in blocks], np.float64)
        axes.fill_between(middle, bands[:, 0], bands[:, 1], color=color, alpha=0.18, lw=0)
        people = sum(person.feedback == arm.feedback for person in summary.people)
        handles.append(Line2D([], [], color=color, lw=2, label=literal(f"{arm_name(arm.feedback)} (n = {people})")))
    axes.axhline(CHANCE, color="0.6", lw=1, ls="--")
    axes.set_xlabel("question")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _label_share(axes.set_ylabel, "right answers (%)", axes.yaxis)
    axes.grid(True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    draw_legend(figure, handles)
    return png(figure)


def plot_classes(summary: Summary) -> bytes | None:
    """Returns a PNG of hits against false alarms, a dot a person, with curves of equal d'; None side by side."""
    shown = [each for each in summary.people if np.isfinite(each.hit_rate) and np.isfinite(each.false_alarm_rate)]
    if not shown or summary.design.side_by_side:
        return None
    figure = Figure(figsize=(4.6, 4.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    _draw_equal_dprime(axes, (0.0, 1.0, 2.0))
    handles = []
    for feedback in sorted({each.feedback for each in shown}, reverse=True):
        own = [each for each in shown if each.feedback == feedback]
        rates = [each.false_alarm_rate for each in own], [each.hit_rate for each in own]
        axes.plot(*rates, "o", color=arm_color(feedback), ms=5, alpha=0.6, mew=0, clip_on=False)
        handles.append(Line2D([], [], color=arm_color(feedback), marker="o", ls="", label=arm_name(feedback)))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _label_share(axes.set_xlabel, "false alarms: real called generated (%)", axes.xaxis)
    _label_share(axes.set_ylabel, "hits: generated called generated (%)", axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    draw_legend(figure, handles)
    return png(figure)


def _draw_equal_dprime(axes: Axes, values: Sequence[float]) -> None:
    criterion = np.linspace(-4, 4, 200)
    for value in values:
        axes.plot(ndtr(criterion - value / 2), ndtr(criterion + value / 2), color="0.75", lw=1)
        # At the right, where the dots of people who can tell are not.
        place = float(ndtr(1 - value / 2)), float(ndtr(1 + value / 2))
        axes.annotate(f"d' = {value:g}", place, fontsize=8, color="0.4", ha="left", va="top", xytext=(3, -2),
                      textcoords="offset points")  # fmt: skip


def _label_share(set_label: Callable[[str], object], text: str, axis: Axis) -> None:
    set_label(text)
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")


def _wrapped(name: str) -> str:
    """A row's name in at most two lines."""
    text = literal(name)
    if len(text) <= WRAP:
        return text
    cut = text.rfind(" ", 0, WRAP)
    cut = cut if cut > 0 else WRAP
    rest = text[cut:].strip()
    return f"{text[:cut]}\n{rest if len(rest) <= WRAP else rest[: WRAP - 1] + '…'}"
