"""`sharding="per_device"`: what a step written with `jax.pmap` by hand computes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from igan.errors import UserError
from igan.game.batches import make_orders
from igan.planning import flops
from igan.randomness import stream
from igan.run import experiment
from igan.run.experiment import Experiment
from igan.types import Context, Critique, Params, Turn

DEVICES, BATCH, UPDATES, RATE = 4, 16, 3, 0.02


@pytest.fixture
def game(small: ConfigDict) -> ConfigDict:
    """With batch normalisation, minibatch features, feature matching and noise: all that devices can have apart."""
    small.sharding, small.devices = "per_device", DEVICES
    small.networks.generator_layers, small.networks.discriminator_layers = (12,), (20,)
    small.techniques.semi_supervised.enabled = False
    small.techniques.minimax.discriminator_weight = 1.0
    small.techniques.minibatch_discrimination.enabled = True
    small.average_rate = 1.0
    for player in (small.discriminator, small.generator):
        player.optimizer, player.learning_rate = "sgd", RATE
    return small


def play(built: Experiment, updates: int = UPDATES) -> tuple[Any, dict[str, np.ndarray]]:
    state, metrics = built.engine.run(built.engine.initialize(1), built.plan.stages[0], updates)
    return jax.device_get((state._replace(key=jax.random.key_data(state.key)), metrics))


class Hands(NamedTuple):
    """What the step by hand moves."""

    generator: Params
    discriminator: Params
    statistics: Any  # Of the generator's batch normalisation.


def by_hand(built: Experiment) -> tuple[Hands, dict[str, np.ndarray]]:
    """Plays with `jax.pmap`: every device its rows of each batch, its own key, and gradients that are averaged."""
    networks, stage = built.game.networks, built.plan.stages[0]
    state = jax.device_get(built.engine.initialize(1)._replace(key=None))
    state = jax.tree.map(lambda leaf: leaf[0], state._replace(step=None))
    key, constants = jax.random.key(1), state.discriminator.variables
    images = built.dataset.train_images
    orders = make_orders(key, jnp.int32(0), UPDATES, len(images), None, stage, (1, 1))
    sgd = optax.sgd(RATE)

    def draw(params: Params, variables: Any, key: jax.Array, turn: Turn) -> tuple[jax.Array, Any]:
        latents = networks.sample_latents(stream(key, "latents"), BATCH // DEVICES)
        return networks.generator.apply(params, variables, Context(stream(key, "generator"), turn, True), latents)

    def judge(params: Params, key: jax.Array, name: str, turn: Turn, images: jax.Array) -> Critique:
        at = Context(stream(stream(key, name), "discriminator"), turn, True)
        return networks.discriminator.apply(params, constants, at, images)[0]

    def step(hands: Hands, key: jax.Array, number: jax.Array, real: jax.Array, other: jax.Array) -> Any:
        key, turn = jax.random.fold_in(key, jax.lax.axis_index("devices")), Turn(number, number, stage)
        mine = stream(key, "discriminator/0", number)
        fake, _ = draw(hands.generator, hands.statistics, mine, turn)

        def discriminator_loss(params: Params) -> jax.Array:
            real_logits, fake_logits = (
                judge(params, mine, *each).logits for each in (("real", turn, real), ("fake", turn, fake))
            )
            return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))

        d_loss, slope = jax.value_and_grad(discriminator_loss)(hands.discriminator)
        moves, _ = sgd.update(jax.lax.pmean(slope, "devices"), sgd.init(hands.discriminator))
        discriminator = optax.apply_updates(hands.discriminator, moves)
        its = stream(key, "generator/0", number)

        def generator_loss(params: Params) -> tuple[jax.Array, Any]:
            fake, statistics = draw(params, hands.statistics, its, turn)
            ours, theirs = (
                judge(discriminator, its, name, turn, each).features.mean(axis=0)
                for name, each in (("fake", fake), ("real", other))
            )
            return jnp.mean(jnp.square(ours - theirs)), statistics

        (g_loss, statistics), slope = jax.value_and_grad(generator_loss, has_aux=True)(hands.generator)
        moves, _ = sgd.update(jax.lax.pmean(slope, "devices"), sgd.init(hands.generator))
        hands = Hands(optax.apply_updates(hands.generator, moves), discriminator, statistics)
        return hands, jax.lax.pmean((d_loss, g_loss), "devices")

    mapped = jax.pmap(step, "devices", in_axes=(0, None, None, 0, 0), devices=jax.devices()[:DEVICES])
    started = Hands(state.generator.params, state.discriminator.params, state.generator.variables)
    hands = jax.tree.map(lambda leaf: np.stack([leaf] * DEVICES), started)
    losses = []
    for number in range(UPDATES):
        real, other = (
            np.float32(images[np.asarray(order[number, 0])]).reshape(DEVICES, -1, *images.shape[1:]) / 255
            for order in (orders.discriminator, orders.generator)
        )
        hands, lost = mapped(hands, key, jnp.int32(number), real, other)
        losses.append([each[0] for each in lost])
    d_losses, g_losses = np.transpose(losses)
    hands = jax.device_get(hands)
    assert all(np.ptp(leaf, axis=0).max() > 1e-4 for leaf in jax.tree.leaves(hands.statistics)), (
        "all devices drew alike"
    )
    one = jax.tree.map(lambda leaf: leaf[0], hands)._replace(
        statistics=jax.tree.map(lambda leaf: leaf.mean(axis=0), hands.statistics)
    )
    return one, {"d/minimax": d_losses, "g/feature_matching": g_losses}


def test_it_is_a_step_written_with_pmap(game: ConfigDict) -> None:
    built = experiment.build(game)
    state, metrics = play(built)
    hands, losses = by_hand(built)
    ours = Hands(state.generator.params, state.discriminator.params, state.generator.variables)
    assert len(jax.tree.leaves(ours.statistics)) == 2
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one[0], other, rtol=0, atol=1e-6), ours, hands)
    for name, values in losses.items():
        np.testing.assert_allclose(metrics[name][0], values, rtol=1e-6, atol=1e-6)


def test_on_one_device_and_with_replicas_both_settings_are_one(game: ConfigDict) -> None:
    """The same program, and so the same bits."""
    for devices, replicas in ((1, 1), (2, 2), (DEVICES, 1)):
        game.devices, game.replicas = devices, replicas
        programs = []
        for game.sharding in ("global", "per_device"):
            built = experiment.build(game)
            programs.append(built.engine.trace(built.plan.stages[0], 2).lower().as_text())
        assert (programs[0] == programs[1]) == (devices == 1 or replicas > 1)


def test_memories_are_of_all_devices(small: ConfigDict) -> None:
    """What is remembered of the first batch, some of it labelled, is the mean of what each device remembers."""
    small.sharding, small.devices = "per_device", DEVICES
    small.networks.input_noise = small.networks.hidden_noise = 0.0
    small.techniques.lecam.enabled = True
    built = experiment.build(small)
    state, metrics = play(built, updates=1)
    before, networks, stage = built.engine.initialize(1), built.game.networks, built.plan.stages[0]
    player = jax.tree.map(lambda leaf: leaf[0], before.discriminator)
    images, start = built.dataset.train_images, jnp.int32(0)
    chosen = make_orders(before.key[0], start, 1, len(images), None, stage, (1, 1)).discriminator[0, 0]
    at = Context(before.key[0], Turn(start, start, stage), train=True)
    real = np.float32(images[np.asarray(chosen)]) / 255
    expected = networks.discriminator.apply(player.params, player.variables, at, real)[0].logits
    assert len(expected) == BATCH and np.std(expected) > 1e-3
    np.testing.assert_allclose(state.techniques["lecam"].real[0], np.mean(expected), rtol=1e-5)
    assert all(np.isfinite(values).all() for values in metrics.values())


def test_operations_are_those_of_all_devices(game: ConfigDict) -> None:
    counts = []
    for game.sharding in ("global", "per_device"):
        built = experiment.build(game)
        counts.append(flops.count(built.engine.trace(built.plan.stages[0], 1).jaxpr).total())
    # Minibatch features compare each image with those of its batch, which is no matrix product.
    assert counts[0] == counts[1] > 0


def test_images_are_compared_with_those_of_one_device(game: ConfigDict) -> None:
    game.techniques.packing.enabled, game.techniques.packing.images = True, 2
    game.techniques.minibatch_discrimination.enabled, game.batch_size = False, 12
    with pytest.raises(UserError, match=r"batch of 12 images .* 4 devices, .* 2 images .* multiples of 8"):
        experiment.build(game)
    game.sharding = "global"
    experiment.build(game)
