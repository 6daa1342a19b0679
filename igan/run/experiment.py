"""From a config to everything a run needs: data, networks, the game, and the engine that plays it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from igan import data, models
from igan.config import PER_DEVICE, Config, validate
from igan.errors import UserError
from igan.game import engine, optimizer, sharding, technique
from igan.game.batches import Resident
from igan.game.engine import Engine
from igan.game.schedule import Schedule
from igan.game.stages import Plan, complete_stages
from igan.game.technique import Game, Technique
from igan.models.functional import rematerialised
from igan.run.pace import choose_chunk
from igan.types import Networks


class Experiment(NamedTuple):
    """A config, resolved and built."""

    dataset: data.Dataset | data.Stream
    training_images: int
    test_examples: int  # 0 where there is no test set.
    game: Game
    engine: Engine
    plan: Plan
    labels: np.ndarray  # int32 [m] of training images: of all, or of those for initialisation where data are streamed.
    labeled: np.ndarray | None  # int32 [R, m]: the training images whose labels replica r knows, if not all or none.
    has_test_errors: bool
    devices: list[Any]
    updates_per_epoch: int
    total_updates: int
    updates_per_chunk: int


class Loaded(NamedTuple):
    """Data as `build` needs them."""

    dataset: data.Dataset | data.Stream
    resident: Resident  # What is kept on the devices.
    size: int  # Training images.


def build(
    config: Config, fit: bool = False, devices: Sequence[Any] | None = None, loaded: Loaded | None = None
) -> Experiment:
    """Returns the experiment of a config.

    Args:
      fit: whether to take all devices but those that cannot be given as much as the others: for whoever only looks at
        what the config's devices have trained. An error otherwise.
      devices: those there are, instead of JAX's.
      loaded: the data, instead of those that the config names; without images but their shapes nothing can be run.

    Raises UserError where the config is off, does not fit its data or its devices, or the data cannot be had.
    """
    validate(config)
    devices = sharding.choose_devices(
        devices or jax.devices(), 0 if fit else config.devices, config.sharding == PER_DEVICE
    )
    dataset, resident, size = loaded or load(config)
    if config.data.fingerprint not in ("", dataset.fingerprint()):
        raise UserError(
            f"the data of {dataset.name} are not those that this run began with ({dataset.origin}): restore them, or"
            " choose another --workdir"
        )
    if config.data.mirror and dataset.space.kind != "images":
        raise UserError(f"points have no left and right: use --config.data.mirror=False with {dataset.name}")
    techniques, networks, labels_seen = compose(config, dataset)
    labeled = _draw_labels(config, resident.labels) if labels_seen == "some" else None
    shared = (config.devices or len(devices)) if config.sharding == PER_DEVICE and config.replicas == 1 else 1
    plan = _plan(config, techniques, networks, size, labels_seen == "all", shared)
    networks = networks._replace(stages=plan.stages)
    devices = devices[: sharding.most_devices(plan, len(devices))] if fit else devices
    mesh = sharding.make_mesh(plan, devices)
    updates_per_epoch, total_updates = _schedule(config, plan, dataset.name, size)
    game = _game(config, plan, networks, techniques, total_updates)
    streams = isinstance(dataset, data.Stream)
    played = engine.make(game, plan, resident, labeled, mesh, dataset.space, streams)
    chunk = config.steps_per_chunk or choose_chunk(
        config, plan, game, played.state_shape, dataset.space, devices, streams
    )
    return Experiment(
        dataset=dataset,
        training_images=size,
        test_examples=len(resident.test_labels),
        game=game,
        engine=played,
        plan=plan,
        labels=np.asarray(resident.labels),
        labeled=labeled,
        # Joint networks judge real images beside generated ones only.
        has_test_errors="class_logits" in networks.gives and len(resident.test_labels) > 0 and not networks.joint,
        devices=devices,
        updates_per_epoch=updates_per_epoch,
        total_updates=total_updates,
        updates_per_chunk=min(total_updates, chunk),
    )


def compose(
    config: Config, dataset: data.Dataset | data.Stream
) -> tuple[dict[str, Technique], Networks, Literal["all", "some", "none"]]:
    """Returns techniques and networks that fit each other and the data, and which training images come with labels.

    Raises UserError, naming what does not go together.
    """
    techniques = technique.load(config.techniques)
    needs = _needs(config, techniques, dataset)
    networks = _networks(config, techniques, needs, dataset)
    if "labels" in needs or ("labeled" in needs and config.labels_per_class == 0):
        return techniques, networks, "all"
    if "labeled" not in needs:
        return techniques, networks, "none"
    if networks.joint:
        raise UserError(
            f"the networks '{config.networks.name}' see real and generated images in one batch, with the labels of the"
            " real ones: set --config.labels_per_class=0 for all labels, or choose other networks"
        )
    return techniques, networks, "some"


def reopen(config: Config) -> Experiment:
    """Builds the experiment of a run in order to look at its checkpoints, whatever devices it was trained on.

    Its games are held by as many devices as can share them, of each host by itself; `devices` are all there are, for
    images and scores.

    Raises UserError as `build`.
    """
    return build(config, fit=True, devices=jax.local_devices())._replace(devices=jax.devices())


def load(config: Config) -> Loaded:
    """Returns the data that a config names.

    Raises UserError where they cannot be had.
    """
    asked = config.data
    if not asked.stream:
        dataset = data.load(asked.name, asked.source, asked.dir, asked.image_size, asked.crop, asked.corrupt)
        resident = Resident(dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
        return Loaded(dataset, resident, len(dataset.train_images))
    stream = data.open_stream(asked.name, asked.source, asked.dir, asked.image_size, asked.crop, asked.corrupt)
    images, labels = next(stream.batches(config.seed, "initialize", min(config.initial_images, stream.size), 0))
    return Loaded(stream, Resident(images, labels, images[:0], labels[:0]), stream.size)


def _needs(config: Config, techniques: Mapping[str, Technique], dataset: data.Dataset | data.Stream) -> dict[str, str]:
    """Returns what the techniques need, and which of them needs it. What they need of the data is there."""
    needs = {need: name for name, each in techniques.items() for need in each.needs}
    if "images" in needs and dataset.space.kind != "images":
        raise UserError(
            f"{needs['images']} needs {technique.NEEDS['images']}, and those of {dataset.name} are"
            f" {dataset.space.kind}: set --config.techniques.{needs['images']}.enabled=False"
        )
    for need in ("class_logits", "labels", "labeled"):
        if need in needs and dataset.classes < 2:
            raise UserError(
                f"{dataset.name} has one class, and {needs[need]} needs two or more to tell apart:"
                f" set --config.techniques.{needs[need]}.enabled=False"
            )
    if "labels" in needs and config.labels_per_class:
        raise UserError(
            f"{needs['labels']} is for networks that are given labels, and labels_per_class={config.labels_per_class}"
            f" leaves most images without: {needs['labels']} needs {technique.NEEDS['labels']}"
        )
    if "labeled" in needs and config.data.stream and config.labels_per_class:
        raise UserError(
            f"labels_per_class={config.labels_per_class} but all labels of streamed data are used: set"
            " --config.labels_per_class=0, or --config.data.stream=False for data that fit in memory"
        )
    return needs


def _networks(
    config: Config,
    techniques: Mapping[str, Technique],
    needs: Mapping[str, str],
    dataset: data.Dataset | data.Stream,
) -> Networks:
    """Returns the networks, which give the techniques what they need."""
    classes = dataset.classes if "class_logits" in needs else None
    networks = models.load(config.networks, dataset.space, classes, technique.layers(techniques))
    given = networks.gives.union({"images", "labels", "labeled"}, *(each.gives for each in techniques.values()))
    for need, name in needs.items():
        if need not in given:
            is_setting = need == "independent_examples" and "discriminator_norm" in config.networks
            raise UserError(
                f"{name} needs {technique.NEEDS[need]}, and the networks '{config.networks.name}' are none:"
                f"{' set --config.networks.discriminator_norm=none,' * is_setting} choose others, or set"
                f" --config.techniques.{name}.enabled=False"
            )
    if config.remat:
        if not networks.blocks:
            raise UserError(f"the networks '{config.networks.name}' have no blocks: set --config.remat=False")
        players = (rematerialised(each) for each in (networks.generator, networks.discriminator))
        networks = networks._replace(**dict(zip(("generator", "discriminator"), players, strict=True)))
    return networks._replace(classes=dataset.classes if "labels" in needs else 0)


def _plan(
    config: Config, techniques: Mapping[str, Technique], networks: Networks, size: int, all_labeled: bool, shared: int
) -> Plan:
    steps = config.discriminator.steps, config.generator.steps
    batch_sizes = config.batch_size, config.generator.batch_size or config.batch_size
    stages = complete_stages(networks.stages, batch_sizes, steps)
    together = technique.batch_multiple(techniques)
    for stage in stages:
        for batch_size in stage.batch_sizes:
            if batch_size % (together * config.accumulate):
                raise UserError(
                    f"the networks '{config.networks.name}' have batches of {batch_size} images in their stage"
                    f" {stage.index + 1}, and techniques want multiples of {together * config.accumulate}"
                )
            if together > 1 and batch_size % (multiple := together * config.accumulate * shared):
                raise UserError(
                    f"sharding=per_device deals a batch of {batch_size} images out to {shared} devices, and techniques"
                    f" look at {together} images together: use multiples of {multiple}, or --config.sharding=global"
                )
    initial_images = min(config.initial_images, size) // together * together
    mirror = config.data.mirror
    return Plan(config.replicas, *steps, initial_images, stages, all_labeled, config.accumulate, shared, mirror)


def _game(config: Config, plan: Plan, networks: Networks, techniques: dict[str, Technique], total_updates: int) -> Game:
    schedule = Schedule(plan.stages, plan.discriminator_steps)
    if config.ramp_share:
        schedule = schedule._replace(ramp_images=round(config.ramp_share * int(schedule.images(total_updates))))
    discriminator, generator = (
        technique.wrap(
            optimizer.make(config[player], total_updates * config[player].steps, schedule, config[player].steps),
            [getattr(each, f"{player}_optimizer") for each in techniques.values()],
        )
        for player in ("discriminator", "generator")
    )
    return Game(
        networks,
        techniques,
        discriminator,
        generator,
        optimizer.average_rate(config.average_rate, config.average_start, config.average_half_life, schedule),
        config.accumulate,
        technique.GENERATED_LABELS[config.generated_labels](networks.classes),
        schedule,
    )


def _schedule(config: Config, plan: Plan, name: str, size: int) -> tuple[int, int]:
    """Returns the number of updates an epoch, and of all updates."""
    for field, batch_size in (("batch_size", config.batch_size), ("generator.batch_size", config.generator.batch_size)):
        if batch_size > size:
            raise UserError(
                f"{field}={batch_size} is larger than the {size:,} training images of {name}:"
                f" use --config.{field}={min(100, size)}"
            )
    for stage in plan.stages:
        if (batch_size := max(stage.batch_sizes)) > size:
            raise UserError(
                f"batches of {batch_size} in the stage '{stage.name}' are larger than the {size:,} training images of"
                f" {name}: set --config.networks.batch_sizes=..."
            )
    # An epoch is counted in images: stages may have batches of other sizes, and then it has not always as many updates.
    usual = config.batch_size * config.discriminator.steps
    images_per_epoch = max(1, size // usual) * usual
    total_updates = plan.updates_for(config.epochs * images_per_epoch)
    updates_per_epoch = max(1, total_updates // config.epochs)
    last = plan.stages[-1]
    if len(plan.stages) > 1 and last.start >= total_updates:
        raise UserError(
            f"the last stage of the networks '{config.networks.name}', {last.name or len(plan.stages)}, begins with"
            f" update {last.start:,}, and the run ends with update {total_updates:,}: use"
            f" --config.epochs={last.consumed[0] // images_per_epoch + 1} or more, or shorter stages"
            " (--config.networks.train_images=..., --config.networks.fade_images=...)"
        )
    rest = total_updates - last.start
    for consumed, steps, batch_size in zip(last.consumed, plan.steps, last.batch_sizes, strict=True):
        if consumed + rest * steps * batch_size >= 2**31:
            raise UserError(f"epochs={config.epochs} is more than 2^31 images: use a smaller --config.epochs")
    return updates_per_epoch, total_updates


def _draw_labels(config: Config, labels: Any) -> np.ndarray:
    seeds = range(config.seed, config.seed + config.replicas)
    return np.stack([data.labeled_indices(labels, config.labels_per_class, seed) for seed in seeds])
