"""A folder in which `python -m igan.main` and `igan.report` are stand-ins that take no time, and the launcher in it."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command import PATIENCE

REPOSITORY = Path(__file__).parents[2]
LAUNCH = REPOSITORY / "launch"
if str(LAUNCH) not in sys.path:  # As `python launch/sweep.py` has it.
    sys.path.insert(0, str(LAUNCH))

STAND_IN = """
    import json, os, pathlib, signal, sys, time
    flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    workdir, behaviour = pathlib.Path(flags["workdir"]), flags.get("config.behaviour", "")
    workdir.mkdir(parents=True, exist_ok=True)
    if os.environ.get("SLURM_PROCID", "0") != "0":  # Of one run on several hosts: writes nothing, ends with the first.
        with (workdir / f"host{os.environ['SLURM_PROCID']}").open("a") as file:
            file.write(flags["hosts"] + os.environ["SLURM_NTASKS"] + " ")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        begun = len((workdir / f"host{os.environ['SLURM_PROCID']}").read_text().split())
        while not (workdir / "ends").exists() or len((workdir / "ends").read_text()) < begun:
            time.sleep(0.02)
        sys.exit(0)
    with (workdir / "starts").open("a") as file:
        file.write(os.environ.get("CUDA_VISIBLE_DEVICES", "") + "\\n")
    (workdir / "events").open("a").write("started ")
    (workdir / "pid").write_text(str(os.getpid()))
    starts = len((workdir / "starts").read_text().splitlines())
    def stop(number, frame):
        (workdir / "signals").open("a").write(signal.Signals(number).name + " ")
        # Saving takes a while: a second signal would be seen.
        time.sleep(float(flags.get("config.saving", 0.3)))
        (workdir / "events").open("a").write("saved ")
        finish(False)
    def finish(done):
        (workdir / "summary.json").write_text(json.dumps({"finished": done}))
        (workdir / "ends").open("a").write(".")
        print("finished" if done else "stopped and saved")
        sys.exit(0)
    def train(epoch):
        line = {"step": 100 * epoch, "epoch": epoch, "seconds": 2.0 * epoch, "test_errors": [7], "test_examples": 1000}
        with (workdir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\\n")
    if behaviour == "mistake":
        print("error: config.behaviour is off", file=sys.stderr)
        sys.exit(2)
    (workdir / "config.json").write_text(json.dumps({"epochs": 2}))
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    train(1)
    if behaviour == "crash" or (behaviour == "crash_once" and starts == 1):
        print("error: the disk is full", file=sys.stderr)
        sys.exit(1)
    if behaviour == "die" and starts == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "wait" and starts == 1:
        time.sleep(600)  # Until it is told to stop.
    if behaviour == "meet":  # Waits until as many as are meant to run together do.
        deadline = time.monotonic() + 120
        while len(list(workdir.parent.glob("*/starts"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        (workdir / "met").write_text(str(time.monotonic() < deadline))
    train(2)
    finish(True)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    package = tmp_path / "igan"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "main.py").write_text(textwrap.dedent(STAND_IN))
    (package / "report.py").write_text("import sys; print('REPORT', *sys.argv[1:])")
    (tmp_path / "game.py").touch()
    return tmp_path


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals do what they do by default: what nohup, or the `&` of a script, ignores is ignored by children too."""
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, signal.SIG_DFL))
        yield


@pytest.fixture
def begin(place: Path, heard: None) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the launcher in that folder, in a process group of its own, as a terminal does."""

    def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(LAUNCH / "sweep.py"), "--config=game.py", "--workdir=w", *arguments]
        return subprocess.Popen(
            command,
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture
def sweep(begin) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs the launcher to its end."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = begin(*arguments, **environment)
        out, error = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    return run


@pytest.fixture
def starts(place: Path) -> Callable[[str], int]:
    """Counts how often a member was started."""

    def count(name: str) -> int:
        path = place / "w" / name / "starts"
        return len(path.read_text().splitlines()) if path.exists() else 0

    return count


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until something holds."""

    def wait(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.02)

    return wait
