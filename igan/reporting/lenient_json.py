"""Reading JSON that a person or a crash may have touched: what is wrong is said in words, never in a traceback."""

import json
from pathlib import Path
from typing import Any

LARGEST = 3.4e38  # igan computes in float32: what is larger is no number of a run, and would overflow means and charts.
LARGEST_INTEGER = 2**53


def read_object(path: Path) -> dict[str, Any]:
    """Raises FileNotFoundError, or ValueError for anything else that keeps it from being a JSON object."""
    try:
        content = _printable(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.name} is missing") from error
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not valid JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return content


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the readable lines, and a warning about damaged ones; half a last line is normal while training."""
    try:
        texts = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path} cannot be read: {error.strerror}."]
    lines: list[dict[str, Any]] = []
    damaged: list[int] = []
    for place, text in enumerate(texts, start=1):
        try:
            line = _printable(json.loads(text)) if text.strip() else None
            if line is not None:
                lines.append(line | {"step": integer(line, "step")})
        except (ValueError, TypeError, AttributeError, RecursionError):
            if place < len(texts):
                damaged.append(place)
    if damaged:
        where = f"line {damaged[0]}" + (f" and {len(damaged) - 1} more" if len(damaged) > 1 else "")
        return lines, [f"{path} is damaged at {where}: left out."]
    return lines, []


def printable(text: str) -> str:
    """Returns text that can be written as UTF-8: half a surrogate pair, as in a file's name of other bytes, is spelled.

    >>> printable(b"caf\\xe9".decode(errors="surrogateescape"))
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _printable(content: Any) -> Any:
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, list):
        return [_printable(item) for item in content]
    if isinstance(content, dict):
        return {printable(name): _printable(value) for name, value in content.items()}
    return content


def section(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns an object within an object, empty where there is none: parts that may be absent or older."""
    content = values.get(name)
    return content if isinstance(content, dict) else {}


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the fields of nested objects under dotted names.

    >>> flat({"seed": 1, "data": {"name": "mnist"}})
    {'seed': 1, 'data.name': 'mnist'}
    """
    fields: dict[str, Any] = {}
    for name, value in config.items():
        fields |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return fields


def number(value: Any, name: str) -> float:
    """Raises ValueError, naming the field, for anything but a finite number that a run can have."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{name} is {_short(value)}, expected a number")
    if not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name} is {_short(value)}, expected a number that a float32 can hold")
    return float(value)


def number_or_none(value: Any) -> float | None:
    """Returns a number, or None for anything else: of facts that a report can do without."""
    try:
        return number(value, "")
    except ValueError:
        return None


def integer(values: dict[str, Any], name: str) -> int:
    """Raises ValueError, naming the field, for anything but a whole number that is not negative."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_INTEGER:
        raise ValueError(f"{name} is {_short(value)}, expected a whole number")
    return value


def numbers(values: dict[str, Any], name: str) -> tuple[float, ...]:
    """Returns a list of numbers, empty where the field is absent. Raises ValueError for anything else in it."""
    items = values.get(name) or []
    if not isinstance(items, list):
        raise ValueError(f"{name} is no list")
    return tuple(number(item, name) for item in items)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
