"""The engine: chunks, replicas and devices change how fast a game is played, never how it goes."""

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from igan.errors import UserError
from igan.game import inference, sharding
from igan.game.sharding import make_mesh
from igan.game.stages import Plan, complete_stages
from igan.run import experiment
from igan.run.experiment import Experiment
from igan.types import GameState, Metrics, Stage
from tests.collectives import COLLECTIVE

UPDATES = 3
pytestmark = pytest.mark.usefixtures("optimized")
SEED = 1

Build = Callable[..., Experiment]


@pytest.fixture(scope="module")
def built_before() -> dict[tuple, Experiment]:
    return {}


@pytest.fixture
def build(small: ConfigDict, built_before: dict[tuple, Experiment]) -> Build:
    """Builds and compiles an experiment once for all tests: the small MNIST game, plain gradient descent."""

    def build(optimizer: str = "sgd", **changes: Any) -> Experiment:
        name = (optimizer, *sorted(changes.items()))
        if name not in built_before:
            config = small.copy_and_resolve_references()
            config.networks.generator_layers = (12,)
            config.networks.discriminator_layers = (20,)
            config.networks.input_noise = 0.0
            for player in ("discriminator", "generator"):
                config[player].optimizer = optimizer
                config[player].learning_rate = 0.1 if optimizer == "sgd" else 3e-3
            config.update(changes)
            built_before[name] = experiment.build(config)
        return built_before[name]

    return build


def play(built: Experiment, seed: int = SEED, chunks: tuple[int, ...] = (UPDATES,)) -> tuple[GameState, Metrics]:
    """Returns the state and the metrics [R, updates] after these chunks, as NumPy arrays."""
    state, metrics = built.engine.initialize(seed), []
    for updates in chunks:
        state, numbers = built.engine.run(state, built.plan.stages[0], updates)
        metrics.append(jax.device_get(numbers))
    together = {name: np.concatenate([chunk[name] for chunk in metrics], axis=1) for name in metrics[0]}
    return fetch(state), together


def compiled(built: Experiment) -> str:
    return built.engine.compile(built.plan.stages[0], UPDATES).as_text()


def fetch(state: GameState) -> Any:
    return jax.device_get(state._replace(key=jax.random.key_data(state.key)))


def replica(state: GameState, index: int) -> GameState:
    return jax.tree.map(lambda leaf: leaf[index : index + 1], state._replace(step=None))._replace(step=state.step)


def compare(one: Any, other: Any, tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), one, other)


def assert_moved(built: Experiment, state: GameState) -> None:
    """The comparisons above would mean little if nothing had happened."""
    before = fetch(built.engine.initialize(SEED))
    for player in ("generator", "discriminator"):
        old, new = (jax.tree.leaves(getattr(each, player).params) for each in (before, state))
        assert max(np.abs(a - b).max() for a, b in zip(old, new, strict=True)) > 0.01


def test_it_does_not_matter_how_updates_are_cut_into_chunks(build):
    built = build("adam")
    whole, parts = play(built, chunks=(4,)), play(built, chunks=(2, 2))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    assert whole[0].step == 4
    assert {values.shape for values in whole[1].values()} == {(1, 4)}
    other_seed, _ = play(built, seed=SEED + 1, chunks=(2, 2))
    assert not np.array_equal(*(jax.tree.leaves(each.generator.params)[0] for each in (whole[0], other_seed)))


def test_the_steady_state_compiles_nothing_and_donates_its_buffers(build, monkeypatch):
    built = build("adam")
    state = built.engine.initialize(SEED)
    state, _ = built.engine.run(state, built.plan.stages[0], 2)
    built.engine.test_errors(state, built.plan.stages[0]), built.engine.sample(state, built.plan.stages[0], 4)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **details: compiled.append(event) if "compile" in event else None
    )
    try:
        after, _ = built.engine.run(state, built.plan.stages[0], 2)
        built.engine.test_errors(after, built.plan.stages[0]), built.engine.sample(after, built.plan.stages[0], 4)
        assert compiled == []
        jax.jit(lambda number: number * 3.25 + 1)(1.0).block_until_ready()
        assert compiled  # The listener listens.
    finally:
        jax.monitoring.clear_event_listeners()
    large = [leaf for leaf in jax.tree.leaves(state._replace(key=None)) if leaf.size > 1]
    assert large
    assert all(leaf.is_deleted() for leaf in large)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after._replace(key=None)))


