"""Reading what a run has logged while it trained: series of test errors, losses, and scores of one protocol each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igan.reporting.lenient_json import numbers

LOGGED = "as logged during training, no protocol recorded"
CURVES = ("test_errors", "test_errors_raw")
SCORE_PREFIX = "scores/"
CURVE_PREFIXES = (SCORE_PREFIX, "d/", "g/", "balance/")

Series = tuple[tuple[int, tuple[float, ...]], ...]  # (step, values), in order; a value per replica, or their mean.


def _protocol(line: dict[str, Any], name: str) -> str | None:
    """Returns the protocol of a score in a line of metrics; None of what is no score."""
    if not name.startswith(SCORE_PREFIX):
        return None
    scores = line.get("scores")
    entry = scores.get(name.removeprefix(SCORE_PREFIX)) if isinstance(scores, dict) else None
    return str((isinstance(entry, dict) and entry.get("protocol")) or LOGGED)


def curve_protocols(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Returns the newest protocol of each score that was logged."""
    return {name: protocol for line in lines for name in line if (protocol := _protocol(line, name))}


def read_curves(
    workdir: Path, lines: Sequence[dict[str, Any]], protocols: dict[str, str], warnings: list[str]
) -> dict[str, Series]:
    """Returns the series of `CURVES`, of losses, and of each score by its one protocol of `protocols`.

    What is damaged, or by another protocol, is left out and named in `warnings`.
    """
    curves: dict[str, dict[int, tuple[float, ...]]] = {}
    absurd: dict[str, str] = {}
    for line in lines:
        for name, value in line.items():
            if (protocol := _protocol(line, name)) != protocols.get(name):
                absurd.setdefault(name, f"{name} by another protocol than its newest value ({protocol})")
            elif name in CURVES or name.startswith(CURVE_PREFIXES):
                items = value if isinstance(value, list) else [value]
                if None in items:
                    continue  # A null stands for a number that is not finite: nothing to draw there.
                try:
                    values = numbers({name: items}, name)
                except ValueError as error:
                    absurd.setdefault(name, f"{error}, at update {line['step']:,}")
                    continue
                if values:
                    curves.setdefault(name, {})[line["step"]] = values
    warnings += [f"{workdir}/metrics.jsonl: {reason}: left out." for reason in absurd.values()]
    return {name: tuple(sorted(by_step.items())) for name, by_step in curves.items()}
