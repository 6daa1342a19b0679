"""Prints the test errors of several runs, and of the ensemble of all their games.

    python -m igan.ensemble runs/draw_1 runs/draw_2 runs/draw_3

An ensemble averages its games' class probabilities, each with averaged parameters (Salimans et al. 2016, table 1: 10
models of 10 label draws). Runs are told apart by their seeds, mostly; the replicas of one are an ensemble already. Exit
codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from igan.data import Dataset
from igan.errors import UserError
from igan.evaluate import code_of, restore
from igan.game import inference
from igan.run import drawing, workdir
from igan.run.experiment import Experiment
from igan.types import Array, GameState, Params, Turn, Variables
from igan.version import ShowVersion


class Member(NamedTuple):
    """The games of a run, as classifiers of its test images."""

    step: int
    probabilities: np.ndarray  # float64 [R, n, classes]
    labels: np.ndarray  # int32 [n]
    data: str  # What identifies the images.

    @property
    def errors(self) -> list[int]:
        """Misclassified images of each replica."""
        return [errors(each, self.labels) for each in self.probabilities]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return code_of(_parser().parse_args(arguments), run)


def run(options: argparse.Namespace) -> None:
    """Tests the games of each run, and all together."""
    members: list[Member] = []
    for name in options.runs:
        members.append(member := tested(Path(name).expanduser(), options.data_dir))
        if member.data != members[0].data:
            raise UserError(f"{name} was tested on other images than {options.runs[0]}: an ensemble needs the same")
        counts = ", ".join(f"{count:,}" for count in member.errors)
        print(f"{name}: {counts} errors of {len(member.labels):,} at update {member.step:,}", flush=True)
    together = np.concatenate([member.probabilities for member in members])
    labels = members[0].labels
    each = [count for member in members for count in member.errors]
    spread = f" ± {np.std(each, ddof=1):.1f}" if len(each) > 1 else ""
    print(f"mean of {len(each)} games{' ± sample standard deviation' * (len(each) > 1)}: {np.mean(each):.1f}{spread}")
    print(f"their ensemble: {errors(together.mean(axis=0), labels)} errors of {len(labels):,}")


def tested(directory: Path, data_dir: str | None = None) -> Member:
    """Returns the games of a run's newest checkpoint.

    Raises UserError for what is no run, or one without test errors.
    """
    built = drawing.reopen(workdir.load(directory), data_dir, with_data=True)
    if not built.has_test_errors or not isinstance(built.dataset, Dataset):
        raise UserError(f"{directory} has no test errors: its discriminator is no classifier, or it has no test images")
    step, state = restore(directory, built, best=False)
    labels = np.asarray(built.dataset.test_labels)
    return Member(step, probabilities(built, state, built.dataset), labels, built.dataset.fingerprint())


def probabilities(built: Experiment, state: GameState, dataset: Dataset) -> np.ndarray:
    """Returns what the averaged discriminators say of the test images, float64 [R, n, classes]."""
    networks, stage = built.game.networks, built.plan.reached(int(state.step))
    turn, player = Turn(state.step, state.step, stage), state.discriminator

    def encode(stored: Array | np.ndarray) -> Array:
        return dataset.space.encode(stored, networks.image_range)

    @jax.jit
    def of_all(params: Params, variables: Variables) -> Array:
        images, at_once = jax.numpy.asarray(dataset.test_images), built.plan.tested_at_once(stage)
        return inference.class_probabilities(networks, params, variables, turn, images, at_once, encode)

    return np.asarray(of_all(player.average, player.variables), np.float64)


def errors(probabilities: np.ndarray, labels: np.ndarray) -> int:
    """Returns how many of n images have another class than the most probable.

    >>> errors(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    1
    """
    return int((probabilities.argmax(axis=-1) != labels).sum())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.ensemble", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the work directory of a run")
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its data, if not where the runs found them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
