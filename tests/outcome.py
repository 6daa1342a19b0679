"""What a run has left behind, to be compared bit for bit with what another one has."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from igan.run import experiment, workdir
from igan.run.checkpoint import Checkpoints
from igan.types import GameState


def lines_without_seconds(folder: Path) -> list[dict]:
    lines = workdir.metrics(folder)
    for line in lines:
        assert line.pop("seconds") >= 0
    return lines


def newest(folder: Path, checkpoints: str = "checkpoints") -> tuple[int, list[np.ndarray]]:
    """The step of the newest checkpoint and all it holds: parameters, averages, optimiser states, statistics, key."""
    config = workdir.load(folder)
    config.devices = 1
    with Checkpoints(folder / checkpoints, keep=2, note=pytest.fail, read_only=True) as saved:
        found = saved.restore_latest(experiment.build(config).engine.state_shape)
    assert found is not None
    step, state = found
    assert int(state.step) == step
    return step, [
        np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in jax.tree.leaves(state)
    ]


def state_at(built: experiment.Experiment, step: int, seed: int = 1) -> GameState:
    """The state of the beginning as if it were that of a later update, laid out as the engine wants it."""
    state = built.engine.initialize(seed)._replace(step=np.int32(step))
    return jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), state, built.engine.state_shape)


def assert_same_arrays(ones: list[np.ndarray], others: list[np.ndarray]) -> None:
    for left, right in zip(ones, others, strict=True):
        assert left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: what was asked for, reported, drawn, learned, remembered; of the end all but times and versions."""
    assert lines_without_seconds(one) == lines_without_seconds(other)
    assert (one / "config.json").read_bytes() == (other / "config.json").read_bytes()
    pictures = [sorted(path.name for path in (folder / "samples").iterdir()) for folder in (one, other)]
    assert pictures[0] == pictures[1]
    for picture in pictures[0]:
        assert (one / "samples" / picture).read_bytes() == (other / "samples" / picture).read_bytes()
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    for summary in summaries:
        for timing in ("seconds", "seconds_to_first_step", "compile_seconds"):
            assert summary.pop(timing) >= 0
        del summary["versions"]  # Someone may commit meanwhile.
    assert summaries[0] == summaries[1] and summaries[0]["finished"]
    for checkpoints in ("checkpoints", "best"):
        assert (one / checkpoints).exists() == (other / checkpoints).exists()
        if (one / checkpoints).exists():
            (step, ones), (other_step, others) = newest(one, checkpoints), newest(other, checkpoints)
            assert step == other_step and len(ones) > 8
            assert_same_arrays(ones, others)
