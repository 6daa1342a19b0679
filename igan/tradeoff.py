"""What a generator's images are worth at several truncations, of latents or styles: a table, a curve of two scores.

Small truncations give better images of fewer kinds, so that an Inception score rises while an FID, which misses those
that are not there, falls first and then rises (Brock et al. 2019, figure 2 and appendix E).
"""

import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from igan.run import workdir

NAME = "tradeoff"  # Of the files in the work directory.


def table(result: Mapping[str, Any]) -> str:
    """Returns a table for people: a line for each truncation, a column for each score, and the protocols below it.

    >>> scores = {"fid": {"value": [3.0, 5.0], "std": None, "protocol": "10 images"}}
    >>> print(table({"workdir": "runs/it", "step": 20, "rows": [{"truncation": 0.5, "scores": scores}]}))
    runs/it at update 20
    truncation=0.5  fid 4
    fid: 10 images
    """
    lines = [f"{result['workdir']} at update {result['step']:,}"]
    for row in result["rows"]:
        values = [f"{name} {_mean(score):.5g}" for name, score in row["scores"].items()]
        lines.append("  ".join([_named(row), *values]))
    protocols = {f"{name}: {score['protocol']}" for row in result["rows"] for name, score in row["scores"].items()}
    return "\n".join([*lines, *sorted(protocols)])


def write(result: Mapping[str, Any], directory: Path) -> list[Path]:
    """Writes a result as JSON, and as a curve if it has two scores or more, into a run's directory.

    Returns: the files.

    Raises RunError where that cannot be written.
    """
    paths = [directory / f"{NAME}.json"]
    workdir.write(paths[0], dict(result))
    if len(result["rows"][0]["scores"]) > 1 and len(result["rows"]) > 1:
        paths.append(directory / f"{NAME}.png")
        workdir.write_bytes(paths[1], curve(result))
    return paths


def curve(result: Mapping[str, Any]) -> bytes:
    """Returns a PNG of a result's first two scores against each other, each point with its truncation."""
    one, other = list(result["rows"][0]["scores"])[:2]
    points = [(_mean(row["scores"][one]), _mean(row["scores"][other])) for row in result["rows"]]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), marker="o")
    for row, point in zip(result["rows"], points, strict=True):
        axes.annotate(_named(row), point, textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set(xlabel=one, ylabel=other)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _mean(score: Mapping[str, Any]) -> float:
    return statistics.fmean(score["value"])


def _named(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value:g}" for name, value in row.items() if name != "scores") or "as they are"
