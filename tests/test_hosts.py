"""Two processes that play one run: its numbers are those of one process, and whatever happens to one, none waits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from igan import hosts
from igan.data import embedded
from igan.errors import UserError
from igan.run import experiment, train
from tests.command import PATIENCE
from tests.conftest import small_game
from tests.outcome import assert_same_arrays, lines_without_seconds, newest

REPOSITORY = Path(__file__).parents[1]
EXAMPLES_PER_CLASS = 64  # To train on, of ten classes in batches of 16.
UPDATES_AN_EPOCH = 40
# A host has one device. A write beyond LARGEST_FILE fails, as on a full disk.
HOST = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ.get("LARGEST_FILE", -1)), resource.RLIM_INFINITY))
from contextlib import nullcontext
from pathlib import Path
from tests import xla
from tests.conftest import compiled_quickly
os.environ["XLA_FLAGS"] = xla.flags(devices=1)
import fsspec
from igan import bucket, hosts
from igan.data import embedded
from igan.run import train
from igan.errors import exit_code
fsspec.config.conf["file"] = {"auto_mkdir": True}  # As a bucket, which has no folders.
from tests.test_hosts import EXAMPLES_PER_CLASS, game
embedded.TRAIN_PER_CLASS = EXAMPLES_PER_CLASS
hosts.join(sys.argv[1])
hosts.SECONDS_TO_SEE = 1
in_bucket = bucket.is_url(sys.argv[2])

def run():
    with bucket.mirrored(sys.argv[2], seconds=0.2) if in_bucket else nullcontext(Path(sys.argv[2])) as folder:
        train.run(game(*sys.argv[3:]), folder, own_disks=in_bucket)

with compiled_quickly():
    sys.exit(exit_code(run))
"""


def game(data: str, replicas: str, epochs: str, seed: str = "1") -> ConfigDict:
    """The small game: on the embedded digits, or streamed from a folder and without labels."""
    config = small_game()
    config.seed, config.replicas, config.epochs = int(seed), int(replicas), int(epochs)
    config.devices = 0
    config.evaluation.interval = 50
    config.checkpoint.interval = 20
    config.reporting.samples_interval = 100
    config.checkpoint.keep = 2
    if data != "embedded":
        config.data.name, config.data.source, config.data.stream = f"folder:{data}", "auto", True
        config.techniques.semi_supervised.enabled = False
    return config


