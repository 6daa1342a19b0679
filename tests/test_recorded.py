"""Configs as runs record them: read with the defaults of what is younger, and compared."""

import copy

import pytest

from experiments import gans
from igan import recorded
from igan.config import default
from tests.test_config import fields, put


def test_completed_configs_have_the_defaults_of_what_they_lack_and_keep_what_is_unknown() -> None:
    whole = recorded.plain(default())
    found = {
        "networks": {"name": "fully_connected", "generator_layers": [7]},
        "generator": {"steps": 3},
        "techniques": {"mine": {"enabled": True}, "label_smoothing": {"enabled": True}},
        "newer": {"field": 1},
        "data": 5,
    }
    complete = recorded.completed(found)
    assert complete["networks"] == whole["networks"] | {"generator_layers": [7]}
    assert complete["generator"] == whole["generator"] | {"steps": 3}
    smoothing = whole["techniques"]["label_smoothing"] | {"enabled": True}
    own = {"mine": {"enabled": True}, "label_smoothing": smoothing}
    assert complete["techniques"] == whole["techniques"] | own
    assert (complete["newer"], complete["data"]) == ({"field": 1}, 5)
    assert recorded.completed({"networks": {"name": "unheard_of"}})["networks"] == {"name": "unheard_of"}


def test_changed_names_every_difference() -> None:
    before = {"seed": 1, "data": {"name": "mnist", "dir": ""}, "gone": 3}
    after = {"seed": 2, "data": {"name": "cifar10", "dir": ""}, "new": {"x": 1}}
    assert recorded.changed(before, after) == [
        "data.name: was 'mnist', now 'cifar10'",
        "gone: was 3, now None",
        "new: was None, now {'x': 1}",
        "seed: was 1, now 2",
    ]


@pytest.mark.parametrize("field", recorded.MAY_CHANGE)
def test_what_only_changes_how_long_or_what_is_shown_may_change(field: str) -> None:
    before, after = default().to_dict(), default().to_dict()
    *sections, name = field.split(".")
    for section in sections:
        after = after[section]
    after[name] = {"interval": 7} if isinstance(after[name], dict) else 7
    assert recorded.changed(before, after if not sections else before | {sections[0]: after}) == []


def test_every_other_field_may_not_change() -> None:
    config = default()
    for field in fields(config):
        other = default()
        put(other, field, "changed")
        may = any(field == each or field.startswith(f"{each}.") for each in recorded.MAY_CHANGE)
        differences = recorded.changed(config.to_dict(), other.to_dict())
        assert (differences == []) == may
        assert may or differences[0].startswith(f"{field}: was ")


def test_runs_from_before_there_was_a_ramp_are_opened():
    plain = recorded.plain(gans.get_config("r3"))
    old = copy.deepcopy(plain)
    old["techniques"]["r1"]["ramp"] = old["techniques"]["r2"]["ramp"] = 0
    assert recorded.completed(old) == plain and old["techniques"]["r1"]["ramp"] == 0
