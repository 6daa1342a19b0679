"""Scores while a run trains, and of its checkpoints afterwards: what is written down, and that nothing is lost."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from igan import evaluate, sample
from igan.errors import RunError, UserError
from igan.metrics.classifier_score import from_function
from igan.reporting.runs import read_run
from igan.run import scoring, train
from igan.run.checkpoint import Checkpoints

BRIGHTNESS = from_function("brightness", lambda images: images.mean(axis=(1, 2))[:, :1] * jnp.arange(3.0))


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(scoring.image_classifier, "load", lambda name, images, labels: BRIGHTNESS)


@pytest.fixture
def config(small) -> ConfigDict:
    small.epochs = 1
    small.data.source = "embedded"
    small.batch_size = 80  # 50 updates.
    small.evaluation.interval = 20
    small.evaluation.scores = ("classifier_score",)
    small.evaluation.scores_interval = 20
    small.evaluation.images = 30
    small.checkpoint.interval = 30
    small.reporting.samples = 4
    return small


def scripted(monkeypatch, values: dict[int, float], events: dict[int, Any] | None = None) -> None:
    """Has the scorer give these values by step, after doing what is planned for a step once."""
    events = dict(events or {})

    def score(state: Any, is_stopping: Any, agree: Any = lambda: None) -> dict[str, Any]:
        step = int(state.step)
        if step in events:
            events.pop(step)()
            agree()
        if is_stopping():
            raise scoring.StoppedError
        return {"fid": {"value": [values[step]], "std": None, "protocol": "scripted"}}

    monkeypatch.setattr(scoring, "make", lambda config, built, options=None: score)


def score_lines(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name != "seconds"} for line in lines if "scores" in line]


def test_scores_are_written_down_and_evaluate_finds_the_same(config, tmp_path, capsys):
    folder = tmp_path / "run"
    summary = train.run(config, folder)
    lines = score_lines(folder)
    assert [line["step"] for line in lines] == [20, 40, 50]
    assert lines[-1]["scores"] == summary["scores"] and summary["scores_step"] == 50
    assert lines[-1]["scores/classifier_score"] == summary["scores"]["classifier_score"]["value"]
    assert "30 images in order" in summary["scores"]["classifier_score"]["protocol"]
    run, warnings = read_run(folder)
    assert not warnings and run.scores["classifier_score"].values == tuple(lines[-1]["scores/classifier_score"])
    assert run.scores["classifier_score"].std == lines[-1]["scores"]["classifier_score"]["std"][0]

    capsys.readouterr()
    assert evaluate.main([f"--workdir={folder}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step"] == 50 and found["test_errors"] == summary["test_errors"]
    assert found["test_errors_raw"] == summary["test_errors_raw"]
    assert found["scores"] == summary["scores"]

    assert evaluate.main([f"--workdir={folder}", "--images=40"]) == 0
    printed = capsys.readouterr().out
    assert f"test errors of 1,000 (averaged parameters): {summary['test_errors']}" in printed
    assert "40 images in order, 10 splits; classifier brightness" in printed
    added = json.loads((folder / "summary.json").read_text())
    assert "40 images" in added["scores"]["classifier_score"]["protocol"]
    assert {name: added[name] for name in added if name != "scores"} == {
        name: summary[name] for name in summary if name != "scores"
    }

    again = train.run(config, folder)  # As a sweep does with what is finished.
    assert again["scores"] == added["scores"] and again["scores_step"] == 50


def test_a_run_of_many_devices_can_be_looked_at_on_few(config, tmp_path, capsys):
    folder = tmp_path / "run"
    summary = train.run(config, folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | {"devices": 99}))
    capsys.readouterr()
    assert evaluate.main([f"--workdir={folder}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_errors"] == summary["test_errors"]


def test_scores_are_printed_where_they_cannot_be_written_down(config, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    train.run(config, folder)
    capsys.readouterr()

    def refuse(path, content):
        raise RunError(f"could not write {path}: Permission denied")

    monkeypatch.setattr(evaluate.workdir, "write", refuse)
    assert evaluate.main([f"--workdir={folder}"]) == 0
    out, error = capsys.readouterr()
    assert "classifier_score: " in out and "note: not written down: could not write" in error


def test_the_best_checkpoint_is_kept(config, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    scripted(monkeypatch, {20: 30.0, 40: 10.0, 50: 20.0})
    summary = train.run(config, folder)
    assert [line["is_best"] for line in score_lines(folder)] == [True, True, False]  # Of a distance, less is better.
    assert summary["scores"]["fid"]["value"] == [20.0] and summary["best_scores"]["fid"]["value"] == [10.0]
    assert summary["best_scores_step"] == 40
    with Checkpoints(folder / "best", 2, read_only=True) as best:
        assert best.steps()[-1] == 40
    assert evaluate.main([f"--workdir={folder}", "--best"]) == 0
    out, error = capsys.readouterr()
    assert "at update 40" in out and "fid: 10 (scripted)" in out
    assert "not written down" in error and json.loads((folder / "summary.json").read_text()) == summary


def test_hosts_agree_on_a_stop_during_a_scoring_too(config, tmp_path, monkeypatch):
    """In turns that go on where those of the updates are, as JAX wants them: one number, one place in the run."""
    turns: list[int] = []

    def agree(received: list[str], turn: int) -> None:
        turns.append(turn)
        received += ["SIGTERM"] * scoring_now.count(True)

    scoring_now: list[bool] = []
    scripted(monkeypatch, {20: 30.0}, {20: lambda: scoring_now.append(True)})
    monkeypatch.setattr(train.signals, "agree", agree)
    summary = train.run(config, tmp_path / "run")
    assert (summary["steps"], summary["finished"]) == (20, False)
    assert score_lines(tmp_path / "run") == [] and turns == list(range(len(turns))) and len(turns) > 2


@pytest.mark.long("three runs")
def test_a_run_stopped_while_it_is_scored_scores_again(config, tmp_path, monkeypatch):
    values = {20: 30.0, 40: 10.0, 50: 20.0}
    scripted(monkeypatch, values)
    train.run(config, tmp_path / "whole")
    for step, before in ((40, 20), (50, 40)):
        scripted(monkeypatch, values, {step: lambda: os.kill(os.getpid(), signal.SIGTERM)})
        stopped = train.run(config, tmp_path / "parts")
        # Not finished either where only the scores of the last update are missing: a sweep goes on with it.
        assert stopped["steps"] == step and not stopped["finished"] and stopped["scores_step"] == before
    scripted(monkeypatch, values)
    assert train.run(config, tmp_path / "parts")["finished"]
    assert score_lines(tmp_path / "parts") == score_lines(tmp_path / "whole")


def test_what_cannot_be_scored_costs_nothing_else(config, tmp_path, monkeypatch, capsys):
    def fail() -> None:
        raise UserError("the generator's images are not finite")

    scripted(monkeypatch, {20: 30.0, 50: 20.0}, {40: fail})
    summary = train.run(config, tmp_path / "run")
    assert summary["finished"] and [line["step"] for line in score_lines(tmp_path / "run")] == [20, 50]
    assert "no scores at update 40: the generator's images are not finite" in capsys.readouterr().out


def test_a_finished_run_is_scored_when_asked_to_later(config, tmp_path, monkeypatch):
    config.evaluation.scores = ()
    assert "scores" not in train.run(config, tmp_path / "run")
    config.evaluation.scores = ("fid",)
    scripted(monkeypatch, {50: 20.0})
    assert train.run(config, tmp_path / "run")["scores"]["fid"]["value"] == [20.0]
    scripted(monkeypatch, {})  # Asking it for scores would be an error.
    assert train.run(config, tmp_path / "run")["scores"]["fid"]["value"] == [20.0]


def test_mistakes_are_one_line(config, tmp_path, capsys):
    def error(*arguments: str) -> str:
        assert evaluate.main(list(arguments)) == 2
        lines = capsys.readouterr().err.splitlines()
        return lines[-1]

    assert "holds no run" in error(f"--workdir={tmp_path / 'nothing'}")
    config.evaluation.scores = ()
    train.run(config, tmp_path / "run")
    capsys.readouterr()
    run = f"--workdir={tmp_path / 'run'}"
    assert "Did you mean 'kid'?" in error(run, "--scores=kdi")
    assert "there is no checkpoint in" in error(run, "--best")
    assert "--images=1 is too few: expected at least 2" in error(run, "--scores=classifier_score", "--images=1")
    assert "--reference_images=-1 is too few" in error(run, "--reference_images=-1")
    assert error(run, "--scores=fid").endswith("or give a file with --inception_weights")
    assert "expected at most 10000000: set --images=" in error(run, "--images=10000001")
    (tmp_path / "empty").mkdir()
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    written["evaluation"]["best"] = "fid"  # Without scores: a run of an older igan.
    (tmp_path / "run" / "config.json").write_text(json.dumps(written))
    assert evaluate.main([run]) == 0 and sample.main([run, "--count=1"]) == 0
    written["data"] |= {"name": "cifar10", "source": "tfds"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(written))
    assert "name a directory that holds it with --data_dir" in error(run, f"--data_dir={tmp_path / 'empty'}")
    assert sample.main([run, f"--data_dir={tmp_path / 'nowhere'}"]) == 2
    assert "nowhere does not exist: correct --data_dir" in capsys.readouterr().err
    (tmp_path / "run" / "config.json").write_text("{")
    assert "is not the config of a run" in error(run)
