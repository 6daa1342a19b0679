"""A run's config with values of other types: one line that names the field, whatever it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from igan import evaluate, sample
from igan.config import default
from igan.errors import UserError
from igan.recorded import plain
from igan.run import workdir
from igan.run.field_types import mismatch
from tests.command import EXPERIMENT, SMALL, Command, refused
from tests.xla import LONG

FAMILIES = ("fully_connected", "convolutional", "imagenet") if LONG else ("imagenet",)
VALUES: tuple[Any, ...] = ("ten", 3, 2.5, True, None, [1], ["a"], [], {}, {"a": 1})


def fields(config: dict[str, Any], *above: str) -> list[tuple[str, ...]]:
    """Returns the sections and the fields of a config, each with the names of those above it."""
    found: list[tuple[str, ...]] = []
    for name, value in config.items():
        found.append((*above, name))
        if isinstance(value, dict):
            found += fields(value, *above, name)
    return found


def changed(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    section, *rest = path
    return config | {section: changed(config[section], tuple(rest), value) if rest else value}


def write(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_field_has_the_type_of_its_default_or_is_named(tmp_path: Path, family: str) -> None:
    whole = plain(default(family))
    for number, path in enumerate(fields(whole)):
        before: Any = whole
        for name in path:
            before = before[name]
        for value in VALUES:
            config = changed(whole, path, value)
            # By hand: an int may stand for a float, and a dict is looked at further down.
            is_right = type(value) is type(before) or (isinstance(before, float) and type(value) is int)
            if isinstance(before, list) and isinstance(value, list):
                is_right = not before or all(type(each) is type(before[0]) for each in value)
            message = mismatch(config, whole)
            if path != ("networks", "name") and isinstance(value, dict) <= isinstance(before, dict):
                assert (message == "") == is_right, (path, value)
                assert is_right or message.startswith(".".join(path))
            if LONG or number % 5 == VALUES.index(value) % 5:  # Whole configs are checked for a minute.
                assert_loads_or_is_one_line(tmp_path, config)


def assert_loads_or_is_one_line(folder: Path, config: dict[str, Any]) -> None:
    write(folder, config)
    try:
        workdir.load(folder)
    except UserError as error:
        assert "\n" not in str(error) and "--workdir" in str(error)


def test_what_was_written_by_this_program_is_right() -> None:
    for family in FAMILIES:
        assert mismatch(plain(default(family)), plain(default(family))) == ""


def test_fields_of_other_versions_are_left_alone(tmp_path: Path) -> None:
    whole = plain(default())
    del whole["networks"]["latent_size"], whole["techniques"]["minimax"]
    whole["later"], whole["generator"]["later"] = [1], None
    whole["techniques"]["theirs"] = {"enabled": False, "strength": "much"}
    whole["average_rate"], whole["networks"]["later"] = 1, {}
    write(tmp_path, whole)
    found = plain(workdir.load(tmp_path))
    assert found["later"] == [1] and found["techniques"]["theirs"]["strength"] == "much"
    assert found["networks"]["latent_size"] == 100 and found["average_rate"] == 1


DAMAGES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "a text for a number": (("replicas",), "two", "replicas is 'two', expected a whole number"),
    "nothing for a section": (("techniques",), None, "techniques is None, expected fields"),
    "a number for a name": (("networks", "name"), 5, "networks.name is 5, expected a text"),
    "a list for a number": (("generator", "learning_rate"), [1], "generator.learning_rate is [1], expected a number"),
    "a list for a technique": (("techniques", "theirs"), [], "techniques.theirs is [], expected fields"),
    "a text among widths": (("networks", "generator_layers"), [5, "x"], "generator_layers[1] is 'x', expected a whole"),
    "a word for yes or no": (("data", "stream"), "no", "data.stream is 'no', expected true or false"),
}


@pytest.mark.parametrize(("path", "value", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_every_command_refuses_it_with_one_line(command: Command, tmp_path, capsys, path, value, words) -> None:
    write(tmp_path / "run", changed(plain(default()), path, value))
    for main in (sample.main, evaluate.main):
        assert main([f"--workdir={tmp_path / 'run'}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and words in line
    refused(command(EXPERIMENT, *SMALL, "--workdir=run"), words)
