"""The table of mixtures of Gaussians: what each technique has found of them, beside what papers have printed."""

import base64
import io
import statistics
from collections.abc import Sequence

from PIL import Image

from igan.data import plane
from igan.game import technique
from igan.models import points
from igan.reporting.ablation import direction, format_score, several_protocols
from igan.reporting.pooling import Group, mean_and_std
from igan.reporting.tables import NONE, UNFINISHED, Table

SCORES = {"modes": "modes ↑", "high_quality": "high quality % ↑", "reverse_kl": "reverse KL ↓"}
# Lin et al. (2018), Table 1, ± over 10 trials: modes; high quality in per cent; reverse KL.
PACGAN = {
    "ring": {
        "GAN": "6.3 ± .5; 98.2 ± .2; .45 ± .09",
        "ALI": "6.6 ± .3; 97.6 ± .4; .36 ± .04",
        "PacGAN2": "7.9 ± .1; 95.6 ± 2.0; .07 ± .03",
        "PacGAN3": "7.8 ± .1; 97.7 ± .3; .10 ± .02",
        "PacGAN4": "7.8 ± .1; 95.9 ± 1.4; .07 ± .02",
    },
    "grid": {
        "GAN": "17.3 ± .8; 94.8 ± .7; .70 ± .07",
        "ALI": "24.1 ± .4; 95.7 ± .6; .14 ± .03",
        "PacGAN2": "23.8 ± .7; 91.3 ± .8; .13 ± .04",
        "PacGAN3": "24.6 ± .4; 94.2 ± .4; .06 ± .02",
        "PacGAN4": "24.8 ± .2; 93.6 ± .6; .04 ± .01",
    },
}
# Srivastava et al. (2017), Table 1, means of 5 trials: modes; high quality in per cent.
VEEGAN = {
    "ring": {"GAN": "1; 99.3", "ALI": "2.8; 0.13", "unrolled GAN": "7.6; 35.6", "VEEGAN": "8; 52.9"},
    "grid": {"GAN": "3.3; 0.5", "ALI": "15.8; 1.6", "unrolled GAN": "23.6; 16", "VEEGAN": "24.6; 40"},
}
METHODS = {"non_saturating": "GAN", "pacgan": "GAN", "unrolled": "unrolled GAN", "packing": "PacGAN2"}
NEVER_OF_POINTS = {
    "labels": "it is told the class of every example",
    "styles": "the networks of points have no styles",
    "images": "it is for images",
    "reconstruction": "it needs a discriminator that is an autoencoder",
}
THUMBNAIL = 144  # Pixels along the side, twice what a page shows of them.
MANY = 5  # Groups of a table that looks as if every technique were to be in it.


def mixture_table(dataset: str, groups: Sequence[Group]) -> Table | None:
    """Returns a row for each group and for each published method; None unless the modes of a mixture were counted.

    None as well where one score was measured by several protocols, which need a column each.
    """
    groups = [group for group in groups if any("modes" in run.scores for run in group.runs)]
    shape = dataset.partition(":")[0]
    if not groups or shape not in PACGAN or several_protocols(groups):  # Modes of stacked digits are no points'.
        return None
    columns = [
        (name, title, protocol)
        for name, title in SCORES.items()
        for protocol in sorted(
            {run.scores[name].protocol for each in groups for run in each.runs if name in run.scores}
        )
    ]
    published = [results.get(shape, {}) for results in (PACGAN, VEEGAN)]
    rows, means, shown, thumbnails = [], [], set(), []
    for group in groups:
        name = (group.name or "default").removeprefix(f"{shape}-")
        method = METHODS.get(name.removesuffix(f"_{shape}"), "")
        shown.add(method)
        cells = [_cell(group, score, protocol) for score, _, protocol in columns]
        quoted = [results.get(method, NONE) for results in published]
        title = name + ("" if group.finished else UNFINISHED)
        rows.append((title, str(group.replicas), *(text for text, _ in cells), _speed(group), *quoted))
        means.append([mean for _, mean in cells])
        thumbnails.append(_thumbnail(group))
    best = _best([score for score, _, _ in columns], means)
    rest = [method for method in dict.fromkeys(name for each in published for name in each) if method not in shown]
    quoted_rows = frozenset(range(len(rows), len(rows) + len(rest)))
    for method in rest:
        empty = [NONE] * (len(columns) + 2)
        rows.append((method, *empty, *(results.get(method, NONE) for results in published)))
    header = ("technique", "n", *(title for _, title, _ in columns), "updates/s", "PacGAN's paper", "VEEGAN's paper")
    notes = _notes(columns, groups)
    thumbnails += [""] * len(rest)
    of_rows = tuple(thumbnails) if any(thumbnails) else ()
    return Table("What was found of the mixture", header, tuple(rows), tuple(notes), quoted_rows, best, of_rows)


