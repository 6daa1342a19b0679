"""One damaged or absurd run costs its own line, never the report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from igan import report

from .synthetic import make_run, score

HUGE = "9" * 400


def good(folder):
    for seed in (1, 2):
        make_run(folder / f"good{seed}", dataset="mnist", errors=[90 + seed], labels=100, seed=seed)


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_lines(run, **fields):
    lines = [json.loads(line) | fields for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def replace(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def huge_loss(run):
    change_lines(run, **{"d/minimax": 1e308, "scores/fid": 1e308})


def large_loss(run):
    change_lines(run, **{"d/minimax": 3e38})


def huge_replica(run):
    change_lines(run, test_errors=[1e308, 2])


def huge_error(run):
    change(run / "summary.json", test_errors=[1e308])


def huge_score(run):
    change(run / "summary.json", scores={"fid": score([1e308, 1e308])})


def endless_step(run):
    replace(run / "metrics.jsonl", '"step": 600', f'"step": {HUGE}')


def endless_seconds(run):
    replace(run / "summary.json", '"seconds": 20.0', f'"seconds": {HUGE}')


def no_seconds(run):
    change(run / "summary.json", seconds=0)


def countless_replicas(run):
    change(run / "config.json", replicas=10**15)
    change(run / "summary.json", replicas=10**15, test_errors=[])
    (run / "metrics.jsonl").unlink()


def deep_config(run):
    (run / "config.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)


def deep_metrics(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write("[" * 5000 + "]" * 5000 + "\n")


def half_a_surrogate_pair(run):
    change(run / "config.json", variant="a\ud800b", **{"\udc00": "\udfff"})
    change(run / "summary.json", device="\ud800", data_origin="\ud800", versions={"\ud800": "\ud801"})
    change_lines(run, **{"d/\ud800": 1.0})


def formula(run):
    change(run / "config.json", variant=r"$\frac$ _")
    change_lines(run, **{r"d/$\bad": 1.0, "g/_": 2.0})


def other_script(run):
    change(run / "config.json", variant="变体\x00")


def newer(run):
    change(
        run / "config.json",
        format=7,
        players={"critic": {"steps": [{"of": 1}]}},
        techniques={"semi_supervised": {"enabled": True, "temperature": 0.5}, "own": {"enabled": True}, "odd": 5},
        networks={"name": "unheard_of", "blocks": [{"width": 3}]},
        data={"name": "mnist", "views": None},
    )
    change(run / "summary.json", carbon={"grams": 3}, scores={"fid": score(20.0) | {"interval": [1, 2]}, "new": {}})
    change_lines(run, **{"d/new": {"mean": 1.0}, "critic/loss": 1.0})


def other_types(run):
    change(run / "config.json", techniques=5, networks=[1], generator="x", data={"name": "mnist"}, seed={"a": 1})


@pytest.mark.parametrize(
    "damage",
    [huge_loss, large_loss, huge_replica, huge_error, huge_score, endless_step, endless_seconds, no_seconds,
     countless_replicas, deep_config, deep_metrics, half_a_surrogate_pair, formula, other_script, newer, other_types],
)  # fmt: skip
def test_a_run_costs_its_own_line_and_never_the_report(tmp_path, damage, capsys):
    good(tmp_path / "runs")
    bad = make_run(tmp_path / "runs" / "bad", dataset="mnist", errors=[500], labels=50, seed=3)
    damage(bad)
    assert report.main([str(tmp_path / "runs"), f"--output={tmp_path / 'out'}"]) == 0
    captured = capsys.readouterr()
    assert "91.5 ± 0.7, n = 2" in captured.out
    assert "Traceback" not in captured.err and "Warning" not in captured.err
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "runs/good1" in markdown and "runs/bad" in markdown
    assert "runs/bad" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8").replace("<wbr>", "")
    assert (tmp_path / "out" / "pictures" / "mnist_d_minimax_vs_step.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (huge_loss, "d/minimax is 1e+308, expected a number that a float32 can hold, at update 600: left out."),
        (huge_error, "test_errors is 1e+308, expected a number that a float32 can hold"),
        (huge_score, "score fid in summary.json is damaged (value is 1e+308"),
        (deep_config, "config.json is not valid JSON"),
        (endless_step, "metrics.jsonl is damaged at line 1"),
    ],
)
def test_what_was_left_out_is_said(tmp_path, damage, line):
    good(tmp_path / "runs")
    damage(make_run(tmp_path / "runs" / "bad", dataset="mnist", errors=[500], labels=50, seed=3))
    written = report.write_report([tmp_path / "runs"], tmp_path / "out")
    assert [line in text and "runs/bad" in text for text in written.warnings].count(True) == 1


def test_a_loss_that_is_not_finite_is_no_warning(tmp_path):
    run = make_run(tmp_path / "a", dataset="mnist", errors=[90], labels=100)
    change_lines(run, **{"d/minimax": None, "d/semi_supervised": [1.0, None]})
    assert report.write_report([run], tmp_path / "out").warnings == ()


def test_a_newer_run_is_a_group_of_its_own_and_shown(tmp_path):
    good(tmp_path / "runs")
    newer(make_run(tmp_path / "runs" / "bad", dataset="mnist", errors=[500], labels=50, seed=3))
    report.write_report([tmp_path / "runs"], tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    (table,) = [line for line in markdown.splitlines() if line.startswith("| igan") and "| 500, n = 1" in line]
    for said in ("own.enabled=True", "format=7", "semi_supervised.temperature=0.5", "networks.name=unheard_of"):
        assert said in table


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are no UTF-8")
def test_a_work_directory_whose_name_is_no_text(tmp_path):
    make_run(Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9")), dataset="mnist", errors=[90], labels=100, samples=True)
    command = [sys.executable, "-m", "igan.report", tmp_path, f"--output={tmp_path / 'out'}"]
    environment = {"PYTHONPATH": str(Path(report.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf\\udce9" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_names_of_any_length_are_no_names_of_files(tmp_path):
    """A group is named by all in which it differs, and metrics and folders as people like."""
    folder, wide = tmp_path / "runs", {f"techniques.technique_{number}.enabled": True for number in range(30)}
    make_run(folder / "plain", dataset="mnist", errors=[90], labels=100, samples=True)
    for number in (1, 2):
        make_run(folder / f"{number}{'w' * 200}", dataset="mnist", errors=[91], labels=100, samples=True, settings=wide)
    change_lines(folder / "plain", **{f"d/{'m' * 300}": 1.0, f"d/{'m' * 299}n": 2.0})
    report.write_report([folder], tmp_path / "report")
    pictures = [path.name for path in (tmp_path / "report" / "pictures").iterdir()]
    assert sum("samples" in name for name in pictures) == 3 and sum("mmm" in name for name in pictures) == 2
    assert max(map(len, pictures)) < 143
