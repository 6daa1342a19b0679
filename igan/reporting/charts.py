"""The curves of a report as data, for the page to draw; `igan.reporting.plots` draws them as pictures."""

import json
from collections.abc import Sequence

from igan.reporting.ablation import display_name
from igan.reporting.plots import RAW_UP_TO_GROUPS, is_logarithmic, look, published
from igan.reporting.pooling import Curve, Group, binned_curve, mean_curve
from igan.reporting.tables import in_percent

MOST_POINTS = 400  # Of a line: a page that is sent around has no use for more.
DIGITS = 5


def score_chart(name: str, groups: Sequence[Group], protocol: str) -> str:
    """Returns the chart of a score by one protocol, as JSON; "" without anything to draw."""
    return _chart(display_name(name), [mean_curve(group, f"scores/{name}", protocol) for group in groups], groups)


def loss_chart(name: str, groups: Sequence[Group]) -> str:
    """Returns the chart of a metric of the players."""
    return _chart(name, [binned_curve(group, name) for group in groups], groups)


def balance_chart(name: str, groups: Sequence[Group]) -> str:
    """Returns the chart of how the players stand."""
    return _chart(name, [mean_curve(group, name) for group in groups], groups)


def test_errors_chart(dataset: str, groups: Sequence[Group]) -> str:
    """Returns the chart of test errors: averaged parameters, and raw ones as dashes, if there are few groups."""
    percent, lines = in_percent(dataset), []
    classified = [place for place, group in enumerate(groups) if group.errors]
    for place in classified:
        scale = 100 / groups[place].test_examples if percent else 1.0
        names = ("test_errors", "test_errors_raw")[: 2 if len(classified) <= RAW_UP_TO_GROUPS else 1]
        for name in names:
            curve = [(step, scale * mean, scale * std) for step, mean, std in mean_curve(groups[place], name)]
            lines.append(_line(place, curve, dashed=name != "test_errors"))
    lines = [line for line in lines if line["points"]]
    means = [point[1] for line in lines for point in line["points"]]
    most = max((groups[place].test_examples for place in classified), default=1)
    floor = 0.5 * (100 / most if percent else 1.0)
    label = "test error (%)" if percent else f"incorrect test examples (of {most:,})"
    marks = [[place, value] for place in classified if (value := published(dataset, groups[place])) is not None]
    return _json(label, lines, groups, floor if means and is_logarithmic(means, floor) else 0, marks)


def _chart(label: str, curves: Sequence[Curve], groups: Sequence[Group]) -> str:
    return _json(label, [_line(place, curve) for place, curve in enumerate(curves) if curve], groups)


def _line(place: int, curve: Curve, dashed: bool = False) -> dict:
    stride = -(-len(curve) // MOST_POINTS) or 1
    points = [[float(f"{number:.{DIGITS}g}") for number in point] for point in curve[::stride]]
    return {"group": place, "color": look(place)[0], "dashed": dashed or look(place)[1] != "-", "points": points}


def _json(
    label: str, lines: Sequence[dict], groups: Sequence[Group], floor: float = 0, marks: Sequence[list] = ()
) -> str:
    if not lines:
        return ""
    stages = {run.stages for group in groups for run in group.runs}
    begin = [list(stage) for stage in stages.pop()[1:]] if len(stages) == 1 else []
    chart = {"label": label, "floor": floor, "lines": lines, "stages": begin, "marks": list(marks)}
    return json.dumps(chart, allow_nan=False, separators=(",", ":"))
