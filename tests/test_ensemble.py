"""Ensembles of runs: their errors are those of the runs' summaries, and what cannot be one is refused in a line."""

import json
from pathlib import Path

import numpy as np
import pytest

from igan import ensemble
from igan.ensemble import Member, main
from igan.run import train
from tests.conftest import small_game


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of two games and a run of one, on the same images."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, replicas in (("two", 1, 2), ("one", 7, 1)):
        config = small_game()
        config.seed, config.replicas, config.epochs, config.steps_per_chunk = seed, replicas, 1, 125
        train.run(config, folder / name)
    return folder / "two", folder / "one"


def test_members_err_as_their_summaries_say(runs, capsys):
    two, one = (json.loads((run / "summary.json").read_text()) for run in runs)
    assert main([*map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = (", ".join(map(str, each["test_errors"])) for each in (two, one))
    assert lines[0] == f"{runs[0]}: {first} errors of 1,000 at update {two['steps']}"
    assert lines[1].startswith(f"{runs[1]}: {second} errors of 1,000")
    each = [*two["test_errors"], *one["test_errors"]]
    assert f"mean of 3 games ± sample standard deviation: {np.mean(each):.1f} ± {np.std(each, ddof=1):.1f}" == lines[2]


def test_a_run_alone_is_the_ensemble_of_its_replicas(runs, capsys):
    assert main([str(runs[0])]) == 0
    expected = json.loads((runs[0] / "summary.json").read_text())["ensemble_errors"]
    assert capsys.readouterr().out.splitlines()[-1] == f"their ensemble: {expected} errors of 1,000"


def test_images_that_are_not_those_of_the_run_are_refused(runs, tmp_path, capsys):
    config = json.loads((runs[1] / "config.json").read_text())
    assert config["data"]["fingerprint"]
    config["data"]["fingerprint"] = "another"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main([str(tmp_path)]) == 2
    assert "are not those that this run began with" in capsys.readouterr().err


def member(*probabilities, data="digits") -> Member:
    """A run whose games give class 1 these probabilities of three images, which are all of class 1."""
    ones = np.array(probabilities)
    return Member(5, np.stack([1 - ones, ones], axis=-1), np.ones(3, np.int32), data)


def test_probabilities_are_averaged_over_all_games_and_not_votes(monkeypatch, capsys):
    """By hand: (0.4 + 0.4 + 0.9) / 3 = 0.57 of the first image, which two of three get wrong; 0.37 of the last."""
    members = [member([0.4, 0.6, 0.1], [0.4, 0.6, 0.1]), member([0.9, 0.7, 0.9])]
    monkeypatch.setattr(ensemble, "tested", lambda *_: members.pop(0))
    assert main(["a", "b"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a: 2, 2 errors of 3 at update 5",
        "b: 0 errors of 3 at update 5",
        "mean of 3 games ± sample standard deviation: 1.3 ± 1.2",
        "their ensemble: 1 errors of 3",
    ]


def test_what_was_tested_on_other_images_is_refused(monkeypatch, capsys):
    members = [member([0.4, 0.6, 0.1]), member([0.4, 0.6, 0.1], data="others")]
    monkeypatch.setattr(ensemble, "tested", lambda *_: members.pop(0))
    assert main(["a", "b"]) == 2
    assert "b was tested on other images than a" in capsys.readouterr().err


def test_what_is_no_run_or_no_classifier_is_refused(tmp_path, capsys):
    config = small_game()
    for name in ("semi_supervised", "minimax", "feature_matching"):
        config.techniques[name].enabled = False
    config.techniques.non_saturating.enabled = True
    config.epochs = 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    for name, words in (("run", "has no test errors"), ("nothing", "nothing")):
        assert main([str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
