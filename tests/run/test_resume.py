"""A run that is killed, stopped, damaged or out of disk ends exactly as one that never was."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import xla
from tests.command import EXPERIMENT, PATIENCE, REPOSITORY, SMALL
from tests.outcome import assert_same_arrays, assert_same_run, lines_without_seconds, newest

UPDATES = 500
ARGUMENTS = (
    EXPERIMENT,
    *SMALL,
    "--config.epochs=2",
    "--config.evaluation.interval=50",
    "--config.reporting.samples_interval=100",
    "--config.reporting.samples=4",
    "--config.checkpoint.interval=50",
)

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def start(folder: Path, *extra: str, largest_file: int | None = None) -> subprocess.Popen[str]:
    """Starts the run, or goes on with it."""
    cache = f"--compilation_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}"
    command = ["-m", "igan.main", *ARGUMENTS, f"--workdir={folder}", cache, *extra]
    if largest_file is not None:  # Stands in for a full disk: a write beyond it fails.
        command = ["-c", LIMITED, str(largest_file), *command]
    pipe, environment = subprocess.PIPE, os.environ | xla.AS_USERS
    command = [sys.executable, *command]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, error + out
    assert "Traceback" not in out + error
    return out, error


def wait_for_update(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Returns once the run, which is slow to start and quick to run, has written down an update."""
    deadline = time.monotonic() + PATIENCE
    while last_step(folder) < step:
        assert process.poll() is None, f"it ended before update {step}: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def last_step(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().rsplit(b"\n", 2) if path.exists() else []
    return json.loads(lines[-2])["step"] if len(lines) > 1 else -1


def contents(folder: Path) -> dict[Path, bytes]:
    """All files of a run but its lock, which holds the number of the last process."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def arrays(folder: Path) -> list[np.ndarray]:
    step, found = newest(folder)
    assert step == UPDATES
    return found


def assert_same(one: Path, other: Path) -> None:
    assert_same_run(one, other)
    assert len(list((one / "samples").iterdir())) == 6 and len(arrays(one)) > 20


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of a run that never stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(start(folder))
    assert last_step(folder) == UPDATES
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of a run that SIGTERM stopped half-way."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop(folder, signal.SIGTERM, 101)
    return folder


def stop(folder: Path, number: signal.Signals, step: int) -> None:
    process = start(folder)
    wait_for_update(process, folder, step)
    process.send_signal(number)
    sent = time.monotonic()
    out, error = finish(process)
    assert time.monotonic() - sent < 10
    assert error == "" and number.name in out and f"--workdir={folder}" in out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] is False and step <= summary["steps"] < UPDATES
    assert (folder / "checkpoints" / str(summary["steps"])).is_dir()
    assert last_step(folder) == summary["steps"]


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


@pytest.mark.long("a minute of computing; tests/chaos kills once every day")
def test_killed_at_random_points(uninterrupted: Path, tmp_path: Path) -> None:
    folder, randomness = tmp_path / "run", random.Random(20)
    for until in sorted(randomness.sample(range(0, UPDATES - 150), 20)):
        process = start(folder)
        wait_for_update(process, folder, until)
        time.sleep(randomness.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert last_step(folder) < UPDATES
    finish(start(folder))
    assert_same(uninterrupted, folder)


@pytest.mark.long("twenty seconds")
def test_killed_before_the_first_checkpoint(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_update(process, folder, 0)
    process.kill()
    process.communicate()
    finish(start(folder))
    assert_same(uninterrupted, folder)


def test_stopped_by_sigterm_and_sigint(uninterrupted: Path, stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    stop(folder, signal.SIGINT, 251)
    finish(start(folder))
    assert_same(uninterrupted, folder)


def test_a_finished_run_has_nothing_left_to_do(uninterrupted: Path, tmp_path: Path) -> None:
    folder = copied(uninterrupted, tmp_path)
    out, error = finish(start(folder))
    assert "finished" in out and error == ""
    assert_same(uninterrupted, folder)


@pytest.mark.parametrize("where", ["data"])
def test_a_damaged_newest_checkpoint_is_named_and_the_previous_used(
    uninterrupted: Path, stopped: Path, tmp_path: Path, where: str
) -> None:
    folder = copied(stopped, tmp_path)
    *_, previous, newest = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    if where == "data":
        largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    elif where == "contents":
        os.truncate(newest / "contents.json", 10)
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    out, error = finish(start(folder))
    assert str(newest) in out + error and f"step {previous.name}" in out + error
    assert (folder / "checkpoints" / f"damaged_{newest.name}").is_dir()
    assert_same(uninterrupted, folder)


def test_no_usable_checkpoint_does_not_start_over(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    before = (folder / "metrics.jsonl").read_bytes()
    for checkpoint in (folder / "checkpoints").iterdir():
        (checkpoint / "contents.json").unlink()
    _, error = finish(start(folder), code=1)
    assert len(error.splitlines()) == 1 and error.startswith("error: ")
    assert (folder / "metrics.jsonl").read_bytes() == before


# A checkpoint needs some 30 kB in its largest file, the metrics have some 15 kB by update 100.
@pytest.mark.parametrize("largest_file", [20_000])
def test_a_full_disk_is_one_line_and_the_run_goes_on_after_room_is_made(
    uninterrupted: Path, stopped: Path, tmp_path: Path, largest_file: int
) -> None:
    folder = copied(stopped, tmp_path)
    saved = json.loads((folder / "summary.json").read_text())["steps"]
    _, error = finish(start(folder, largest_file=largest_file), code=1)
    assert len(error.splitlines()) == 1 and error.startswith("error: "), error
    assert "File too large" in error
    assert (folder / "checkpoints" / str(saved)).is_dir()
    assert json.loads((folder / "config.json").read_text())["seed"] == 1
    finish(start(folder))
    assert_same(uninterrupted, folder)


def test_another_config_is_refused_with_the_fields(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    before = contents(folder)
    _, error = finish(start(folder, "--config.seed=2", "--config.generator.learning_rate=0.1"), code=2)
    assert len(error.splitlines()) == 1 and error.startswith("error: ")
    assert "seed: was 1, now 2" in error and "generator.learning_rate: was 0.003, now 0.1" in error
    assert contents(folder) == before


def test_what_may_change_does_not_change_what_is_computed(uninterrupted: Path, stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    finish(
        start(
            folder,
            "--config.steps_per_chunk=7",
            "--config.evaluation.interval=90",
            "--config.checkpoint.keep=5",
            "--config.reporting.samples=1",
            "--config.checkpoint.interval=200",
        )
    )
    assert_same_arrays(arrays(uninterrupted), arrays(folder))
    # What a config may change is also when the balance of the players is looked at, on lines of its own.
    last = [
        [line for line in lines_without_seconds(each) if "test_errors" in line][-1] for each in (uninterrupted, folder)
    ]
    assert last[0] == last[1] and last[0]["step"] == 500


def test_more_epochs_go_on_and_fewer_are_finished(uninterrupted: Path, tmp_path: Path) -> None:
    folder = copied(uninterrupted, tmp_path)
    finish(start(folder, "--config.epochs=3"))
    assert last_step(folder) == 750
    longer = lines_without_seconds(folder)
    assert longer[: len(lines_without_seconds(uninterrupted))] == lines_without_seconds(uninterrupted)
    finish(start(folder, "--config.epochs=1"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] is True and summary["steps"] == 750
