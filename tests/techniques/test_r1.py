"""R1 and R2 by hand, and when they are due. What all penalties share is in test_gradient_penalty.py, whole updates
are in test_penalties.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.errors import UserError
from igan.game import optimizer, step
from igan.game.schedule import Schedule
from igan.game.technique import Game, Technique
from igan.techniques import r1, r2, unrolled
from igan.techniques.r1 import slope_penalty
from igan.types import Batch, Batches, Context, Critique, Examples, GameState, Network, Networks, Player
from tests.contexts import turn
from tests.game.test_traps import conditionals
from tests.techniques import probes

GAMMA, RATE, STEPS, INTERVAL = 10.0, 1e-3, 2, 4


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("spread", [0.0, 100.0])
def test_the_number_of_a_linear_critic(random, count, spread):
    """125: 250 without the half; a 16th of it in a batch of 4 of the mean's slope; and on logits, wherever x is."""
    points = spread * random.normal(size=(count, 2)).astype(np.float32)
    value, slope = jax.value_and_grad(lambda weights: slope_penalty(lambda points: points @ weights, points, GAMMA))(
        jnp.float32([3, 4])
    )
    assert value == 125
    np.testing.assert_allclose(slope, [30, 40], rtol=1e-6)


def test_a_flat_critic_costs_nothing_and_has_a_gradient():
    value, slope = jax.value_and_grad(lambda weights: slope_penalty(lambda points: points @ weights, jnp.ones((4, 2))))(
        jnp.zeros(2)
    )
    assert value == 0
    np.testing.assert_array_equal(slope, [0, 0])


@pytest.mark.parametrize(("technique", "place"), [(r1, "real"), (r2, "fake")])
def test_each_looks_at_its_own_images(random, technique, place):
    """D = the sum of cubes / 3, whose slope is the squares."""
    view = probes.look_at(*random.normal(size=(2, 5, 2, 2, 1)))
    view = view._replace(
        judge=lambda examples: view.real._replace(logits=jnp.sum(examples.images**3 / 3, axis=(1, 2, 3)))
    )
    value, details = technique.make(gamma=3.0).discriminator_loss(None, view)
    images = np.float64(getattr(view, place).images)
    np.testing.assert_allclose(value, 1.5 * np.mean(np.sum(images**4, axis=(1, 2, 3))), rtol=1e-5)
    assert details == {}


@pytest.mark.parametrize("technique", [r1, r2])
def test_it_is_due_in_every_kth_step_at_k_times_the_strength(technique):
    lazy = technique.make(interval=16).discriminator_loss
    view = probes.look_at(*probes.draw())
    every, _ = technique.make(interval=1).discriminator_loss(None, view)
    due = jax.jit(lambda count: lazy(None, view._replace(turn=turn(step=7)._replace(count=count)))[0])
    values = np.array([due(jnp.int32(count)) for count in range(40)])
    np.testing.assert_array_equal(np.flatnonzero(values), [0, 16, 32])
    np.testing.assert_allclose(values[[0, 16, 32]], 16 * every, rtol=1e-6)


@pytest.mark.parametrize("technique", [r1, r2])
def test_gamma_goes_along_the_ramp(technique):
    """As R3GAN's, from 0.05 to 0.005, also where only some steps are due; without a final gamma it stays."""
    view = probes.look_at(*probes.draw())
    unit, _ = technique.make(gamma=1.0).discriminator_loss(None, view)
    for interval in (1, 2):
        for last, expected in ((0.005, [0.05, 0.03875, 0.005]), (0.0, [0.05, 0.05, 0.05])):
            loss = technique.make(gamma=0.05, final_gamma=last, interval=interval).discriminator_loss
            found = [loss(None, view._replace(ramp=ramp, turn=turn(0)))[0] / unit for ramp in (0.0, 0.25, 1.0)]
            np.testing.assert_allclose(found, interval * np.array(expected), rtol=1e-5)


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_a_final_gamma_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match=r"techniques\.r2\.final_gamma is .*--config\.techniques\.r2\.final_gamma="):
        r2.make(final_gamma=value)


def linear_game(penalty: Technique) -> tuple[Game, GameState]:
    """A discriminator w x of points, whose only loss is the penalty; the generator has another."""

    def generate(params: jax.Array, variables: dict, context: Context, latents: jax.Array) -> tuple:
        return latents * params, variables

    def judge(params: jax.Array, variables: dict, context: Context, points: jax.Array) -> tuple:
        return Critique(points @ params, points), variables

    networks = Networks(
        Network(lambda context, inputs: (jnp.ones(2), {}), generate, lambda *_: ""),
        Network(lambda context, inputs: (jnp.float32([3, 4]), {}), judge, lambda *_: ""),
        lambda key, count: jax.random.normal(key, (count, 2)),
        image_range=(-1.0, 1.0),
    )
    other = Technique(generator_loss=lambda state, view: (-jnp.mean(view.fake.logits), {}))
    tx = optax.sgd(RATE)
    game = Game(networks, {"penalty": penalty, "other": other}, tx, tx, optimizer.average_rate(0.5))
    return game, jax.jit(functools.partial(step.initialize, game))(jax.random.key(0), Examples(jnp.ones((3, 2))))


