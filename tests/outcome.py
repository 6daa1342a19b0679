"""What a run has left behind, to be compared bit for bit with what another one has."""

from pathlib import Path

import jax
import numpy as np
import pytest

from igan.run import experiment, workdir
from igan.run.checkpoint import Checkpoints


def lines_without_seconds(folder: Path) -> list[dict]:
    lines = workdir.metrics(folder)
    for line in lines:
        assert line.pop("seconds") >= 0
    return lines


def newest(folder: Path) -> tuple[int, list[np.ndarray]]:
    """The step of the newest checkpoint and all it holds: parameters, averages, optimiser states, statistics, key."""
    config = workdir.load(folder)
    config.devices = 1
    with Checkpoints(folder / "checkpoints", keep=2, note=pytest.fail, read_only=True) as checkpoints:
        found = checkpoints.restore_latest(experiment.build(config).engine.state_shape)
    assert found is not None
    step, state = found
    assert int(state.step) == step
    return step, [
        np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in jax.tree.leaves(state)
    ]


def assert_same_arrays(ones: list[np.ndarray], others: list[np.ndarray]) -> None:
    for left, right in zip(ones, others, strict=True):
        assert left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
