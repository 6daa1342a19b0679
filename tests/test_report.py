"""Tables and plots over synthetic runs, with numbers computed by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from igan import report
from igan.reporting.plots import mean_curve
from igan.reporting.tables import format_errors, mean_and_std, pool


def make_run(
    workdir, errors=(90, 93, 99), labels=100, test_examples=10_000, seed=1, steps=1200, finished=True, summary=True
):
    """A work directory with evaluations at half time (twice the errors) and at the end; raw errors are two more."""
    workdir.mkdir(parents=True)
    lines = [{"step": steps // 2, "epoch": steps / 1200, "d/minimax": 0.6, "seconds": 1.0}]
    for step, factor in ((steps // 2, 2), (steps, 1)):
        values = [factor * error for error in errors]
        lines.append(
            {
                "step": step,
                "epoch": step / 600,
                "test_errors": values,
                "test_errors_raw": [value + 2 for value in values],
                "ensemble_errors": min(values) - 4,
                "test_examples": test_examples,
            }
        )
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"seed": seed, "labels_per_class": labels // 10, "replicas": len(errors), "data": {"name": "mnist"}}
    (workdir / "config.json").write_text(json.dumps(config))
    if summary:
        content = {
            "dataset": "mnist" if test_examples == 10_000 else "mnist5k",
            "test_examples": test_examples,
            "test_errors": list(errors),
            "test_errors_raw": [error + 2 for error in errors],
            "ensemble_errors": min(errors) - 4,
            "labels_per_class": labels // 10,
            "replicas": len(errors),
            "epochs": steps // 600,
            "steps": steps,
            "finished": finished,
        }
        (workdir / "summary.json").write_text(json.dumps(content))
    return workdir


def row(table, name):
    """The cells of the first table row that starts with a name."""
    lines = [line for line in table.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def one_line_error(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def test_mean_and_sample_std_by_hand():
    assert mean_and_std([90, 93, 99]) == pytest.approx((94.0, 21**0.5))  # (16 + 1 + 25) / 2 = 21
    assert mean_and_std([57]) == (57.0, None)
    assert format_errors(1677.2, 451.9, 10_000) == "1677 ± 452"
    assert format_errors(57.0, None, 1_000, percent=True) == "57 (5.70 %)"


def test_table_beside_the_paper(tmp_path, capsys):
    make_run(tmp_path / "runs" / "deep" / "a")
    make_run(tmp_path / "runs" / "b", errors=[300], labels=50)
    assert report.main([str(tmp_path / "runs"), f"--output={tmp_path / 'out'}"]) == 0
    table = capsys.readouterr().out
    assert row(table, "labels") == ["labels", "20", "50", "100", "200"]
    assert row(table, "paper ") == ["paper", "1677 ± 452", "221 ± 136", "93 ± 6.5", "90 ± 4.2"]
    assert row(table, "paper, ensemble of 10")[1:] == ["1134 ± 445", "142 ± 96", "86 ± 5.6", "81 ± 4.3"]
    assert row(table, "igan, averaged")[1:] == ["-", "300, n = 1", "94.0 ± 4.6, n = 3", "-"]
    assert row(table, "igan, raw")[1:] == ["-", "302, n = 1", "96.0 ± 4.6, n = 3", "-"]
    assert row(table, "igan, ensemble")[1:] == ["-", "-", "86, 3 models", "-"]
    details = row(table, "100 ")
    assert details[:7] == ["100", "mnist", "3", "1", "2", "1,200", "finished"]
    assert (tmp_path / "out" / "table.md").read_text() in table
    assert "not comparable" not in table


def test_runs_with_the_same_labels_are_pooled(tmp_path):
    make_run(tmp_path / "a", errors=[90, 93], seed=1)
    make_run(tmp_path / "b", errors=[99], seed=3)
    table, warnings = report.write_report([tmp_path / "a", tmp_path / "b", tmp_path], tmp_path / "out")
    assert row(table, "igan, averaged")[3] == "94.0 ± 4.6, n = 3"
    assert row(table, "100 ")[2:4] == ["3", "2"]
    assert warnings == []


def test_pooling_the_same_games_is_warned_of(tmp_path):
    make_run(tmp_path / "a", errors=[90, 93], seed=1)
    make_run(tmp_path / "b", errors=[93, 99], seed=2, steps=2400)
    _, warnings = report.write_report([tmp_path], tmp_path / "out")
    assert len(warnings) == 2
    assert "share 1 of their seeds (2)" in warnings[0]
    assert "differ in length" in warnings[1]


def test_embedded_digits_are_said_to_be_not_comparable(tmp_path):
    make_run(tmp_path / "a", errors=[50, 60], test_examples=1_000)
    table, _ = report.write_report([tmp_path], tmp_path / "out")
    assert "5,000 embedded digits, errors of 1,000, not comparable" in table
    assert row(table, "igan, averaged")[3] == "55.0 ± 7.1 (5.50 ± 0.71 %), n = 2"
    assert row(table, "paper (of 10,000)")[2] == "221 ± 136 (2.21 ± 1.36 %)"


def test_mixed_data_sets_are_refused_or_chosen_from(tmp_path, capsys):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", errors=[57], test_examples=1_000)
    output = f"--output={tmp_path / 'out'}"
    assert report.main([str(tmp_path), output]) == 2
    error = one_line_error(capsys)
    assert "mnist (" in error
    assert "mnist5k (" in error
    assert "--dataset=mnist" in error
    assert report.main([str(tmp_path), output, "--dataset=mnist5k"]) == 0
    assert "57 (5.70 %), n = 1" in capsys.readouterr().out


def test_unfinished_runs_come_from_their_metrics(tmp_path):
    make_run(tmp_path / "a", summary=False)
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1800, "test_err')  # Just being written.
    table, warnings = report.write_report([tmp_path], tmp_path / "out")
    assert row(table, "igan, averaged")[3] == "94.0 ± 4.6, n = 3 (unfinished)"
    assert row(table, "100 ")[4:7] == ["2", "1,200", "**running/unfinished**"]
    assert warnings == []


def test_a_stopped_run_counts_its_own_epochs_and_not_the_planned(tmp_path):
    workdir = make_run(tmp_path / "a", finished=False)
    summary = json.loads((workdir / "summary.json").read_text()) | {"epochs": 300}
    (workdir / "summary.json").write_text(json.dumps(summary))
    table, _ = report.write_report([tmp_path], tmp_path / "out")
    assert row(table, "100 ")[4:7] == ["2", "1,200", "**running/unfinished**"]


def test_a_finished_run_that_goes_on_is_unfinished(tmp_path):
    workdir = make_run(tmp_path / "a")
    line = {"step": 1800, "epoch": 3.0, "test_errors": [80, 80, 80], "test_examples": 10_000}
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    table, _ = report.write_report([tmp_path], tmp_path / "out")
    assert row(table, "igan, averaged")[3] == "80.0 ± 0.0, n = 3 (unfinished)"


def test_unfinished_runs_do_not_spoil_finished_ones(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", errors=[5000], seed=9, summary=False)
    table, _ = report.write_report([tmp_path], tmp_path / "out")
    assert row(table, "igan, averaged")[3] == "94.0 ± 4.6, n = 3"
    assert f"left out, unfinished: {tmp_path / 'b'}" in table


def break_summary(workdir):
    (workdir / "summary.json").write_text('{"dataset": "mnist"')


def break_middle_of_metrics(workdir):
    path = workdir / "metrics.jsonl"
    path.write_bytes(b"\xff\x00 not json\n[1]\n" + path.read_bytes())


def drop_field(workdir):
    summary = json.loads((workdir / "summary.json").read_text())
    del summary["test_examples"]
    (workdir / "summary.json").write_text(json.dumps(summary))


def put_null_among_errors(workdir):
    summary = json.loads((workdir / "summary.json").read_text())
    (workdir / "summary.json").write_text(json.dumps(summary | {"test_errors": [90, None]}))


def use_unknown_dataset(workdir):
    summary = json.loads((workdir / "summary.json").read_text())
    (workdir / "summary.json").write_text(json.dumps(summary | {"dataset": "cifar10"}))


def leave_only_a_started_run(workdir):
    (workdir / "summary.json").unlink()
    (workdir / "metrics.jsonl").write_text('{"step": 600, "d/minimax": 0.6}\n')


def train_without_labels(workdir):
    summary = json.loads((workdir / "summary.json").read_text())
    del summary["test_errors"]
    (workdir / "summary.json").write_text(json.dumps(summary))
    (workdir / "metrics.jsonl").write_text('{"step": 600, "d/minimax": 0.6}\n')


def lose_config(workdir):
    (workdir / "summary.json").unlink()
    (workdir / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "warning", "is_kept"),
    [
        (break_summary, "summary.json is damaged (summary.json is not valid JSON): shown", True),
        (break_middle_of_metrics, "metrics.jsonl is damaged at line 1 and 1 more", True),
        (drop_field, "test_examples is null, expected a whole number", False),
        (put_null_among_errors, "test_errors is null, expected a number", False),
        (use_unknown_dataset, "data set 'cifar10'", False),
        (leave_only_a_started_run, "no evaluation in metrics.jsonl yet", False),
        (train_without_labels, "no test errors (was it trained without labels?)", False),
        (lose_config, "config.json is missing", False),
    ],
)
def test_damaged_runs_are_named(tmp_path, capsys, damage, warning, is_kept):
    make_run(tmp_path / "runs" / "good", errors=[80, 82], labels=200)
    broken = make_run(tmp_path / "runs" / "broken")
    damage(broken)
    output = f"--output={tmp_path / 'out'}"
    assert report.main([str(tmp_path / "runs"), output]) == 0
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert warning in captured.err
    assert str(broken) in captured.err
    assert (row(captured.out, "igan, averaged")[3] != "-") == is_kept
    if not is_kept:  # Alone it is an error that says the same.
        assert report.main([str(broken), output]) == 2
        assert warning in one_line_error(capsys)


def test_no_runs_and_unusable_paths(tmp_path, capsys):
    (tmp_path / "file").touch()
    for path, message in ((tmp_path, "No runs found"), (tmp_path / "file", "is not a directory"),
                          (tmp_path / "missing", "is not a directory")):  # fmt: skip
        assert report.main([str(path), f"--output={tmp_path / 'out'}"]) == 2
        assert message in one_line_error(capsys)
    make_run(tmp_path / "a")
    assert report.main([str(tmp_path), f"--output={tmp_path / 'file'}"]) == 2
    assert "--output=DIRECTORY" in one_line_error(capsys)


def test_curve_is_the_mean_over_all_replicas_at_common_steps(tmp_path):
    make_run(tmp_path / "a", errors=[90, 93], seed=1)
    make_run(tmp_path / "b", errors=[99], seed=3, steps=2400)  # Evaluated at 1200 and 2400.
    runs, _ = report.load_runs([tmp_path])
    (cell,) = pool(runs)
    ((step, mean, std),) = mean_curve(cell)
    assert (step, mean) == (1200, (90 + 93 + 198) / 3)
    assert std == pytest.approx(np.std([90, 93, 198], ddof=1))


def test_plot_is_a_picture_with_a_line_per_cell(tmp_path):
    for labels in (20, 50, 100, 200, 500):
        make_run(tmp_path / f"{labels}", errors=[20_000 // labels, 24_000 // labels, 0], labels=labels)
    _, warnings = report.write_report([tmp_path], tmp_path / "out")
    pixels = np.asarray(Image.open(tmp_path / "out" / "test_error_vs_step.png").convert("RGB"))
    assert pixels.shape == (810, 1350, 3)
    for color in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7), (0xE6, 0x9F, 0x00)):
        assert (pixels == color).all(-1).sum() > 200
    assert warnings == []


def test_without_a_curve_there_is_no_plot_but_a_table(tmp_path, capsys):
    workdir = make_run(tmp_path / "a")
    (workdir / "metrics.jsonl").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "test_error_vs_step.png").touch()  # Of an earlier report.
    assert report.main([str(tmp_path), f"--output={tmp_path / 'out'}"]) == 0
    captured = capsys.readouterr()
    assert "no line in the plot" in captured.err
    assert "94.0 ± 4.6" in captured.out
    assert not (tmp_path / "out" / "test_error_vs_step.png").exists()
