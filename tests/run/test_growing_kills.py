"""Runs of networks that grow, killed in every stage: they go on bit for bit."""

import functools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.command import PATIENCE, REPOSITORY, run_main
from tests.outcome import assert_same_arrays, lines_without_seconds, newest
from tests.run.growing import flat, small


class Killed(NamedTuple):
    """Runs of one config in processes of their own."""

    start: Callable[[Path], Any]  # (folder) -> a process that begins the run there, or goes on with it.
    whole: Path  # Where one ran that nothing disturbed.


@pytest.fixture(scope="module")
def runs(processes, pictures, tmp_path_factory):
    """(images of a stage, of a fade, epochs) -> how to start such a run, and one that was not disturbed."""

    @functools.cache
    def runs(train_images: int, fade_images: int, epochs: int) -> Killed:
        config = small(pictures)
        config.epochs = epochs
        config.networks.update(train_images=train_images, fade_images=fade_images)
        arguments = [f"--config={REPOSITORY / 'experiments' / 'growing.py'}:pggan"]
        arguments += [f"--config.{name}={value}" for name, value in flat(config).items()]
        arguments += [f"--compilation_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}"]

        def start(folder: Path) -> Any:
            folder.mkdir(exist_ok=True)
            given = ([*arguments, f"--workdir={folder / 'run'}"], folder, {})
            process = processes.Process(target=run_main, args=given)
            process.start()
            return process

        whole = tmp_path_factory.mktemp("whole")
        finish(start(whole), whole)
        return Killed(start, whole)

    return runs


def finish(process: Any, folder: Path) -> None:
    process.join(PATIENCE)
    assert process.exitcode == 0, (folder / ".error").read_text()


def kill(process: Any, folder: Path, step: int, seconds: float = 0.0) -> None:
    """Kills a run so long after it has written this update down."""
    log, until = folder / "run" / "metrics.jsonl", time.monotonic() + PATIENCE
    while not log.exists() or f'"step": {step},' not in log.read_text():
        assert process.is_alive() and time.monotonic() < until, (folder / ".error").read_text()
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def assert_the_same_end(one: Path, other: Path) -> None:
    assert lines_without_seconds(one / "run") == lines_without_seconds(other / "run")
    (step, ones), (twin, others) = (newest(folder / "run") for folder in (one, other))
    assert step == twin
    assert_same_arrays(ones, others)


def test_a_run_that_is_killed_within_a_fade_goes_on_bit_for_bit(runs, tmp_path):
    killed = runs(16, 24, 2)
    kill(killed.start(tmp_path), tmp_path, step=5)
    finish(killed.start(tmp_path), tmp_path)
    assert_the_same_end(killed.whole, tmp_path)


@pytest.mark.long("a process a kill")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_at_random_moments_of_every_stage_goes_on_bit_for_bit(seed, runs, tmp_path):
    """Sixteen updates of 4 pixels, twelve in which 8 pixels fade in, and twelve of 8 pixels."""
    killed, draw = runs(64, 96, 8), random.Random(seed)
    # The first and the last update of the fade, two within it, two in each of the others.
    steps = [*draw.sample(range(1, 15), 2), 16, *draw.sample(range(18, 27), 2), 28, *draw.sample(range(30, 39), 2)]
    for step in sorted(steps):
        kill(killed.start(tmp_path), tmp_path, step, draw.uniform(0, 0.05))
    finish(killed.start(tmp_path), tmp_path)
    assert_the_same_end(killed.whole, tmp_path)
    assert newest(tmp_path / "run")[0] == 40
