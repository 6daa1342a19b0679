"""A run that goes on with another number of devices: the same numbers to rounding, or a refusal."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from igan.errors import UserError
from igan.run import train, workdir
from tests.outcome import assert_same_arrays, newest
from tests.xla import LONG

# All counts with IGAN_LONG_TESTS: each is a run with programs of its own.
COUNTS = (1, 2, 4, 8) if LONG else (1, 8)


@pytest.fixture
def config(small: ConfigDict) -> ConfigDict:
    """Fifty updates of gradient descent, with a checkpoint after 40."""
    small.epochs, small.batch_size = 1, 80
    small.checkpoint.interval, small.evaluation.interval = 40, 10
    small.reporting.samples = 4
    small.networks.generator_layers, small.networks.discriminator_layers = (12,), (20,)
    small.techniques.semi_supervised.enabled = False
    small.techniques.minimax.discriminator_weight = 1.0
    for player in (small.discriminator, small.generator):
        player.optimizer, player.learning_rate = "sgd", 0.003
    return small


def saved(folder: Path, copy: Path) -> Path:
    """A copy of a run as it was after 40 updates."""
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "checkpoints" / "50")
    return copy


def test_a_run_of_eight_devices_goes_on_with_fewer(config: ConfigDict, tmp_path: Path) -> None:
    config.devices = 8
    train.run(config, tmp_path / "eight")
    _, undisturbed = newest(tmp_path / "eight")
    for count in COUNTS:
        folder = saved(tmp_path / "eight", tmp_path / f"on {count}")
        config.devices = count
        assert train.run(config, folder)["device"] == f"{count} x cpu"
        step, arrays = newest(folder)
        assert step == 50
        for one, other in zip(arrays, undisturbed, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        if count == 8:
            assert_same_arrays(arrays, undisturbed)


def test_devices_that_are_a_batch_each_are_kept(config: ConfigDict, tmp_path: Path) -> None:
    """Of `sharding="per_device"` the number of devices is what is computed."""
    config.sharding, config.devices = "per_device", 2
    train.run(config, tmp_path / "run")
    _, undisturbed = newest(tmp_path / "run")
    folder = saved(tmp_path / "run", tmp_path / "copy")
    config.devices = 4
    with pytest.raises(UserError, match="devices: was 2, now 4, each with its part of a batch"):
        train.run(config, folder)
    config.devices = 0  # All there are: eight, which is not what it began with.
    assert train.run(config, folder)["device"] == "2 x cpu"
    assert_same_arrays(newest(folder)[1], undisturbed)
    assert workdir.load(folder).devices == 2 < len(jax.devices())
