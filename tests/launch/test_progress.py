"""What the launcher reads from work directories, and how it shows it."""

import io
import json
from pathlib import Path

import plan
import progress
import pytest
from rich.console import Console


def line(step: int, seconds: float, **values) -> dict:
    return {"step": step, "epoch": step / 100, "seconds": seconds} | values


def write(workdir: Path, *lines: dict, mode: str = "a", epochs: int = 10) -> None:
    workdir.mkdir(exist_ok=True)
    (workdir / "config.json").write_text(json.dumps({"epochs": epochs}))
    with (workdir / "metrics.jsonl").open(mode) as file:
        file.writelines(json.dumps(each) + "\n" for each in lines)


def test_nothing_is_no_progress(tmp_path):
    reader = progress.Reader(tmp_path / "absent")
    assert reader.read() == progress.Progress()
    write(tmp_path / "absent")
    assert reader.read() == progress.Progress()


def test_speed_and_time_leave_out_the_compilation(tmp_path):
    # 20 s of compilation before the first chunk, then 10 updates a second, of 1,000 in all.
    write(tmp_path, line(0, 1.0, test_errors=[900, 901], test_examples=1000), line(20, 22.0), line(40, 24.0))
    seen = progress.Reader(tmp_path).read()
    assert seen.share == pytest.approx(0.04)
    assert seen.speed == pytest.approx(10.0)
    assert seen.seconds_left == pytest.approx(96.0)
    assert seen.seconds == 24.0
    assert seen.result == "900.5 errors of 1,000"


def test_the_speed_is_that_of_the_last_minute_and_the_newest_result_stays(tmp_path):
    slow = [line(10 * index, 10.0 * index, test_errors=[index], test_examples=1000) for index in range(1, 21)]
    fast = [line(200 + 10 * index, 200.0 + index) for index in range(1, 71)]
    write(tmp_path, *slow, *fast, epochs=18)
    seen = progress.Reader(tmp_path).read()
    assert seen.speed == pytest.approx(10.0) and seen.seconds_left == pytest.approx(90.0)
    assert seen.result == "20 errors of 1,000"


def test_a_file_is_followed_and_a_resumed_one_read_again(tmp_path):
    reader = progress.Reader(tmp_path)
    write(tmp_path, line(0, 0.0), line(100, 10.0), line(300, 20.0))
    assert reader.read().share == pytest.approx(0.3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 400, "epoch": 4.0, "sec')
    assert reader.read().share == pytest.approx(0.3)  # Half a line is not there yet.
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('onds": 30.0}\ndamaged\n[1]\n')
    assert reader.read().share == pytest.approx(0.4)
    write(tmp_path, line(0, 0.0), line(100, 10.0), mode="w")
    assert reader.read().share == pytest.approx(0.1)


def test_a_new_session_has_no_speed_until_it_trains(tmp_path):
    write(tmp_path, line(0, 0.0), line(100, 10.0), line(300, 20.0))
    reader = progress.Reader(tmp_path)
    assert reader.read().speed == pytest.approx(20.0)
    reader.restart()
    assert reader.read().speed is None and reader.read().share == pytest.approx(0.3)
    write(tmp_path, line(310, 50.0), line(330, 51.0))
    assert reader.read().speed == pytest.approx(20.0)


def test_scores_are_shown_where_there_are_no_errors(tmp_path):
    write(tmp_path, line(100, 1.0, **{"scores/inception_score": [5.0, 6.0]}))
    assert progress.Reader(tmp_path).read().result == "inception_score 5.50"


def statuses(tmp_path: Path, count: int) -> list[progress.Status]:
    names = [f"seed={seed}" for seed in range(1, count + 1)]
    return [progress.Status(plan.Member(name, (), tmp_path / name, tmp_path / f"{name}.log")) for name in names]


def shown(view: progress.View, height: int | None, width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(view._picture(height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_table_has_a_line_for_every_member(tmp_path):
    members = statuses(tmp_path, 4)
    for member, state, detail in zip(
        members, ("finished", "running", "failed", "waiting"), ("", "", "exit code 1: disk full", ""), strict=True
    ):
        member.state, member.detail = state, detail
    members[0].progress = progress.Progress(1.0, 20.0, 100.0, 0.0, "57 errors of 1,000")
    members[1].progress = progress.Progress(0.25, 20.0, 50.0, 150.0, "93 errors of 1,000")
    view = progress.View(members, jobs=1, console=Console(file=io.StringIO()))
    header, *rows, totals = shown(view, None)
    assert header.split() == ["run", "state", "progress", "steps/s", "time", "newest", "result"]
    assert ["0:01:40" in rows[0], "0:02:30 to go" in rows[1], "20.0" in rows[1]] == [True] * 3
    assert ["57 errors of 1,000" in rows[0], "25 %" in rows[1], "exit code 1: disk full" in rows[2]] == [True] * 3
    # One more run as long as the others, (100 + 200) / 2 seconds, after the 150 of this one.
    assert totals == "1 finished, 1 running, 1 failed, 1 waiting; about 0:05:00 to go"


def test_a_table_that_does_not_fit_shows_what_is_active(tmp_path):
    members = statuses(tmp_path, 50)
    members[40].state, members[45].state, members[0].state = "running", "failed", "finished"
    view = progress.View(members, jobs=1, console=Console(file=io.StringIO()))
    lines = shown(view, 20)
    assert len(lines) < 20
    assert any("seed=41 " in line for line in lines) and any("seed=46 " in line for line in lines)
    assert "35 more that do not fit" in lines[-1]


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_gets_one_line_a_member(tmp_path, width):
    members = statuses(tmp_path, 2)
    members[0].state, members[0].detail = "failed", "a long story " * 20
    view = progress.View(members, jobs=1, console=Console(file=io.StringIO()))
    assert [len(line) <= width for line in shown(view, 30, width)] == [True] * 4


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    members = statuses(tmp_path, 2)
    file = io.StringIO()
    with progress.View(members, jobs=1, console=Console(file=file, width=30)) as view:
        members[0].state = "running"
        view.update()
        view.update()
        write(members[0].member.workdir, line(1000, 65.0, test_errors=[3]))
        members[0].state = "finished"
        view.update()
    assert file.getvalue().splitlines() == ["[0/2] seed=1: running", "[1/2] seed=1: finished  3 errors  0:01:05"]
