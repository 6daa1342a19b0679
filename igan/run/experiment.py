"""From a config to everything a run needs: data, networks, the game, and the engine that plays it."""

from typing import Any, NamedTuple

import jax
import numpy as np

from igan import data, models
from igan.config import Config, validate
from igan.errors import UserError
from igan.game import engine, optimizer, technique
from igan.game.batches import Resident
from igan.game.engine import Engine, Plan
from igan.game.step import Game
from igan.types import Network, Networks

SECONDS_PER_CHUNK = 2.0  # Long enough to hide the host, short enough to stop promptly.
FLOPS_PER_SECOND = {"cpu": 5e10, "gpu": 3e13, "tpu": 5e13}  # What these networks reach, roughly, on one device.
MOST_UPDATES_PER_CHUNK = {"cpu": 50, "gpu": 300, "tpu": 300}
MOST_FEED_BYTES = 2**28  # Of streamed images on their way to the devices.


class Experiment(NamedTuple):
    """A config, resolved and built."""

    dataset: data.Dataset | data.Stream
    training_images: int
    test_examples: int  # 0 where there is no test set.
    image_shape: tuple[int, int, int]
    networks: Networks
    engine: Engine
    plan: Plan
    labeled: np.ndarray | None  # int32 [R, m]: the training images whose labels replica r knows, if not all or none.
    has_test_errors: bool
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
    semi_supervised = config.techniques.semi_supervised.enabled
    plan = Plan(
        config.replicas,
        config.batch_size,
        config.discriminator.steps,
        config.generator.steps,
        config.initial_images,
        all_labeled=semi_supervised and config.labels_per_class == 0,
    )
    mesh = engine.make_mesh(plan, devices)
    dataset, resident, size = _load(config)
    if config.data.fingerprint not in ("", dataset.fingerprint()):
        raise UserError(
            f"the data of {dataset.name} are not those that this run began with ({dataset.origin}): restore them, or"
            " choose another --workdir"
        )
    plan = plan._replace(initial_images=min(config.initial_images, size))
    updates_per_epoch, total_updates = _schedule(config, plan, dataset.name, size)
    height, width, channels = resident.images.shape[1:]
    image_shape = (height, width, channels)
    classes = _classes(config, dataset) if semi_supervised else None
    labeled = _draw_labels(config, resident.labels) if semi_supervised and not plan.all_labeled else None
    techniques = technique.load(config.techniques)
    networks = models.load(config.networks, image_shape, classes, technique.layers(techniques))
    if networks.joint and labeled is not None:
        raise UserError(
            f"the networks '{config.networks.name}' see real and generated images in one batch, with the labels of the"
            " real ones: set --config.labels_per_class=0 for all labels, or choose other networks"
        )
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
    streams = isinstance(dataset, data.Stream)
    chunk = config.steps_per_chunk or _choose_chunk(config, plan, networks, resident.images, devices, streams)
    return Experiment(
        dataset=dataset,
        training_images=size,
        test_examples=len(resident.test_labels),
        image_shape=image_shape,
        networks=networks,
        engine=engine.make(game, plan, resident, labeled, mesh, streams),
        plan=plan,
        labeled=labeled,
        # Joint networks judge real images beside generated ones only.
        has_test_errors=semi_supervised and len(resident.test_labels) > 0 and not networks.joint,
        devices=devices,
        updates_per_epoch=updates_per_epoch,
        total_updates=total_updates,
        updates_per_chunk=min(total_updates, chunk),
    )


def reopen(config: Config) -> Experiment:
    """Builds the experiment of a run in order to look at its checkpoints, whatever devices it was trained on.

    Its games are held by as many devices as can share them; `devices` are all there are, for images and scores.

    Raises UserError as `build`.
    """
    here = jax.devices()
    config.devices = engine.most_devices(config.replicas, config.batch_size, len(here))
    return build(config)._replace(devices=here)


