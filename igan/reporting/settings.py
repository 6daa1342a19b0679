"""The settings of runs: which of them decide its numbers, in which of them runs differ, and how they are written."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from igan.recorded import MAY_CHANGE

# Repetitions differ in these alone. Experiment and variant tell groups apart by themselves, and so does the number of
# labels, which is labels_per_class for all classes together.
NO_SETTINGS = (*MAY_CHANGE, "seed", "replicas", "experiment", "variant", "labels_per_class")
SEMI_SUPERVISED = "techniques.semi_supervised.enabled"
TEST_EXAMPLES = "test_examples"  # No field of a config, but of those runs that were tested.

Settings = Mapping[str, Any]


class Unset:
    """What a config says of a field that only a newer igan, or somebody's own technique, knows; equal to no value."""

    def __repr__(self) -> str:
        return "unset"


UNSET = Unset()


@dataclass(frozen=True)
class Described:
    """The settings of a group, with what explains them to somebody who reads its experiment, variant and labels."""

    settings: Settings
    defaults: Settings | None  # The settings of its experiment and variant as they are; None where nobody knows them.
    is_labeled: bool

    def explains(self, name: str) -> bool:
        """Returns whether a setting is what its reader expects."""
        value = canonical(value_of(self.settings, name))
        if name == SEMI_SUPERVISED and value == canonical(self.is_labeled):
            return True
        return self.defaults is not None and value == canonical(value_of(self.defaults, name))


def decisive(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those fields of a config, flat and completed, that decide a run's numbers.

    A technique that is switched off decides nothing and is left out, so that it equals one that a run does not know.

    >>> decisive({"seed": 2, "batch_size": 100, "techniques.mine.enabled": False, "techniques.mine.strength": 3.0})
    {'batch_size': 100}
    """
    found = {name: value for name, value in fields.items() if not is_part_of(name, NO_SETTINGS) and acts(name, fields)}
    shares = [fields.get(f"{player}.constant_share") for player in ("discriminator", "generator")]
    if any(isinstance(share, int | float) and share < 1 for share in shares):
        found["epochs"] = fields.get("epochs")  # Which the learning rate follows.
    return found


def is_part_of(name: str, fields: Sequence[str]) -> bool:
    """Returns whether a field is one of some fields, or within one of some sections.

    >>> is_part_of("evaluation.scores", ["seed", "evaluation"])
    True
    """
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def value_of(settings: Settings, name: str) -> Any:
    """Returns a setting; where it is absent, False for a technique, which is then switched off, else `UNSET`.

    >>> value_of({}, "techniques.mine.enabled"), value_of({}, "techniques.mine.strength")
    (False, unset)
    """
    return settings.get(name, False if is_switch(name) else UNSET)


def differing(described: Sequence[Settings]) -> list[str]:
    """Returns the names of the settings that are not the same everywhere, in alphabetical order.

    >>> differing([{"batch_size": 100, "seed": 1}, {"batch_size": 50, "seed": 1.0}])
    ['batch_size']
    """
    names = sorted(set().union(*described))
    return [
        name for name in names if len({canonical(value_of(each, name)) for each in _that_have(name, described)}) > 1
    ]


def names_of(described: Sequence[Described]) -> list[str]:
    """Returns for each group what must be said to tell it from the others: every difference but those explained.

    A field is named for all groups, as soon as one of them has it otherwise than its experiment and variant do.

    >>> wide, narrow = ({"networks.layers": widths, "batch_size": 100} for widths in ([500, 500], [100]))
    >>> names_of([Described(wide, None, True), Described(narrow, None, True)])
    ['layers=(500, 500)', 'layers=(100,)']
    """
    fields = [
        name
        for name in differing([each.settings for each in described])
        if not all(each.explains(name) for each in described if _that_have(name, [each.settings]))
    ]
    short = short_names(fields)
    return [
        ", ".join(
            f"{short[name]}={value_text(value_of(each.settings, name))}"
            for name in fields
            if _that_have(name, [each.settings])
        )
        for each in described
    ]


def short_names(fields: Sequence[str]) -> dict[str, str]:
    """Returns the names of fields without the sections that go without saying.

    >>> short_names(["techniques.minimax.enabled", "networks.noise", "networks.name"])
    {'techniques.minimax.enabled': 'minimax.enabled', 'networks.noise': 'noise', 'networks.name': 'networks.name'}
    """
    short = {name: re.sub(r"^(techniques|networks)\.(?!name$)", "", name) for name in fields}
    taken = [*fields, *short.values()]
    return {name: text if name == text or taken.count(text) == 1 else name for name, text in short.items()}


def value_text(value: Any) -> str:
    """Returns a value so that two texts are the same only where the values are.

    >>> value_text(0.5), value_text("absolute"), value_text("0.5"), value_text([500, 500])
    ('0.5', 'absolute', "'0.5'", '(500, 500)')
    """
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_repr, value))}{',' if len(value) == 1 else ''})"
    is_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./:+-]*", value, re.ASCII)
    return value if is_word and value not in ("True", "False", "None", "nan", "inf", "unset") else _repr(value)


def canonical(value: Any) -> str:
    """Returns the same text for the same value, which JSON may have written in two ways.

    >>> canonical(1.0) == canonical(1) != canonical(True)
    True
    """
    # Flat fields are no objects, so that one stands for the field that is not there.
    return json.dumps(_with_whole_numbers(value), sort_keys=True, default=lambda unset: {repr(unset): True})


def _repr(value: Any) -> str:
    if isinstance(value, list | tuple):
        return value_text(value)
    return repr(_with_whole_numbers(value))


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list | tuple):
        return [_with_whole_numbers(item) for item in value]
    return value


def _technique_of(name: str) -> str | None:
    section, _, rest = name.partition(".")
    return rest.partition(".")[0] if section == "techniques" and "." in rest else None


def is_switch(name: str) -> bool:
    """Returns whether a field switches a technique on and off.

    >>> is_switch("techniques.minimax.enabled")
    True
    """
    return name == f"techniques.{_technique_of(name)}.enabled"


def acts(name: str, fields: Mapping[str, Any]) -> bool:
    """Returns whether a field does anything: not so the hyper-parameters of a technique that is switched off.

    >>> acts("techniques.mine.strength", {"techniques.mine.enabled": False, "techniques.mine.strength": 3.0})
    False
    """
    technique = _technique_of(name)
    return technique is None or bool(fields.get(f"techniques.{technique}.enabled"))


def _that_have(name: str, described: Sequence[Settings]) -> list[Settings]:
    """Returns the settings that can have a field: a technique that is switched off has no hyper-parameters."""
    technique = _technique_of(name)
    if name == TEST_EXAMPLES:
        return [each for each in described if name in each]
    if technique is None or is_switch(name):
        return list(described)
    return [each for each in described if f"techniques.{technique}.enabled" in each]