def _cell(group: Group, name: str, protocol: str) -> tuple[str, float | None]:
    values = [value for score in group.scores(name, protocol) for value in score.values]
    if not values:
        return NONE, None
    mean, std = mean_and_std(values)
    return format_score(mean, std), mean


def _speed(group: Group) -> str:
    speeds = [run.steps / run.seconds for run in group.runs if run.seconds]
    return f"{statistics.fmean(speeds):,.3g}" if speeds else NONE


def _thumbnail(group: Group) -> str:
    """Returns samples of the first replica of a group as a data: URI, "" where no picture of them can be read."""
    path = next((run.samples for run in group.runs if run.samples is not None), None)
    try:
        image = Image.open(path).convert("RGB") if path is not None else None
    except (OSError, ValueError, SyntaxError):  # The gallery warns of it.
        image = None
    if image is None:
        return ""
    if group.runs[0].replicas > 1:
        image = image.crop((0, 0, plane.AMONG_OTHERS, plane.AMONG_OTHERS))
    buffer = io.BytesIO()
    image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _best(scores: Sequence[str], means: Sequence[Sequence[float | None]]) -> frozenset[tuple[int, int]]:
    best = set()
    for place, name in enumerate(scores):
        values = [(value, number) for number, row in enumerate(means) if (value := row[place]) is not None]
        if len(values) > 1:
            value = (max if direction(name) == "↑" else min)(value for value, _ in values)
            best |= {(number, 2 + place) for each, number in values if each == value}
    return frozenset(best)


def _notes(columns: Sequence[tuple[str, str, str]], groups: Sequence[Group]) -> list[str]:
    notes = [
        "n counts replicas over all seeds. ± is the sample standard deviation (n - 1) over them. updates/s: of a run's"
        " replicas together in one program, its start, compilation and scores included. Bold: the best mean, which may"
        " be no real difference where the spreads overlap. Of a perfect generator's samples 98.9 per cent are of high"
        " quality."
    ]
    notes += [f"{title}: {protocol}" for _, title, protocol in columns]
    notes.append(
        "The papers' columns: modes; high quality in per cent; reverse KL. Their networks and schedules are others, and"
        " their own rows of a plain GAN differ hugely for nominally the same task: compare within a column."
    )
    if len(groups) > MANY and (reasons := left_out()):
        notes.append(f"Not played: {'; '.join(f'{name}, {reason}' for name, reason in reasons.items())}.")
    return notes


def left_out() -> dict[str, str]:
    """Returns the techniques that points cannot be played with, and why.

    >>> "minimax" in left_out()
    False
    """
    reasons = {}
    for name in technique.known():
        tested = technique.load({name: {"enabled": True}})[name]
        for need in sorted(tested.needs & NEVER_OF_POINTS.keys()):
            reasons[name] = NEVER_OF_POINTS[need]
        if tested.layers.keys() - set(points.PLACES):
            reasons[name] = "it is for other networks than those of points"
    return reasons