@pytest.mark.parametrize("technique", [r1, r2])
def test_it_counts_the_steps_of_the_discriminator(technique):
    """Two steps an update, and a penalty in every fourth: w shrinks by 4 gamma w in the updates 0, 2, 4, ..."""
    game, state = linear_game(technique.make(gamma=GAMMA, interval=INTERVAL))
    batch = Batch(Examples(jnp.ones((3, 2))))
    play = jax.jit(functools.partial(step.update, game))
    sizes = []
    for _ in range(6):
        state, _ = play(state, Batches((batch,) * STEPS, (batch,)))
        sizes.append(float(jnp.linalg.norm(state.discriminator.params)))
    expected = 5 * (1 - RATE * INTERVAL * GAMMA) ** np.array([1, 1, 2, 2, 3, 3])
    np.testing.assert_allclose(sizes, expected, rtol=1e-5)


@pytest.mark.parametrize("interval", [1, INTERVAL])
def test_the_slope_is_that_of_the_images_before_what_others_make_of_them(interval):
    """Seen twice as large, a pixel has twice the slope."""
    game, state = linear_game(r1.make(gamma=GAMMA, interval=interval))
    double = Technique(discriminator_input=lambda state, key, images: 2 * images)
    game = game._replace(techniques={**game.techniques, "double": double})
    batch = Batch(Examples(jnp.ones((3, 2))))
    state = state._replace(techniques=dict.fromkeys(game.techniques))
    _, metrics = step.update(game, state, Batches((batch,), (batch,)))
    np.testing.assert_allclose(metrics["d/penalty"], 4 * 125 * interval, rtol=1e-6)


@pytest.mark.parametrize("technique", [r1, r2])
def test_it_stays_lazy_with_replicas(technique):
    lazy = technique.make(interval=INTERVAL)
    assert conditionals(1, lazy=lazy) == conditionals(2, lazy=lazy) > conditionals(2)
    assert conditionals(2, every=technique.make()) == conditionals(2)


@pytest.mark.parametrize("technique", [r1, r2])
def test_a_lookahead_differentiates_a_penalty_that_is_due(technique):
    """Through the steps of an unrolled discriminator: derivatives of the third order, through a branch."""

    def unroll(player: Player, objective, optimizer: optax.GradientTransformation):
        return player.params - RATE * jax.grad(objective)(player.params, INTERVAL - 1)  # After one step: it is due.

    found = []
    for interval, gamma in ((1, GAMMA), (INTERVAL, GAMMA / INTERVAL)):
        game, state = linear_game(technique.make(gamma=gamma, interval=interval))
        game = game._replace(techniques={**game.techniques, "unrolled": Technique(lookahead=unroll)})
        state = state._replace(techniques=dict.fromkeys(game.techniques))
        batch = Batch(Examples(jnp.ones((3, 2))))
        found.append(step.update(game, state, Batches((batch,), (batch,)))[1]["g/other"])
    assert np.isfinite(found[0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize("technique", [r1, r2])
def test_each_step_ahead_is_due_where_that_step_of_the_discriminator_will_be(technique):
    """After the updates 0, 1 and 2 of two steps each, the five ahead begin at the counts 2, 4 and 6; 4 and 8 are due.

    With the generator's own count all of them were due at once, or none.
    """
    ahead = unrolled.make(5)._replace(generator_loss=None)
    game, state = linear_game(technique.make(gamma=GAMMA, interval=INTERVAL))
    game = game._replace(
        techniques={**game.techniques, "unrolled": ahead}, schedule=Schedule(discriminator_steps=STEPS)
    )
    state = state._replace(techniques=dict.fromkeys(game.techniques))
    batch = Batch(Examples(jnp.ones((3, 2))))

    @jax.jit
    def sizes(number):
        at = turn(step=number)  # One step of the generator an update.
        found = step.look_ahead(game, state, at, jax.random.key(1), batch, batch.real)
        return jnp.linalg.norm(found)

    shrunk = 1 - RATE * INTERVAL * GAMMA
    np.testing.assert_allclose([sizes(number) for number in range(3)], 5 * shrunk ** np.array([1, 2, 1]), rtol=1e-5)
