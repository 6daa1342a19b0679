"""Whether the fields of a run's config have the types of their defaults, as a file may hold anything."""

from collections.abc import Mapping
from typing import Any

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "fields"}


def mismatch(found: Any, default: Any, field: str = "") -> str:
    """Returns what is wrong with the first field of another type than its default, or "" where all are right.

    A whole number may stand for any number, a default of None for anything. Fields without a default are not looked
    at: they are younger or older than this program.

    Args:
      found: what a JSON file holds: a value, or fields by name.
      default: the same of the defaults.
      field: the name of the field, with its sections.

    >>> mismatch({"seed": 1, "data": {"name": 5}}, {"seed": 0, "data": {"name": "mnist"}})
    'data.name is 5, expected a text'
    """
    if default is None:
        return ""
    kind = type(default)
    if type(found) is not kind and not (kind is float and type(found) is int):
        return f"{field} is {_shown(found)}, expected {KINDS[kind]}"
    inner: Mapping[Any, Any] = {}
    if isinstance(default, dict) and isinstance(found, dict):
        inner = {name: (found[name], default[name], name) for name in default if name in found}
    elif isinstance(default, list) and isinstance(found, list) and default:  # All of its values are of one kind.
        inner = {number: (value, default[0], f"[{number}]") for number, value in enumerate(found)}
    prefix = f"{field}." if field and isinstance(default, dict) else field
    return next(filter(None, (mismatch(value, other, prefix + name) for value, other, name in inner.values())), "")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
