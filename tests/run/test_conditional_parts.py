"""Conditional games in parts of a batch: dealt out to devices, as replicas, and streamed with labels, also resumed.

Dense networks, which are compiled quickly; with IGAN_LONG_TESTS=1 those of BigGAN too.
"""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import gans
from igan.config import default
from igan.run import experiment, train
from igan.run.feed import Stretch, chunks
from tests.outcome import assert_same_arrays, lines_without_seconds, newest
from tests.xla import LONG

CLASSES = 4
STEP = 60  # Of brightness, from one class to the next.


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Forty images of 8 x 8 pixels, which are the brighter the higher their class."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("classes")
    for index in range(40):
        path = folder / f"class {index % CLASSES}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = random.integers(0, STEP // 2, (8, 8, 3), np.uint8) + STEP * (index % CLASSES)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def networks(family):
    if family == "biggan":
        config = gans.get_config("biggan")
        config.networks.update(
            piece_size=3,
            embedding_size=2,
            generator_widths=(4, 8),
            discriminator_widths=(8, 4),
            discriminator_halvings=1,
        )
        config.techniques.self_attention.update(generator_resolution=8, discriminator_resolution=4)
        return config
    config = default("fully_connected")
    config.networks.update(
        latent_size=4, generator_layers=(5,), discriminator_layers=(7,), input_noise=0.0, hidden_noise=0.0
    )
    for name in ("hinge", "conditional_batch_norm", "projection", "spectral_norm"):
        config.techniques[name].enabled = True
    config.techniques.spectral_norm.players = "both"
    config.labels_per_class, config.generated_labels = 0, "uniform"
    return config


def game(classes, family="fully_connected", **changed):
    config = networks(family)
    config.data.name = f"folder:{classes}"
    config.devices, config.batch_size, config.accumulate, config.initial_images, config.epochs = 1, 8, 2, 8, 2
    config.discriminator.steps, config.average_start, config.steps_per_chunk = 2, 3, 1
    config.evaluation.interval = config.checkpoint.interval = config.reporting.samples_interval = 2
    config.reporting.samples = 4
    for field, value in changed.items():
        config[field] = value
    return config


@pytest.fixture(scope="module", params=["fully_connected", *["biggan"] * LONG])
def first_updates(request, classes):
    """(devices, replicas, seed) -> metrics of the first update, [replicas] each."""

    @functools.cache
    def build(devices: int, replicas: int):
        return experiment.build(game(classes, request.param, devices=devices, replicas=replicas))

    @functools.cache
    def play(devices: int = 1, replicas: int = 1, seed: int = 1):
        built = build(devices, replicas)
        state, metrics = built.engine.run(built.engine.initialize(seed), built.plan.stage(0), 1)
        # No parameters: Adam's first step makes as much of a slope that is rounding, of a bias before a normalisation.
        return jax.device_get(jax.tree.leaves((metrics, state.generator.variables, state.discriminator.variables)))

    return play


def test_devices_that_share_every_part_of_a_batch_play_the_same_game(first_updates):
    """Statistics are of the whole part, on all devices, as are the vectors of the spectral norm."""
    for alone, shared in zip(first_updates(), first_updates(devices=4), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=2e-3, atol=2e-4)


def test_two_replicas_are_two_runs(first_updates):
    both = first_updates(replicas=2)
    for replica in (0, 1):
        for pair, alone in zip(both, first_updates(seed=1 + replica), strict=True):
            np.testing.assert_allclose(pair[replica], alone[0], rtol=2e-3, atol=2e-4)


def streamed(classes, **changed):
    config = game(classes, **changed)
    config.data.stream, config.data.source = True, "folder"
    return config


def test_streamed_images_come_with_labels_of_their_own(classes):
    built = experiment.build(streamed(classes))
    stretches = [Stretch(0, built.plan.stage(0), 2)]
    for each in next(chunks(built.dataset, built.plan, built.engine, 1, stretches)):
        brightness = np.asarray(each.images).mean(axis=(-3, -2, -1))
        np.testing.assert_array_equal(np.asarray(each.labels), brightness // STEP)
        assert len(set(np.asarray(each.labels).ravel().tolist())) == CLASSES


def test_a_streamed_run_that_was_resumed_is_the_same(classes, tmp_path):
    """In the middle of the updates before its average starts."""
    train.run(streamed(classes, epochs=1), tmp_path / "parts")
    for name in ("parts", "whole"):
        train.run(streamed(classes), tmp_path / name)
    assert lines_without_seconds(tmp_path / "parts") == lines_without_seconds(tmp_path / "whole")
    (step, found), (_, expected) = (newest(tmp_path / name) for name in ("parts", "whole"))
    assert step == 4
    assert_same_arrays(found, expected)