def test_a_state_has_the_announced_form(build):
    built = build("adam")
    state, _ = built.engine.run(built.engine.initialize(SEED), built.plan.stages[0], 2)
    for leaf, announced in zip(*map(jax.tree.leaves, (state, built.engine.state_shape)), strict=True):
        assert (leaf.shape, leaf.dtype) == (announced.shape, announced.dtype)
        assert leaf.sharding.is_equivalent_to(announced.sharding, leaf.ndim)


@pytest.mark.parametrize("devices", [1, 8])
def test_a_replica_plays_the_game_of_a_solo_run(build, devices):
    several = build(replicas=8, devices=devices)
    state, metrics = play(several)
    for index in (0, 5):
        solo = build(seed=SEED + index)
        np.testing.assert_array_equal(several.labeled[index], solo.labeled[0])
        alone, alone_metrics = play(solo, seed=SEED + index)
        compare(replica(state, index), alone, 1e-5)
        compare({name: values[index : index + 1] for name, values in metrics.items()}, alone_metrics, 1e-5)
        if index == 0:
            assert_moved(solo, alone)
    # And each plays its own: no two have the same labels, images or noise.
    assert len({tuple(labels) for labels in several.labeled.tolist()}) == 8
    assert all(
        len(set(values[:, 0].tolist())) == 8 for name, values in metrics.items() if name != "d/semi_supervised/error"
    )


def test_replicas_on_eight_devices_play_as_on_one(build):
    one, eight = play(build(replicas=8, devices=1)), play(build(replicas=8, devices=8))
    compare(one, eight, 1e-5)


def test_a_batch_split_over_eight_devices_is_the_same_batch(build):
    one, eight = play(build(seed=SEED)), play(build(devices=8))
    compare(one, eight, 1e-5)


def test_replicas_shard_without_any_collective(build):
    program = compiled(build(replicas=8, devices=8))
    assert "num_partitions=8" in program
    assert COLLECTIVE.findall(program) == []


def test_a_split_batch_needs_collectives(build):
    """Otherwise the test above would show nothing."""
    assert "all-reduce" in COLLECTIVE.findall(compiled(build(devices=8)))


def test_each_device_does_its_share_of_a_split_batch(build):
    # No matrix product has the rows of the whole batch of 16, or of three of them side by side.
    program = compiled(build(devices=8))
    products = re.findall(r"= f32\[([\d,]+)\]\S* dot\(", program)
    assert products
    rows = {int(shape.split(",")[-2]) for shape in products if "," in shape}
    assert not rows & {16, 48}


@pytest.mark.parametrize(("replicas", "batch_size", "shape"), [(1, 16, (1, 8)), (8, 3, (8, 1)), (16, 1, (8, 1))])
def test_several_replicas_are_dealt_out_and_a_single_one_is_split(replicas, batch_size, shape):
    mesh = make_mesh(plan(replicas, batch_size), jax.devices())
    assert (mesh.axis_names, mesh.devices.shape) == ((sharding.REPLICA, sharding.DATA), shape)
    assert set(mesh.devices.flat) == set(jax.devices())


@pytest.mark.parametrize(
    ("replicas", "batch_size", "message"),
    [
        (10, 16, "10 replicas .* 8 devices: set --config.replicas to a multiple of 8, or --config.devices=5"),
        (
            1,
            100,
            "100 images of a batch .* 8 devices: set --config.batch_size to a multiple of 8, or --config.devices=5",
        ),
        (3, 16, "3 replicas .* or --config.devices=3"),
        (1, 7, "7 images of a batch .* or --config.devices=7"),
    ],
)
def test_what_cannot_be_dealt_out_evenly_is_refused(replicas, batch_size, message):
    with pytest.raises(UserError, match=message):
        make_mesh(plan(replicas, batch_size), jax.devices())


def test_the_batch_that_cannot_be_dealt_out_is_named(small):
    """Sixteen images are for eight devices; the twelve of the generator, or four parts of sixteen, are not."""
    small.devices = 8
    small.generator.batch_size = 12
    with pytest.raises(
        UserError, match=r"^12 images .* 8 devices: set --config\.generator\.batch_size to a multiple of 8"
    ):
        experiment.build(small)
    small.generator.batch_size, small.accumulate = 0, 4
    with pytest.raises(
        UserError, match=r"^16 images of a batch in 4 parts .* --config\.batch_size to a multiple of 32,"
    ):
        experiment.build(small)


def plan(replicas: int, batch_size: int) -> Plan:
    stages = complete_stages([Stage()], (batch_size, batch_size), steps=(1, 1))
    return Plan(replicas, discriminator_steps=1, generator_steps=1, initial_images=32, stages=stages)