def start(
    folder: Path | str,
    *arguments: str,
    second: tuple[str, ...] = (),
    second_folder: Path | None = None,
    by_srun: bool = False,
    largest_file: int = -1,
) -> list[subprocess.Popen[str]]:
    """Starts both hosts; the arguments are those of `game`, where the second host's may differ, as may its folder.

    The first host cannot write files larger than `largest_file`.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    for number, of_host in enumerate((arguments, second or arguments)):
        where, environment = f"localhost:{port},2,{number}", dict(os.environ)
        if number == 0:
            environment["LARGEST_FILE"] = str(largest_file)
            if largest_file > 0:  # Programs are larger.
                environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        if by_srun:  # What SLURM tells every process of a step. JAX takes the port from the job's number.
            where = "auto"
            environment |= {"SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
            environment |= {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", HOST, where, str((number and second_folder) or folder), *of_host],
                cwd=REPOSITORY,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Returns exit code, output and errors of both."""
    outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def wait_for_updates(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (folder / "checkpoints" / "20").is_dir():
        assert time.monotonic() < deadline, f"no checkpoint after {PATIENCE} s"
        time.sleep(0.1)


def assert_as_on_one_host(folder: Path, alone: Path, *arguments: str) -> None:
    config = game(*arguments)
    config.devices = 2
    summary = train.run(config, alone)
    assert lines_without_seconds(folder) == lines_without_seconds(alone)
    (step, ours), (step_alone, theirs) = newest(folder), newest(alone)
    assert step == step_alone
    assert_same_arrays(ours, theirs)
    of_hosts = json.loads((folder / "summary.json").read_text())
    assert of_hosts["finished"] and of_hosts["device"] == summary["device"] == "2 x cpu"
    assert of_hosts.get("test_errors") == summary.get("test_errors")


def test_two_hosts_stopped_and_resumed_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "TRAIN_PER_CLASS", EXAMPLES_PER_CLASS)
    folder = tmp_path / "run"
    processes = start(folder, "embedded", "2", "400")
    wait_for_updates(folder)
    processes[1].send_signal(signal.SIGTERM)
    for code, out, error in (ended := finish(processes)):
        assert code == 0, error + out
    assert "stopped by SIGTERM" in ended[0][1] and f"--workdir={folder}" in ended[0][1]
    assert "plan:" not in ended[1][1], "the second host tells what the first does"
    epochs = str(json.loads((folder / "summary.json").read_text())["steps"] // UPDATES_AN_EPOCH + 1)
    for code, out, error in finish(start(folder, "embedded", "2", epochs)):
        assert code == 0, error + out
    assert_as_on_one_host(folder, tmp_path / "alone", "embedded", "2", epochs)


@pytest.mark.long("a minute of computing each")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_two_hosts_without_a_common_disk_go_on_from_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """The first host writes whole states into a folder of its own, whose copy in the bucket both begin with."""
    monkeypatch.setattr(embedded, "TRAIN_PER_CLASS", EXAMPLES_PER_CLASS)
    folder = tmp_path / "bucket" / "run"
    processes = start(f"file://{folder}", "embedded", "2", "400")
    wait_for_updates(folder)
    processes[1].send_signal(how)
    for code, out, error in finish(processes):
        assert (code == 0) == (how == signal.SIGTERM), error + out
    assert how == signal.SIGKILL or not (folder / "owner").exists()
    steps = max(int(path.name) for path in (folder / "checkpoints").iterdir())
    epochs = str(steps // UPDATES_AN_EPOCH + 1)
    for code, out, error in finish(start(f"file://{folder}", "embedded", "2", epochs)):
        assert code == 0, error + out
    assert_as_on_one_host(folder, tmp_path / "alone", "embedded", "2", epochs)


@pytest.mark.long("a minute of computing")
def test_two_processes_under_srun_share_a_streamed_batch(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for kind in ("a", "b"):
        (pictures / kind).mkdir(parents=True)
        for number in range(40):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(pictures / kind / f"{number}.png")
    arguments = (str(pictures), "1", "4")
    for code, out, error in finish(start(tmp_path / "run", *arguments, by_srun=True)):
        assert code == 0, error + out
    assert_as_on_one_host(tmp_path / "run", tmp_path / "alone", *arguments)


def test_a_host_that_cannot_begin_ends_the_other(tmp_path: Path) -> None:
    processes = start(tmp_path / "run", "embedded", "1", "1", second=(str(tmp_path / "nothing"), "1", "1"))
    (code, _, error), (other_code, _, other_error) = finish(processes)
    assert (code, other_code) == (1, 2)
    assert error == "error: host 1 could not begin; what it printed says why\n"
    assert other_error.startswith("error: ") and "nothing" in other_error


def test_hosts_with_different_commands_are_told(tmp_path: Path) -> None:
    ended = finish(start(tmp_path / "run", "embedded", "1", "1", second=("embedded", "1", "1", "2")))
    for code, _, error in ended:
        assert code == 2 and error.startswith("error: the hosts differ in config"), error
    assert not (tmp_path / "run").exists()  # Or the corrected command would be refused.


def test_a_folder_that_one_host_does_not_see_is_told(tmp_path: Path) -> None:
    folder, other = tmp_path / "run", tmp_path / "another disk"
    (other / "samples").mkdir(parents=True)  # As an earlier run may have left it.
    for code, _, error in finish(start(folder, "embedded", "1", "1", second_folder=other)):
        assert code == 2 and len(error.splitlines()) == 1, error
        assert error.startswith("error: --workdir=") and "host 1 does not see" in error
    assert not folder.exists() and not any(path.name.startswith(".seen") for path in other.iterdir())


def test_a_lost_host_ends_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    processes = start(folder, "embedded", "1", "400")
    wait_for_updates(folder)
    processes[1].kill()
    (code, _, error), _ = finish(processes)
    assert code == 1 and error.splitlines()[-1].startswith("error: another host is gone"), error


@pytest.mark.long("half a minute of computing, as that of a host that is lost")
def test_a_host_that_cannot_save_ends_the_other(tmp_path: Path) -> None:
    processes = start(tmp_path / "run", "embedded", "2", "400", largest_file=90_000)  # A checkpoint needs 170 kB.
    (code, _, error), (other_code, _, _) = finish(processes)
    assert code == 1 and other_code
    assert error.startswith("error: step 20 could not be saved") and "File too large" in error
    assert len(error.splitlines()) == 1


def test_what_several_hosts_cannot_do_is_told(small: ConfigDict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="devices=0"):
        experiment.build(small)  # On one device.


@pytest.mark.parametrize("where", ["", "foo", "localhost:1,2", "localhost:x,2,0", "localhost:1,2,2", "a b:1,2,0"])
def test_where_the_hosts_are_must_make_sense(where: str) -> None:
    with pytest.raises(UserError, match="ADDRESS:PORT,COUNT,NUMBER"):
        hosts.join(where)


def test_nothing_is_found_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "TPU_", "CLOUD_TPU_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    with pytest.raises(UserError, match="no TPU pod"):
        hosts.join("auto")