def _load(config: Config) -> tuple[data.Dataset | data.Stream, Resident, int]:
    """Returns the data, what of them is kept on the devices, and the number of training images."""
    asked = config.data
    if not asked.stream:
        dataset = data.load(asked.name, asked.source, asked.dir, asked.image_size, asked.crop, asked.corrupt)
        resident = Resident(dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
        return dataset, resident, len(dataset.train_images)
    stream = data.open_stream(asked.name, asked.source, asked.dir, asked.image_size, asked.crop, asked.corrupt)
    images, labels = next(stream.batches(config.seed, "initialize", min(config.initial_images, stream.size), 0))
    return stream, Resident(images, labels, images[:0], labels[:0]), stream.size


def _schedule(config: Config, plan: Plan, name: str, size: int) -> tuple[int, int]:
    """Returns the number of updates an epoch, and of all updates."""
    if config.batch_size > size:
        raise UserError(
            f"batch_size={config.batch_size} is larger than the {size:,} training images of {name}:"
            f" use --config.batch_size={min(100, size)}"
        )
    updates_per_epoch = max(1, size // (config.batch_size * config.discriminator.steps))
    total_updates = config.epochs * updates_per_epoch
    if total_updates * config.batch_size * max(plan.steps) >= 2**31:
        raise UserError(f"epochs={config.epochs} is more than 2^31 images: use a smaller --config.epochs")
    return updates_per_epoch, total_updates


def _classes(config: Config, dataset: data.Dataset | data.Stream) -> int:
    if dataset.classes < 2:
        raise UserError(
            f"{dataset.name} has one class, and semi_supervised needs two or more to tell apart:"
            " set --config.techniques.semi_supervised.enabled=False"
        )
    if config.data.stream and config.labels_per_class:
        raise UserError(
            f"labels_per_class={config.labels_per_class} but all labels of streamed data are used: set"
            " --config.labels_per_class=0, or --config.data.stream=False for data that fit in memory"
        )
    return dataset.classes


def _choose_devices(count: int) -> list[Any]:
    # By host: of a batch that is split over them, each one holds a stretch.
    available = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if count > len(available):
        raise UserError(f"devices={count} but there are {len(available)}: use --config.devices=0 for all of them")
    if 0 < count < len(available) and jax.process_count() > 1:
        raise UserError(f"devices={count} would leave some hosts without any: use --config.devices=0 for all of them")
    return available[: count or len(available)]


def _choose_chunk(
    config: Config, plan: Plan, networks: Networks, images: Any, devices: list[Any], streams: bool
) -> int:
    """Returns how many updates to compute in one dispatch."""
    platform = devices[0].platform
    seconds = _flops_per_update(plan, networks, images) / (FLOPS_PER_SECOND.get(platform, 1e13) * len(devices))
    most = min(MOST_UPDATES_PER_CHUNK.get(platform, 300), int(SECONDS_PER_CHUNK / seconds))
    if streams:
        most = min(most, MOST_FEED_BYTES // (sum(plan.steps) * plan.batch_size * images[0].nbytes))
    # A divisor of the evaluation's interval, so that runs with other numbers of replicas are evaluated at the same
    # steps.
    return max(chunk for chunk in range(1, max(2, most + 1)) if config.evaluation.interval % chunk == 0)


def _flops_per_update(plan: Plan, networks: Networks, images: Any) -> float:
    """Returns a rough number of floating-point operations an update of all replicas."""
    key, inputs = jax.random.key(0), jax.ShapeDtypeStruct((plan.batch_size, *images.shape[1:]), np.float32)
    latents = jax.eval_shape(lambda: networks.sample_latents(key, plan.batch_size))

    def forward(network: Network, inputs: Any) -> float:
        params, variables = jax.eval_shape(network.init, key, inputs)
        apply = jax.jit(lambda *arguments: network.apply(*arguments, train=False)[0])
        cost = apply.lower(params, variables, key, inputs).cost_analysis()
        return (cost or {}).get("flops", 1e9)

    generator, discriminator = forward(networks.generator, latents), forward(networks.discriminator, inputs)
    # A backward pass costs about two forward ones; the discriminator sees up to three batches in its own steps, and in
    # the generator's two, with half a backward pass.
    discriminator_phase = plan.discriminator_steps * (generator + 9 * discriminator)
    return plan.replicas * (discriminator_phase + plan.generator_steps * (3 * generator + 3 * discriminator))


def _draw_labels(config: Config, labels: Any) -> np.ndarray:
    seeds = range(config.seed, config.seed + config.replicas)
    return np.stack([data.labeled_indices(labels, config.labels_per_class, seed) for seed in seeds])