def test_there_are_only_so_many_devices(small):
    small.devices = 9
    with pytest.raises(UserError, match=r"devices=9 but there are 8: use --config\.devices=0"):
        experiment.build(small)


def probabilities(params: Any, variables: Any, images: np.ndarray) -> np.ndarray:
    """The discriminator's class probabilities in float64: no noise, weights of norm 1 times their scale."""
    values = images.reshape(len(images), -1) / 255.0
    for layer, scales in (("WeightNormDense_0", variables["constants"]), ("WeightNormDense_1", params)):
        direction, bias = (np.asarray(params[layer][name], np.float64) for name in ("direction", "bias"))
        kernel = direction / np.sqrt((direction**2).sum(axis=0)) * scales[layer]["scale"]
        values = values @ kernel + bias
        values = np.maximum(values, 0) if layer == "WeightNormDense_0" else values
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_test_images_go_through_in_batches_of_the_size_that_was_trained_with(build, monkeypatch):
    """Which is that of a part, where a batch is looked at in several: minibatch features look at the whole of it."""
    asked = []

    def listen(*arguments: Any) -> Any:
        asked.append(arguments[5])
        raise InterruptedError

    monkeypatch.setattr(inference, "test_errors", listen)
    for accumulate, size in ((1, 16), (4, 4)):
        built = build(accumulate=accumulate)
        with pytest.raises(InterruptedError):
            built.engine.test_errors(built.engine.initialize(SEED), built.plan.stages[0])
        assert asked[-1] == size


def test_test_errors_are_counted_like_this(build):
    built = build(replicas=8, devices=8)
    state, _ = built.engine.run(built.engine.initialize(SEED), built.plan.stages[0], UPDATES)
    errors = jax.device_get(built.engine.test_errors(state, built.plan.stages[0]))
    images, labels = built.dataset.test_images, built.dataset.test_labels
    player = fetch(state).discriminator
    averaged, raw = (
        np.stack(
            [
                probabilities(
                    *(jax.tree.map(lambda leaf, r=r: leaf[r], each) for each in (params, player.variables)), images
                )
                for r in range(8)
            ]
        )
        for params in (player.average, player.params)
    )
    assert errors.averaged.tolist() == (averaged.argmax(axis=-1) != labels).sum(axis=-1).tolist()
    assert errors.raw.tolist() == (raw.argmax(axis=-1) != labels).sum(axis=-1).tolist()
    assert errors.ensemble == (averaged.mean(axis=0).argmax(axis=-1) != labels).sum()
    assert errors.averaged.tolist() != errors.raw.tolist()
    assert len(set(errors.averaged.tolist())) > 1


def test_one_latent_gives_one_image(build):
    built = build("adam")
    state, _ = built.engine.run(built.engine.initialize(SEED), built.plan.stages[0], 2)
    four, eight = (np.asarray(built.engine.sample(state, built.plan.stages[0], count)) for count in (4, 8))
    assert four.shape == (1, 4, 28, 28, 1)
    assert four.dtype == np.float32
    np.testing.assert_allclose(four, eight[:, :4], atol=1e-6)
    assert 0 <= eight.min() < eight.max() <= 1
    assert all(np.abs(eight[0, a] - eight[0, b]).max() > 0.01 for a in range(8) for b in range(a))


def test_samples_are_of_the_averaged_generator_with_statistics_of_its_own(build):
    built = build("adam")
    state, _ = built.engine.run(built.engine.initialize(SEED), built.plan.stages[0], 2)
    images = np.asarray(built.engine.sample(state, built.plan.stages[0], 4))

    def sample_with(**changes: Any) -> np.ndarray:
        return np.asarray(
            built.engine.sample(state._replace(generator=state.generator._replace(**changes)), built.plan.stages[0], 4)
        )

    def ruin(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf * 0 + 1e3, tree)

    np.testing.assert_array_equal(sample_with(params=ruin(state.generator.params)), images)
    np.testing.assert_array_equal(sample_with(variables=ruin(state.generator.variables)), images)
    assert np.abs(sample_with(average=state.generator.params) - images).max() > 1e-4


def test_replicas_sample_their_own_images(build):
    built = build(replicas=8, devices=8)
    images = np.asarray(built.engine.sample(built.engine.initialize(SEED), built.plan.stages[0], 2))
    assert images.shape == (8, 2, 28, 28, 1)
    assert len({each.tobytes() for each in images}) == 8
