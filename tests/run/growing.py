"""A small game that grows, for tests of its runs."""

import functools
from pathlib import Path

import pytest

from experiments import growing
from igan.metrics.extract import FeatureNetwork
from igan.run import scoring

UPDATES = 10  # Four of 4 pixels, three in which 8 pixels fade in, and three of 8 pixels.


def small(pictures: Path, variant: str = "pggan"):
    config = growing.get_config(variant)
    config.data.name = f"folder:{pictures}"
    config.networks.update(latent_size=3, base=8, most=2, train_images=16, fade_images=24, batch_sizes=(4, 8))
    config.devices, config.batch_size, config.initial_images, config.epochs = 1, 8, 8, 2
    config.steps_per_chunk = config.reporting.samples_interval = 1
    config.evaluation.interval = 1000  # The balance of each stage would be a program more to compile.
    config.checkpoint.interval, config.reporting.samples, config.checkpoint.keep = 1, 4, 20
    if config.networks.name == "style":
        layers = min(2, config.networks.mapping_layers)
        config.networks.update(first_resolution=4, mapping_width=4, mapping_layers=layers)
    return config


def see_with_a_toy(patch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Has scores look at images with a network that takes no time; returns the shapes that it sees, as it goes."""
    seen = []

    def features(params, images, levels):
        seen.append(images.shape[1:])
        return {level: images.reshape(len(images), -1)[:, 100:103].astype(float) for level in levels}

    patch.setattr(scoring.weights, "load", lambda path: path)
    patch.setattr(scoring.inception, "network", lambda _: FeatureNetwork("toy", ("768",), {}, features))
    return seen


def flat(config) -> dict[str, object]:
    """What `small` changes, for a command line."""
    fields = ["data.name", "devices", "batch_size", "initial_images", "epochs", "steps_per_chunk"]
    fields += [f"networks.{name}" for name in ("latent_size", "base", "most", "train_images", "fade_images")]
    fields += ["networks.batch_sizes", "evaluation.interval", "reporting.samples_interval", "checkpoint.interval"]
    return {field: functools.reduce(lambda at, name: at[name], field.split("."), config) for field in fields}
