"""The launcher of a table, against a stand-in for igan.main."""

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "launch" / "table.py"
SPECIFICATION = importlib.util.spec_from_file_location("launch_table", SCRIPT)
table = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(table)

STAND_IN = """
    import json, pathlib, signal, sys, time
    flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    workdir = pathlib.Path(flags["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    count = workdir / "starts"
    starts = int(count.read_text()) + 1 if count.exists() else 1
    def stop(number, frame):
        (workdir / "signals").open("a").write(signal.Signals(number).name + " ")
        time.sleep(0.5)  # Saving takes a while: a second signal would be seen.
        finish(False)
    def finish(done):
        (workdir / "summary.json").write_text(json.dumps({"finished": done}))
        sys.exit(0)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    count.write_text(str(starts))
    behaviour = flags.get("behaviour", "")
    if behaviour == "crash_once" and starts == 1:
        sys.exit(1)
    if behaviour in ("crash", "mistake"):
        sys.exit({"crash": 1, "mistake": 2}[behaviour])
    if behaviour == "wait" and starts == 1:
        time.sleep(60)
    finish(True)
"""


@pytest.fixture
def place(tmp_path):
    """A folder in which `python -m igan.main` and `igan.report` are stand-ins."""
    package = tmp_path / "igan"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "main.py").write_text(textwrap.dedent(STAND_IN))
    (package / "report.py").write_text("import sys; print('REPORT', *sys.argv[1:])")
    return tmp_path


def launch(place, *arguments):
    command = [sys.executable, str(SCRIPT), "--workdir=t", "--replicas=3", *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=False)


def starts(place, labels):
    path = place / "t" / f"labels_{labels:04d}" / "starts"
    return int(path.read_text()) if path.exists() else 0


def test_dry_run_prints_the_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--config=experiments/mnist.py", "--labels=20,100", "--replicas=10", "--workdir=runs/t", "--epochs=3"]
    assert table.main([*arguments, "--dry_run", "--", "--config.seed=3"]) == 0
    python = shlex.quote(sys.executable)
    assert capsys.readouterr().out.splitlines() == [
        f"{python} -m igan.main --config=experiments/mnist.py --config.labels_per_class=2 --config.replicas=10 "
        "--config.epochs=3 --workdir=runs/t/labels_0020 --config.seed=3",
        f"{python} -m igan.main --config=experiments/mnist.py --config.labels_per_class=10 --config.replicas=10 "
        "--config.epochs=3 --workdir=runs/t/labels_0100 --config.seed=3",
        f"{python} -m igan.report runs/t --output=runs/t/report",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels=20,25"], "25 cannot be shared evenly by 10 classes; type a multiple of 10, like 20"),
        (["--labels=0"], "like 10"),
        (["--labels=many"], "like --labels=20,50,100,200"),
        (["--replicas=0"], "--replicas=0: expected 1 or more"),
        (["--", "--config.replicas=3"], "give --replicas before the --"),
        (["--", "--config.labels_per_class=3"], "give --labels before the --"),
        (["--", "--workdir=x"], "give --workdir before the --"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        table.main(["--dry_run", *arguments])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_cells_run_in_turn_and_finished_ones_are_skipped(place):
    result = launch(place, "--labels=100,20")
    assert result.returncode == 0, result.stderr
    assert "REPORT t --output=t/report" in result.stdout
    assert (starts(place, 100), starts(place, 20)) == (1, 1)

    again = launch(place, "--labels=100,20")
    assert again.stdout.count("is finished: skipped") == 2
    assert "REPORT" in again.stdout
    assert (starts(place, 100), starts(place, 20)) == (1, 1)


def test_other_settings_or_an_unfinished_summary_are_run(place):
    launch(place, "--labels=100", "--epochs=3")
    launch(place, "--labels=100")  # Nobody asked for 3 epochs this time.
    assert starts(place, 100) == 2
    launch(place, "--labels=100", "--", "--config.seed=3")
    assert starts(place, 100) == 3
    (place / "t" / "labels_0100" / "summary.json").write_text(json.dumps({"finished": False}))
    launch(place, "--labels=100", "--", "--config.seed=3")
    assert starts(place, 100) == 4
    (place / "t" / "labels_0100" / "summary.json").write_text("{")
    launch(place, "--labels=100", "--", "--config.seed=3")
    assert starts(place, 100) == 5


def test_a_crash_is_tried_once_more_and_does_not_stop_the_others(place):
    assert launch(place, "--labels=20", "--", "--behaviour=crash_once").returncode == 0
    assert starts(place, 20) == 2
    result = launch(place, "--labels=50,100", "--", "--behaviour=crash")
    assert result.returncode == 1
    assert (starts(place, 50), starts(place, 100)) == (2, 2)
    assert "Not finished: t/labels_0050, t/labels_0100" in result.stderr
    assert "REPORT" in result.stdout


def test_a_mistake_in_the_command_stops_at_once(place):
    assert launch(place, "--labels=50,100", "--", "--behaviour=mistake").returncode == 2
    assert (starts(place, 50), starts(place, 100)) == (1, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_child_once_and_the_same_command_goes_on(place, number):
    arguments = ["--labels=50,100", "--", "--behaviour=wait"]
    command = [sys.executable, str(SCRIPT), "--workdir=t", "--replicas=3", *arguments]
    # A group of its own, signalled as a whole: what Ctrl-C in a terminal does.
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 30
    while not starts(place, 50) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "The same command goes on from here." in output
    assert "REPORT" not in output
    assert (place / "t" / "labels_0050" / "signals").read_text() == number.name + " "
    assert (starts(place, 50), starts(place, 100)) == (1, 0)

    assert launch(place, "--labels=50", "--", "--behaviour=wait").returncode == 0
    assert starts(place, 50) == 2
