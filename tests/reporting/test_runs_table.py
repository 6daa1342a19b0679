"""Each run's date, speed, and its best value beside the last one."""

import json
import os
from datetime import datetime

from igan.reporting.runs import read_run
from igan.reporting.runs_table import runs_table

from .synthetic import make_run


def row_of(workdir):
    table = runs_table([read_run(workdir)[0]])
    return dict(zip(table.header, table.rows[0], strict=True))


def write_lines(workdir, *lines):
    (workdir / "metrics.jsonl").write_text("".join(json.dumps({"epoch": 1.0} | line) + "\n" for line in lines))


def test_best_and_last_errors_are_means_over_replicas_with_their_updates(tmp_path):
    run = make_run(tmp_path / "a", dataset="mnist", errors=[94, 95], labels=100)
    errors = [(300, [99, 99]), (600, [90, 92]), (900, [80, 110]), (1200, [94, 95])]
    write_lines(run, *({"step": step, "test_errors": each} for step, each in errors))
    row = row_of(run)
    assert (row["last"], row["best"]) == ("test errors 94.5 at 1,200", "test errors 91 at 600")


def test_errors_are_per_cent_where_the_tables_have_them_so(tmp_path):
    row = row_of(make_run(tmp_path / "a", dataset="cifar10", errors=[1500], labels=100))
    assert (row["last"], row["best"]) == ("test error 15.00 % at 1,200", "test error 15.00 % at 1,200")


def test_the_best_score_is_the_highest_or_the_lowest(tmp_path):
    run = make_run(tmp_path / "a", dataset="cifar10")
    scores = [(600, {"scores/fid": 20.0, "scores/inception_score": 8.0, "scores/mine": 1.0}),
              (1200, {"scores/fid": 30.0, "scores/inception_score": [7.0, 7.5], "scores/mine": 2.0})]  # fmt: skip
    write_lines(run, *({"step": step} | each for step, each in scores))
    row = row_of(run)
    assert row["last"] == "FID ↓ 30.00 at 1,200; inception score ↑ 7.25 at 1,200"
    assert row["best"] == "FID ↓ 20.00 at 600; inception score ↑ 8.00 at 600"


def test_date_speed_and_version(tmp_path):
    run = make_run(tmp_path / "a", dataset="mnist", errors=[90], labels=100)
    noon = datetime(2026, 5, 4, 12, 30)
    os.utime(run / "metrics.jsonl", (noon.timestamp(), noon.timestamp()))
    os.utime(run / "summary.json", (0, 0))
    row = row_of(run)
    assert (row["date"], row["updates/s"], row["igan"]) == ("2026-05-04 12:30", "60", "0.1.0")


def test_what_a_run_does_not_tell_is_a_dash(tmp_path):
    run = make_run(tmp_path / "a", summary=False)
    write_lines(run, {"step": 600})
    row = row_of(run)
    assert {row[name] for name in ("last", "best", "time", "updates/s", "igan")} == {"-"}
