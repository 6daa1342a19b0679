"""A study's statistics as JSON and as CSV files."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from igan.annotation.answers import Attendance
from igan.annotation.estimates import Estimate
from igan.annotation.mixed import Mixed
from igan.annotation.summary import Summary, verdict
from igan.annotation.tables import arm_name
from igan.reporting.lenient_json import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # What a spreadsheet takes for the beginning of a formula.

Row = Sequence[Any]


def as_json(
    summary: Summary,
    options: Mapping[str, Any],
    warnings: Sequence[str] = (),
    mixed: Mixed | None = None,
    attendance: Attendance | None = None,
) -> dict[str, Any]:
    """Returns what `results --json` prints: the names that others may rely on come first.

    `accuracy` is the mean over persons and `interval` is over persons; `wilson` takes all answers for independent.
    An interval is [low, high], null where there is none.
    """
    accuracy, pooled, dprime, agreement = summary.accuracy, summary.pooled, summary.dprime, summary.agreement
    return _plain(
        {
            "accuracy": accuracy and accuracy.mean,
            "interval": accuracy and _interval(accuracy),
            "wilson": pooled and [pooled.low, pooled.high],
            "by_generator": {each.name: each._asdict() for each in summary.generators},
            "by_feedback": {("with" if arm.feedback else "without"): arm._asdict() for arm in summary.arms}
            | {"effect": summary.effect},
            "dprime": dprime and dprime.mean,
            "alpha": agreement and agreement.alpha,
            "excluded": summary.excluded,
            "verdict": verdict(summary),
            "test": summary.test,
            "people": {"answered": summary.answered, "kept": len(summary.people), "planned": summary.design.people}
            | _came(attendance),
            "span": attendance and [_time(attendance.first), _time(attendance.last)],
            "answers": summary.answers,
            "pooled": pooled,
            "two_way": summary.two_way,
            "balanced": summary.balanced,
            "spread": summary.spread,
            "single": summary.single,
            "dprime_interval": dprime and _interval(dprime),
            "criterion": summary.criterion,
            "hit_rate": summary.hit_rate,
            "false_alarm_rate": summary.false_alarm_rate,
            "comparisons": summary.comparisons,
            "by_position": summary.curve,
            "agreement": agreement,
            "mixed": mixed,
            "seconds": summary.seconds,
            "exposure": summary.exposure,
            "checks": {"answered": summary.checks, "failed": summary.checks_failed},
            "rules": summary.rules,
            "by_rules": summary.variants,
            "warnings": list(warnings),
            "options": dict(options),
        }
    )


def _came(attendance: Attendance | None) -> dict[str, int]:
    names = ("began", "never_answered", "declined", "deleted")
    return {name: getattr(attendance, name) for name in names} if attendance else {}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _interval(value: Estimate) -> list[float] | None:
    return None if value.low is None or value.high is None else [value.low, value.high]


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor tuples with names."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def estimates_rows(summary: Summary) -> Iterator[Row]:
    """Yields a row an estimate over persons."""
    yield "quantity", "group", "mean", "low", "high", "people"
    overall = {
        "accuracy": summary.accuracy,
        "hit_rate": summary.hit_rate,
        "false_alarm_rate": summary.false_alarm_rate,
        "dprime": summary.dprime,
        "criterion": summary.criterion,
        "seconds": summary.seconds,
        "exposure": summary.exposure,
    }
    found = [(name, "all people", value) for name, value in overall.items()]
    for arm in summary.arms:
        told = arm_name(arm.feedback)
        found += [(name, told, getattr(arm, name)) for name in ("accuracy", "dprime", "learning")]
    for each in summary.generators:
        found += [(name, each.name, getattr(each, name)) for name in ("recognised", "balanced", "dprime")]
    found += [
        ("accuracy", f"{arm_name(block.feedback)}, positions {block.first} to {block.last}", block.accuracy)
        for block in summary.curve
    ]
    for quantity, group, value in found:
        if value is not None:
            yield quantity, group, value.mean, value.low, value.high, value.count


def people_rows(summary: Summary) -> Iterator[Row]:
    """Yields a row a person, with those left out at the end."""
    names = ("answers", "accuracy", "hit_rate", "false_alarm_rate", "dprime", "criterion", "seconds", "same_answer")
    yield "person", "feedback", *names, "excluded"
    for each in summary.people:
        yield each.name, int(each.feedback), *(getattr(each, name) for name in names), ""
    for left_out in summary.excluded:
        yield left_out.person, "", left_out.answers, *[""] * (len(names) - 1), left_out.reason


def images_rows(summary: Summary) -> Iterator[Row]:
    """Yields a row an image."""
    yield "image", "generator", "real", "answers", "said_real", "low", "high"
    for each in summary.images:
        yield each.hash, each.generator, int(each.real), each.answers, each.said_real, each.low, each.high


def write_options(path: Path, options: Mapping[str, Any]) -> None:
    """Writes a study's options as JSON, for the files beside them."""
    text = json.dumps(_plain(dict(options)), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(printable(text) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as a CSV file of UTF-8."""
    path.write_text(csv_text(rows), encoding="utf-8", newline="")


def csv_text(rows: Iterable[Row]) -> str:
    """Returns rows as CSV; text that a spreadsheet would run as a formula begins with an apostrophe.

    >>> csv_text([("=1+1", -0.5, None)])
    "'=1+1,-0.5,\\n"
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        text = printable(value).replace("\x00", "")
        return f"'{text}" if text.startswith(FORMULA) else text
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
