"""Two time-scales (Heusel et al. 2017): no loss of its own, but a learning rate and a number of steps for each player.

The paper gives its pairs of rates in the order discriminator, generator.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.config import default
from igan.game import optimizer, step
from igan.game.technique import Game, Technique
from igan.run import experiment
from igan.types import Array, Batch, Batches, Critique, Examples, GameState, Metrics, Network, Networks, Player, View

PLAYERS = ("discriminator", "generator")

# The paper's toy: f(x, y) = (1 + x^2) (100 - y^2), which x, the discriminator here, descends, and y ascends.


def apply_generator(y: Array, variables: Any, context: Any, latents: Array) -> tuple[Array, Any]:
    return y * jnp.ones((len(latents), 1, 1, 1)), variables


def apply_discriminator(x: Array, variables: Any, context: Any, images: Array) -> tuple[Critique, Any]:
    return Critique((1 + x**2) * (100 - images[:, 0, 0, 0] ** 2), images[:, 0, 0]), variables


def descends(state: Any, view: View) -> tuple[Array, Metrics]:
    return jnp.mean(view.fake.logits), {}


def ascends(state: Any, view: View) -> tuple[Array, Metrics]:
    return -jnp.mean(view.fake.logits), {}


def toy(rates: tuple[float, float]) -> tuple[Game, GameState, Batches]:
    """The game with gradient descent at the rates of discriminator and generator, as a config makes it."""
    networks = Networks(
        Network(lambda *_: ({}, {}), apply_generator, lambda *_: ""),
        Network(lambda *_: ({}, {}), apply_discriminator, lambda *_: ""),
        lambda key, count: jnp.zeros((count, 1)),
        (-1.0, 1.0),
    )
    made = {}
    for name, rate in zip(PLAYERS, rates, strict=True):
        settings = {"optimizer": "sgd", "learning_rate": rate, "constant_share": 1.0}
        made[name] = optimizer.make(settings, total_steps=1000)
    techniques = {"toy": Technique(discriminator_loss=descends, generator_loss=ascends, objective=True)}
    game = Game(networks, techniques, made["discriminator"], made["generator"], optimizer.average_rate(1.0))
    players = {
        name: Player(value, {}, made[name].init(value), value)
        for name, value in (("discriminator", jnp.float64(0.5)), ("generator", jnp.float64(-0.4)))
    }
    state = GameState(jnp.int32(0), jax.random.key(0), techniques={"toy": None}, **players)
    batch = (Batch(Examples(jnp.zeros((1, 1, 1, 1), jnp.float64))),)
    return game, state, Batches(batch, batch)


@pytest.mark.parametrize(
    ("rates", "distances"),
    [
        ((0.01, 0.01), (0.4696, 0.4682)),  # Stuck, x goes to and fro.
        ((0.001, 0.001), (0.3271, 0.0540)),
        ((1e-4, 0.01), (0.0813, 1.03e-9)),
        ((0.01, 1e-4), (0.5351, 0.3269)),
    ],
)
def test_the_toy_saddle_goes_as_it_must(rates, distances):
    with jax.enable_x64(True):
        game, state, batches = toy(rates)

        def once(state: GameState, _: None) -> tuple[GameState, Array]:
            state, _ = step.update(game, state, batches)
            return state, jnp.hypot(state.discriminator.params, state.generator.params)

        _, path = jax.jit(lambda state: jax.lax.scan(once, state, length=1000))(state)
    found = path[np.array([99, 999])]
    np.testing.assert_allclose(found[0], distances[0], atol=5.1e-5)
    np.testing.assert_allclose(found[1], distances[1], **({"rtol": 5e-3} if distances[1] < 1e-3 else {"atol": 5.1e-5}))


@pytest.mark.parametrize("still", PLAYERS)
def test_a_rate_of_zero_stops_its_player_and_no_other(still):
    rates = tuple(0.0 if player == still else 0.01 for player in PLAYERS)
    with jax.enable_x64(True):
        game, before, batches = toy(rates)
        after, _ = jax.jit(functools.partial(step.update, game))(before, batches)
        for player in PLAYERS:
            moved = getattr(after, player).params != getattr(before, player).params
            assert moved == (player != still)


def test_each_rate_of_a_config_is_that_of_its_player(small):
    """The pair of the paper's DCGAN on CIFAR-10, "1e-4, 5e-4"; both take the same number of steps by default."""
    rates = dict(zip(PLAYERS, (1e-4, 5e-4), strict=True))
    for player, rate in rates.items():
        small[player].update(optimizer="sgd", learning_rate=rate)
        assert default()[player].steps == 1
    built = experiment.build(small)
    assert built.plan.steps == (1, 1)
    for player, rate in rates.items():
        tx: optax.GradientTransformation = getattr(built.game, f"{player}_optimizer")
        updates, _ = tx.update(jnp.ones(()), tx.init(jnp.ones(())))
        np.testing.assert_allclose(updates, -rate, rtol=1e-6)


def test_schedules_and_counts_are_each_players_own():
    """Two steps of the discriminator an update move its clock by two, and the other's by one."""
    with jax.enable_x64(True):
        game, state, batches = toy((1e-3, 1e-3))
        twice = batches._replace(discriminator=batches.discriminator * 2)
        for given, expected in ((batches, (1, 1)), (twice, (2, 1))):
            after, _ = jax.jit(functools.partial(step.update, game))(state, given)
            counts = [getattr(after, player).opt_state[1].count for player in PLAYERS]
            np.testing.assert_array_equal(counts, expected)
