"""From a config to everything a run needs: data, networks, the game, and the engine that plays it."""

from typing import Any, NamedTuple

import jax
import numpy as np

from igan import data, engine, models, optimizer, technique
from igan.config import Config, validate
from igan.data.batches import Resident
from igan.engine import Engine, Plan
from igan.errors import UserError
from igan.step import Game
from igan.types import Networks


class Experiment(NamedTuple):
    """A config, resolved and built."""

    dataset: data.Dataset
    networks: Networks
    engine: Engine
    labeled: np.ndarray | None  # int32 [R, m]: the training images whose labels replica r knows.
    devices: list[Any]
    updates_per_epoch: int
    total_updates: int
    updates_per_chunk: int


def build(config: Config) -> Experiment:
    """Returns the experiment of a config.

    Raises UserError where the config is off, does not fit its data or its devices, or the data cannot be had.
    """
    validate(config)
    devices = _choose_devices(config.devices)
    plan = Plan(
        config.replicas, config.batch_size, config.discriminator.steps, config.generator.steps, config.initial_images
    )
    mesh = engine.make_mesh(plan, devices)
    dataset = data.load(config.data.name, config.data.source, config.data.dir)
    size = len(dataset.train_images)
    if config.batch_size > size:
        raise UserError(
            f"batch_size={config.batch_size} is larger than the {size:,} training images of {dataset.name}:"
            f" use --config.batch_size={min(100, size)}"
        )
    updates_per_epoch = max(1, size // (config.batch_size * config.discriminator.steps))
    total_updates = config.epochs * updates_per_epoch
    if total_updates * config.batch_size * max(plan.discriminator_steps, plan.generator_steps) >= 2**31:
        raise UserError(f"epochs={config.epochs} is more than 2^31 images: use a smaller --config.epochs")
    semi_supervised = config.techniques.semi_supervised.enabled
    labeled = _draw_labels(config, dataset) if semi_supervised else None
    classes = dataset.classes if semi_supervised else None
    networks = models.load(config.networks, dataset.train_images.shape[1:], classes)
    techniques = technique.load(config.techniques)
    game = Game(
        networks=networks,
        techniques=techniques,
        discriminator_optimizer=technique.wrap(
            optimizer.make(config.discriminator, total_updates * config.discriminator.steps),
            [each.discriminator_optimizer for each in techniques.values()],
        ),
        generator_optimizer=technique.wrap(
            optimizer.make(config.generator, total_updates * config.generator.steps),
            [each.generator_optimizer for each in techniques.values()],
        ),
        average_rate=config.average_rate,
    )
    resident = Resident(dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
    return Experiment(
        dataset=dataset,
        networks=networks,
        engine=engine.make(game, plan, resident, labeled, mesh),
        labeled=labeled,
        devices=devices,
        updates_per_epoch=updates_per_epoch,
        total_updates=total_updates,
        updates_per_chunk=min(total_updates, config.steps_per_chunk or _choose_chunk(config, devices)),
    )


def _choose_devices(count: int) -> list[Any]:
    available = jax.devices()
    if count > len(available):
        raise UserError(f"devices={count} but there are {len(available)}: use --config.devices=0 for all of them")
    return available[: count or len(available)]


def _choose_chunk(config: Config, devices: list[Any]) -> int:
    # About a second or two of the MNIST game: long enough to hide the host, short enough to stop promptly. A divisor
    # of the evaluation's interval, so that runs with other numbers of replicas are evaluated at the same steps.
    most = max(5, 50 // config.replicas) if devices[0].platform == "cpu" else 300
    return max(chunk for chunk in range(1, most + 1) if config.evaluation.interval % chunk == 0)


def _draw_labels(config: Config, dataset: data.Dataset) -> np.ndarray:
    seeds = range(config.seed, config.seed + config.replicas)
    return np.stack([data.labeled_indices(dataset.train_labels, config.labels_per_class, seed) for seed in seeds])
