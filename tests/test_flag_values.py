"""What a value on the command line becomes in the config, by the real parser: of several the last, lists included."""

import sys

import pytest

from tests.command import EXPERIMENT, REPOSITORY, SMALL, Command

LAYERS = "--config.networks.discriminator_layers"
GENERATOR = "--config.networks.generator_layers"
SCORES = "--config.evaluation.scores"


def trained(command: Command, field: str, *arguments: str) -> list[str]:
    """Returns the lines that --dry_run prints for a field."""
    outcome = command(EXPERIMENT, *SMALL, *arguments, "--dry_run")
    assert outcome.code == 0, outcome.error
    lines = outcome.out.splitlines()
    places = [number for number, line in enumerate(lines) if line.strip().startswith(f"{field}:")]
    start = min(places, key=lambda number: len(lines[number]) - len(lines[number].lstrip()))
    found = [lines[start].partition(":")[2].strip()]
    for line in lines[start + 1 :]:
        if not line.strip().startswith("- "):
            break
        found.append(line.strip()[2:])
    return [each for each in found if each and not each.startswith("!!python/tuple")]


@pytest.mark.parametrize(
    ("flag", "values", "expected"),
    [
        (LAYERS, ["(32,16)", "(8,)"], ["8"]),
        (GENERATOR, ["(32,16)", "()"], []),
        (LAYERS, ["()", "(32,16)", "7"], ["7"]),
        (GENERATOR, ["()"], []),
        (LAYERS, ["[9, 8]"], ["9", "8"]),
        (SCORES, ["classifier_score", "('classifier_score','classifier_score')"], ["classifier_score"] * 2),
        (SCORES, ["('fid','kid')", "classifier_score"], ["classifier_score"]),
        ("--config.epochs", ["7", "5"], ["5"]),
        ("--config.average_rate", ["0.5", "0.25"], ["0.25"]),
        ("--config.deterministic", ["True", "False"], ["false"]),
        ("--config.variant", ["a", "b"], ["b"]),
    ],
)
def test_the_last_value_of_a_field_wins(command: Command, flag: str, values: list[str], expected: list[str]) -> None:
    assert trained(command, flag.rpartition(".")[2], *(f"{flag}={value}" for value in values)) == expected


def test_also_where_the_value_follows_a_space(command: Command) -> None:
    assert trained(command, "discriminator_layers", LAYERS, "(32,16)", LAYERS, "(8,)") == ["8"]


def test_also_what_follows_two_dashes_of_a_sweep(command: Command, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "launch"))
    import sweep

    line = [EXPERIMENT, "--workdir=w", f"{LAYERS}=(32,16),(9,)", "--", f"{LAYERS}=(8,)"]
    for member in sweep.parse(line)[1]:
        assert member.command()[:3] == [sys.executable, "-m", "igan.main"]
        experiment, *flags = member.flags
        assert experiment == EXPERIMENT and trained(command, "discriminator_layers", *flags) == ["8"]
