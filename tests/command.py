"""`python -m igan.main` as a person meets it: each command in a process of its own, and what it printed and left.

It is forked from one that has imported igan already: a fresh interpreter would take seconds a command.
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
EXPERIMENT = f"--config={REPOSITORY / 'experiments' / 'mnist.py'}"
SMALL = (
    "--config.data.source=embedded",
    "--config.devices=1",
    "--config.batch_size=16",
    "--config.initial_images=32",
    "--config.steps_per_chunk=5",
    "--config.networks.latent_size=8",
    "--config.networks.generator_layers=(12,12)",
    "--config.networks.discriminator_layers=(16,12)",
)
# Seconds until a test gives up: what takes one on a quiet machine may take a minute on a busy one.
PATIENCE = 300


class Outcome(NamedTuple):
    code: int | None
    out: str
    error: str


Command = Callable[..., Outcome]


def run_main(arguments: list[str], folder: Path, environment: dict[str, str], module: str = "igan.main") -> None:
    os.chdir(folder)
    os.environ.update(environment)
    for name, descriptor in (("out", 1), ("error", 2)):
        with (folder / f".{name}").open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.argv = [module, *arguments]

    from absl import app

    command = importlib.import_module(module)
    app.run(command.main, flags_parser=command.parse)


def run_in(
    processes: Any, arguments: list[str], folder: Path, environment: dict[str, str], module: str = "igan.main"
) -> Outcome:
    """Runs a command in a folder, in a process of its own that `processes` forks, and returns what came of it."""
    process = processes.Process(target=run_main, args=(arguments, folder, environment, module))
    process.start()
    process.join(timeout=PATIENCE)
    if process.is_alive():
        process.kill()
        pytest.fail(f"{arguments} did not end")
    out, error = ((folder / f".{name}").read_text() for name in ("out", "error"))
    return Outcome(process.exitcode, out, error)


def refused(outcome: Outcome, *words: str) -> str:
    """Checks that a command was refused with one line holding these words, and returns the line."""
    lines = outcome.error.splitlines()
    assert outcome.code == 2, outcome
    assert len(lines) == 1 and lines[0].startswith("error: "), outcome.error
    assert "Traceback" not in outcome.out + outcome.error
    for word in words:
        assert word in lines[0]
    return lines[0]


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in (".out", ".error"))
