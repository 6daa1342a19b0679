"""Reading work directories: whole, damaged, unfinished."""

import json

import pytest

from igan.errors import UserError
from igan.reporting.runs import LOGGED, Score, load_runs, read_run

from .synthetic import PROTOCOL, make_run, score


def change(path, **fields):
    """Changes fields of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def supervised(workdir, **options):
    return make_run(workdir, dataset="mnist", errors=[90, 93, 99], labels=100, **options)


def test_everything_is_read(tmp_path):
    scores = {"inception_score": score([5.1, 5.3]), "fid": score(20.5, 0.1)}
    workdir = make_run(tmp_path / "a", variant="-ls", errors=[1500], labels=4000, seed=7, scores=scores, samples=True,
                       curve_of_score=("fid", 20.0))  # fmt: skip
    run, warnings = read_run(workdir)
    assert warnings == []
    assert (run.experiment, run.variant, run.dataset, run.labels, run.seed) == ("cifar10", "-ls", "cifar10", 4000, 7)
    assert (run.steps, run.epochs, run.finished, run.replicas, run.seconds) == (1200, 2.0, True, 1, 20.0)
    assert run.scores == {
        "inception_score": Score((5.1, 5.3), None, PROTOCOL),
        "fid": Score((20.5,), 0.1, PROTOCOL),
    }
    assert run.curves["test_errors"] == ((600, (3000.0,)), (1200, (1500.0,)))
    assert set(run.curves) >= {"d/minimax", "g/minimax", "scores/fid"}
    assert run.samples == workdir / "samples" / "step_00001200.png"


def test_runs_without_labels_or_a_test_set_are_runs(tmp_path):
    workdir = make_run(tmp_path / "a", dataset="folder:faces", test_examples=0)
    change(workdir / "summary.json", test_examples=None)
    run, warnings = read_run(workdir)
    assert (run.dataset, run.labels, run.errors, run.test_examples, warnings) == ("folder:faces", None, (), 0, [])


@pytest.mark.parametrize(("classes", "per_class", "labels"), [(100, 4, 400), (None, 4, 40), (10, 0, 0)])
def test_labels_count_all_classes_and_zero_is_all(tmp_path, classes, per_class, labels):
    workdir = supervised(tmp_path / "a")
    change(workdir / "summary.json", classes=classes, labels_per_class=per_class)
    assert read_run(workdir)[0].labels == labels


def test_unfinished_runs_come_from_their_metrics(tmp_path):
    workdir = supervised(tmp_path / "a", summary=False)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1800, "test_err')  # Just being written.
    run, warnings = read_run(workdir)
    assert (run.errors, run.finished, run.steps, run.epochs) == ((90, 93, 99), False, 1200, 2.0)
    assert warnings == [f"{workdir} is unfinished: 1,200 updates so far."]


def test_a_stopped_run_counts_its_own_epochs_and_not_the_planned(tmp_path):
    workdir = supervised(tmp_path / "a", finished=False)
    change(workdir / "summary.json", epochs=300)
    assert read_run(workdir)[0].epochs == 2.0


def test_a_finished_run_that_goes_on_is_unfinished(tmp_path):
    workdir = supervised(tmp_path / "a", scores={"fid": score(20.0)})
    line = {"step": 1800, "epoch": 3.0, "test_errors": [80, 80, 80], "test_examples": 10_000}
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    run, _ = read_run(workdir)
    assert (run.errors, run.finished, run.steps, run.scores) == ((80, 80, 80), False, 1800, {})


def test_scores_logged_while_training_stand_in_without_a_protocol(tmp_path):
    workdir = make_run(tmp_path / "a", curve_of_score=("fid", 20.0), scores={"kid": score(0.1)})
    run, _ = read_run(workdir)
    assert run.scores["fid"].protocol == LOGGED
    assert run.scores["fid"].values == run.curves["scores/fid"][-1][1]
    assert run.scores["kid"] == Score((0.1,), None, PROTOCOL)


@pytest.mark.parametrize(
    "entry", [5.1, {"value": None}, {"value": []}, {"value": [5.1, None]}, {"value": float("nan")}]
)
def test_damaged_scores_are_named_and_the_run_is_kept(tmp_path, entry):
    workdir = make_run(tmp_path / "a", scores={"inception_score": entry, "fid": score(2.0)})
    run, warnings = read_run(workdir)
    assert list(run.scores) == ["fid"]
    assert len(warnings) == 1
    assert "score inception_score in summary.json is damaged" in warnings[0]


def break_summary(workdir):
    (workdir / "summary.json").write_text('{"dataset": "mnist"')


def break_middle_of_metrics(workdir):
    path = workdir / "metrics.jsonl"
    path.write_bytes(b"\xff\x00 not json\n[1]\n" + path.read_bytes())


def lose_test_examples(workdir):
    change(workdir / "summary.json", test_examples=None)
    (workdir / "metrics.jsonl").unlink()


def put_null_among_errors(workdir):
    change(workdir / "summary.json", test_errors=[90, None])


def lose_config(workdir):
    (workdir / "config.json").unlink()


def lose_config_and_summary(workdir):
    (workdir / "summary.json").unlink()
    lose_config(workdir)


def start_only(workdir):
    (workdir / "summary.json").unlink()
    (workdir / "metrics.jsonl").write_text("")


@pytest.mark.parametrize(
    ("damage", "warning", "is_kept"),
    [
        (break_summary, "summary.json is damaged (summary.json is not valid JSON): shown", True),
        (break_middle_of_metrics, "metrics.jsonl is damaged at line 1 and 1 more", True),
        (lose_test_examples, "test_examples is null, expected a whole number", False),
        (put_null_among_errors, "test_errors is null, expected a number", False),
        (lose_config, "config.json is missing: its seed is unknown", True),
        (lose_config_and_summary, "config.json is missing, and there is no summary.json", False),
        (start_only, "metrics.jsonl is missing or empty", False),
    ],
)
def test_damaged_runs_are_named(tmp_path, damage, warning, is_kept):
    supervised(tmp_path / "good")
    broken = supervised(tmp_path / "broken")
    damage(broken)
    runs, warnings = load_runs([tmp_path])
    assert len(runs) == 1 + is_kept
    assert any(warning in text and str(broken) in text for text in warnings)
    if not is_kept:  # Alone it is an error that says the same.
        with pytest.raises(UserError) as error:
            load_runs([broken])
        assert warning in str(error.value)
