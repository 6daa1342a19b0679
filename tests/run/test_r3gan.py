"""R3GAN in a run: its schedules, augmentation and labels, stopped and resumed, and dealt out to devices."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import gans
from igan.run import experiment, train
from tests.outcome import assert_same_arrays, lines_without_seconds, newest, state_at

UPDATES, SAVED = 8, 3

pytestmark = pytest.mark.long("half a minute each")


@pytest.fixture(scope="module")
def classes(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `pictures` as those of two classes."""
    folder = tmp_path_factory.mktemp("classes")
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        to = folder / f"class {number % 2}" / path.name
        to.parent.mkdir(exist_ok=True)
        shutil.copy(path, to)
    return folder


def small(classes: Path) -> ConfigDict:
    """All that the recipe schedules over the whole run: both rates, gamma, beta2, half-life, augmentation."""
    config = gans.get_config("r3gan")
    config.data.name = f"folder:{classes}"
    config.networks.update(latent_size=3, widths=(4, 4), blocks=1, group_size=4)
    config.techniques.adaptive_augment.policy = ("color",)  # Slopes through what moves pixels take long to compile.
    config.devices, config.batch_size, config.initial_images, config.epochs = 1, 8, 8, 2
    config.steps_per_chunk = config.reporting.samples_interval = 1
    config.evaluation.interval, config.reporting.samples = 1000, 4
    config.checkpoint.interval, config.checkpoint.keep = SAVED, 20
    return config


def test_it_goes_on_bit_for_bit_in_the_middle_of_its_schedules(classes: Path, tmp_path: Path) -> None:
    config = small(classes)
    train.run(config, whole := tmp_path / "whole")
    shutil.copytree(whole, twin := tmp_path / "twin")
    for path in (twin / "checkpoints").iterdir():
        if path.name != str(SAVED):
            shutil.rmtree(path)
    train.run(config, twin)
    assert newest(twin)[0] == newest(whole)[0] == UPDATES
    assert_same_arrays(newest(twin)[1], newest(whole)[1])
    assert lines_without_seconds(twin) == lines_without_seconds(whole)


def test_eight_devices_that_share_every_batch_play_the_same_game(classes: Path) -> None:
    """In the middle of the schedules, where all that they move is on its way."""

    def fifth_update(devices: int) -> list[np.ndarray]:
        config = small(classes)
        config.devices = devices
        built = experiment.build(config)
        state, metrics = built.engine.run(state_at(built, 4), built.plan.stage(4), 1)
        return jax.device_get([*metrics.values(), *jax.tree.leaves(state.discriminator.variables)])

    for alone, shared in zip(fifth_update(1), fifth_update(8), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=2e-3, atol=2e-4)
