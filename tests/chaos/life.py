"""A run that dies often. Each of its lives is a process of its own, or one for each of several hosts."""

import contextlib
import importlib
import multiprocessing
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests import xla
from tests.command import PATIENCE, REPOSITORY, run_main
from tests.outcome import assert_same_run

EPOCH = (
    200  # Updates, a multiple of all intervals: a run that is made longer later is one that was long from the start.
)
GAME = (
    f"--config={REPOSITORY / 'experiments' / 'mixture.py'}:ring",
    f"--config.data.name=ring:train={16 * EPOCH}",
    "--config.replicas=2",
    "--config.batch_size=16",
    "--config.initial_images=32",
    "--config.steps_per_chunk=10",
    "--config.networks.generator_layers=(8,)",
    "--config.networks.discriminator_layers=(8,)",
    "--config.discriminator.constant_share=1.0",
    "--config.generator.constant_share=1.0",
    "--config.evaluation.scores=modes",
    "--config.evaluation.scores_interval=100",
    "--config.evaluation.images=50",
    "--config.reporting.samples=50",
    "--config.reporting.samples_interval=200",
    "--config.checkpoint.interval=50",
)
# What a life can be made to dwell in, so that a signal finds it there, and for how many seconds.
MOMENTS = {
    "compilation": ("igan.game.programs", "Programs.__call__", 0.0),  # It takes its time.
    "save": ("igan.run.checkpoint", "Checkpoints._write_contents", 0.3),
    "scoring": ("igan.metrics.mixture", "scores", 0.3),
    "play": ("igan.run.train", "prepare_next", 0.0),  # After an update.
}


class Ended(NamedTuple):
    """How a process of a life ended."""

    code: int
    out: str
    error: str


def live(arguments: list[str], folder: Path, environment: dict[str, str], says: Connection, slow: str, back: float):
    """What a process of a life does: `igan.main`, telling when it comes to a moment of `MOMENTS`.

    It dwells in the moment `slow`. Ten times a second the clock is set back by so many seconds.
    """
    for name, (module, path, seconds) in MOMENTS.items():
        *outer, last = path.split(".")
        owner = importlib.import_module(module)
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, last, _telling(getattr(owner, last), name, says, seconds if name == slow else 0.0))
    if back:
        for name, unit in (("time", 1), ("time_ns", 10**9)):
            setattr(time, name, _going_back(getattr(time, name), back * unit))
    run_main(arguments, folder, environment)


def _going_back(clock: Callable[[], Any], step: float) -> Callable[[], Any]:
    began = time.monotonic()
    return lambda: clock() - type(clock())(step * min(1000, int(10 * (time.monotonic() - began))))


def _telling(function: Callable[..., Any], name: str, says: Connection, seconds: float) -> Callable[..., Any]:
    told = False

    def tell(*args: Any, **kwargs: Any) -> Any:
        nonlocal told
        if not told:
            told = True
            with contextlib.suppress(OSError):
                says.send_bytes(name.encode())
            time.sleep(seconds)
        return function(*args, **kwargs)

    return tell


class Life:
    """The processes of one life of a run: as many as it has hosts."""

    def __init__(self, processes: list[Any], ears: list[Connection], folders: list[Path]) -> None:
        self.processes, self._ears, self._folders = processes, ears, folders
        self._heard: list[set[str]] = [set() for _ in ears]

    def wait_for(self, moment: str, seconds: float = PATIENCE) -> bool:
        """Returns whether all hosts came to a moment within so many seconds; False also if one of them ended."""
        deadline = time.monotonic() + seconds
        for ear, heard in zip(self._ears, self._heard, strict=True):
            while moment not in heard:
                if not ear.poll(max(0.0, deadline - time.monotonic())):
                    return False
                try:
                    heard.add(ear.recv_bytes().decode())
                except EOFError:
                    return False
        return True

    def send(self, number: signal.Signals, host: int = 0) -> None:
        if self.processes[host].is_alive():
            os.kill(self.processes[host].pid, number)

    def end(self, patience: float = PATIENCE) -> list[Ended]:
        """Waits until all have ended, and kills those that do not within so many seconds."""
        deadline = time.monotonic() + patience
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        ended = []
        for process, folder in zip(self.processes, self._folders, strict=True):
            texts = [path.read_text() if (path := folder / f".{name}").exists() else "" for name in ("out", "error")]
            ended.append(Ended(process.exitcode, *texts))
        return ended


class Run:
    """A small run in a folder, and its lives. `place` is for what is not the run's own: output, compiled programs."""

    def __init__(self, processes: Any, folder: Path, place: Path, hosts: int = 1, seed: int = 0) -> None:
        self.context, self.folder, self.place, self.hosts = processes, folder, place, hosts
        self.epochs, self.waking = 2, 5.0
        self.random = random.Random(seed)

    def start(self, slow: str = "", back: float = 0.0, cached: bool = True, devices: int = 0) -> Life:
        """Begins a life. Without `cached` its programs are compiled anew; one process can have several devices."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        arguments = [*GAME, f"--config.epochs={self.epochs}", f"--workdir={self.folder}"]
        arguments += [f"--compilation_cache={self.place / 'xla' if cached else ''}"]
        processes, ears, folders = [], [], []
        for number in range(1 if devices else self.hosts):
            environment = {"XLA_FLAGS": xla.flags(devices or 1), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
            where = [f"--hosts=localhost:{port},{self.hosts},{number}"] if self.hosts > 1 and not devices else []
            ear, mouth = self.context.Pipe(duplex=False)
            folders.append(self.place / f"host{number}")
            folders[-1].mkdir(parents=True, exist_ok=True)
            details = ([*arguments, *where], folders[-1], environment, mouth, slow, back)
            process = self.context.Process(target=live, args=details)
            process.start()
            mouth.close()
            processes.append(process)
            ears.append(ear)
        return Life(processes, ears, folders)

    def finish(self, **how: Any) -> None:
        """Lives on to the end, undisturbed."""
        for code, out, error in self.start(**how).end():
            assert code == 0 and "Traceback" not in out + error, (code, error, out)

    def newest(self) -> int:
        """The newest checkpoint's step; 0 without any."""
        folder = self.folder / "checkpoints"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return max((int(name) for name in names if name.isdigit()), default=0)

    def left_halves(self) -> bool:
        """Whether something half-written lies around."""
        return any("tmp" in path.name or path.suffix in (".deleting", ".partial") for path in self.folder.rglob("*"))

    def check_undisturbed(self) -> None:
        """Compares the run, which has finished, with one of as many epochs that nothing happened to."""
        other = Run(self.context, self.place / "undisturbed" / "run", self.place / "undisturbed", self.hosts)
        other.epochs = self.epochs
        other.finish(devices=0 if self.hosts == 1 else self.hosts)
        assert_same_run(self.folder, other.folder)


def processes() -> Any:
    """Where processes are forked from that have imported igan already."""
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["igan.main", "tests.chaos.life"])
    return context
