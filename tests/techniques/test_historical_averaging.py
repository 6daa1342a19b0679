"""Historical averaging against its definition in float64 NumPy: the penalty, the plain mean, whole trajectories."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.errors import UserError
from igan.game import technique
from igan.techniques.historical_averaging import HistoricalAveragingState, historical_averaging, make

STRENGTH = 0.7


def penalty(theta, history):
    """strength * |theta - mean of the history|^2, the history held constant."""
    return STRENGTH * np.sum((theta - np.mean(history, axis=0)) ** 2)


def slopes(cost, theta, epsilon=1e-5):
    """Central differences of the cost in every direction."""
    ends = [[cost(theta + sign * step) for step in epsilon * np.eye(theta.size)] for sign in (1, -1)]
    return (np.array(ends[0]) - np.array(ends[1])) / (2 * epsilon)


def visit(optimizer, parameters, gradients):
    """Returns the update at each of the given parameters, wherever the updates themselves would lead."""
    state, updates = optimizer.init(jax.tree.map(lambda leaf: leaf[0], parameters)), []
    for t in range(len(jax.tree.leaves(parameters)[0])):
        theta, gradient = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[t]), (parameters, gradients))
        each, state = optimizer.update(gradient, state, theta)
        updates.append(each)
    return updates, state


def test_the_gradient_gains_the_slope_of_the_penalty(random):
    parameters, gradients = random.normal(size=(2, 6, 4))
    with jax.enable_x64(True):
        updates, _ = visit(historical_averaging(optax.sgd(1.0), STRENGTH), parameters, gradients)
    for t in range(6):
        history = parameters[: t + 1]  # The current parameters included.
        expected = gradients[t] + slopes(lambda theta, history=history: penalty(theta, history), parameters[t])
        np.testing.assert_allclose(-updates[t], expected, rtol=1e-8, atol=1e-9)


def test_the_first_update_is_the_bare_optimisers(random):
    parameters, gradients = random.normal(size=(2, 1, 4)).astype(np.float32)
    updates, _ = visit(historical_averaging(optax.adam(0.1), STRENGTH), parameters, gradients)
    bare, _ = visit(optax.adam(0.1), parameters, gradients)
    np.testing.assert_array_equal(updates[0], bare[0])


def test_the_online_average_is_the_mean_of_all_parameters_so_far(random):
    parameters = random.normal(3.0, size=(1000, 5)).astype(np.float32)

    def remember(state, theta):
        _, state = optimizer.update(jnp.zeros(5), state, theta)
        return state, state.average

    optimizer = historical_averaging(optax.sgd(0.1), STRENGTH)
    state, averages = jax.lax.scan(remember, optimizer.init(parameters[0]), parameters)
    expected = np.cumsum(parameters, axis=0, dtype=np.float64) / np.arange(1, 1001)[:, None]
    np.testing.assert_allclose(averages, expected, rtol=2e-6)
    assert state.count == 1000


def test_adam_scales_the_pull_with_the_rest_of_the_gradient(random):
    parameters, gradients = random.normal(size=(2, 8, 4))
    means = np.cumsum(parameters, axis=0) / np.arange(1, 9)[:, None]
    pulled = gradients + 2 * STRENGTH * (parameters - means)
    with jax.enable_x64(True):
        found, _ = visit(historical_averaging(optax.adam(0.1, b1=0.5), STRENGTH), parameters, gradients)
    first, second = np.zeros(4), np.zeros(4)
    for t, gradient in enumerate(pulled):
        first, second = 0.5 * first + 0.5 * gradient, 0.999 * second + 0.001 * gradient**2
        expected = -0.1 * (first / (1 - 0.5 ** (t + 1))) / (np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8)
        np.testing.assert_allclose(found[t], expected, rtol=1e-6)


def rotate(players):
    """The gradients of x * y for x and of -x * y for y."""
    return {"x": players["y"], "y": -players["x"]}


def play(optimizer, start, steps):
    """Returns every position of the xy game, the first included."""

    def step(carry, _):
        players, state = carry
        updates, state = optimizer.update(rotate(players), state, players)
        players = optax.apply_updates(players, updates)
        return (players, state), players

    _, positions = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
    return jnp.stack([jnp.append(start[name], positions[name]) for name in ("x", "y")], axis=1)


def test_the_xy_game_converges_and_is_the_one_computed_by_hand():
    expected = np.ones((1001, 2))
    for t in range(1, 1001):
        x, y = expected[t - 1]
        pull = 2 * 0.1 * (expected[t - 1] - expected[:t].mean(axis=0))
        expected[t] = expected[t - 1] - 0.05 * (np.array([y, -x]) + pull)
    start = {"x": jnp.ones(()), "y": jnp.ones(())}
    averaged = play(historical_averaging(optax.sgd(0.05), strength=0.1), start, 1000)
    np.testing.assert_allclose(averaged, expected, atol=2e-5)
    assert np.hypot(*averaged[-1]) < 0.01
    plain = play(optax.sgd(0.05), start, 1000)
    np.testing.assert_allclose(np.hypot(*plain[-1]), np.sqrt(2) * (1 + 0.05**2) ** 500, rtol=1e-4)


def test_adam_orbits_in_the_xy_game_and_converges_with_averaging():
    start = {"x": jnp.ones(()), "y": jnp.ones(())}
    adam = optax.adam(0.01, b1=0.5)
    assert np.hypot(*play(adam, start, 3000)[-1]) > 1
    assert np.hypot(*play(historical_averaging(adam, strength=0.3), start, 3000)[-1]) < 0.2


@pytest.mark.parametrize("optimizer", [optax.sgd(0.05), optax.adam(0.05)], ids=["sgd", "adam"])
def test_a_scan_under_jit_is_the_plain_loop(optimizer):
    optimizer = historical_averaging(optimizer, STRENGTH)
    players = {"x": jnp.float32(1), "y": jnp.float32(-0.5)}
    scanned = jax.jit(lambda start: play(optimizer, start, 7))(players)
    state, positions = optimizer.init(players), [(1.0, -0.5)]
    for _ in range(7):
        updates, state = optimizer.update(rotate(players), state, players)
        players = optax.apply_updates(players, updates)
        positions.append((players["x"], players["y"]))
    np.testing.assert_allclose(scanned, positions, rtol=1e-5)


def test_games_under_vmap_are_games_of_their_own():
    optimizer = historical_averaging(optax.adam(0.05), STRENGTH)
    starts = {"x": jnp.float32([1, 2, -3]), "y": jnp.float32([0, 0.5, 1])}
    together = jax.vmap(lambda start: play(optimizer, start, 9))(starts)
    for index in range(3):
        alone = play(optimizer, jax.tree.map(lambda leaf, index=index: leaf[index], starts), 9)
        np.testing.assert_allclose(together[index], alone, rtol=1e-5)


def test_each_leaf_of_a_pytree_has_its_own_average(random):
    parameters = {"dense": (random.normal(size=(5, 2, 3)), random.normal(size=(5, 3))), "scale": random.normal(size=5)}
    gradients = jax.tree.map(np.ones_like, parameters)
    with jax.enable_x64(True):
        updates, _ = visit(historical_averaging(optax.sgd(1.0), STRENGTH), parameters, gradients)
    assert jax.tree.structure(updates[-1]) == jax.tree.structure(parameters)
    for update, leaf in zip(jax.tree.leaves(updates[-1]), jax.tree.leaves(parameters), strict=True):
        np.testing.assert_allclose(-update, 1 + 2 * STRENGTH * (leaf[-1] - leaf.mean(axis=0)), rtol=1e-6)


def test_the_state_is_one_copy_of_the_parameters_and_a_counter():
    params = {"kernel": jnp.ones((300, 200)), "bias": jnp.ones(200)}
    for inner in (optax.sgd(0.1), optax.adam(0.1)):
        state = historical_averaging(inner).init(params)
        assert isinstance(state, HistoricalAveragingState)
        sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (state, inner.init(params), params)]
        assert sizes[0] == sizes[1] + sizes[2] + 4
        # A buffer of the parameters themselves could not be donated with them.
        pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state, params))]
        assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_an_update_keeps_the_types_and_averages_in_float32_or_better(dtype):
    with jax.enable_x64(True):
        params = {"kernel": jnp.ones((3, 2), dtype)}
        optimizer = historical_averaging(optax.sgd(0.1))
        state = optimizer.init(params)
        assert state.average["kernel"].dtype == jnp.promote_types(dtype, jnp.float32)
        updates, after = jax.eval_shape(optimizer.update, params, state, params)
        forms = [
            jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), jax.eval_shape(lambda tree: tree, tree))
            for tree in (params, state, updates, after)
        ]
        assert forms[2:] == forms[:2]


def test_an_average_of_bfloat16_parameters_keeps_moving():
    optimizer = historical_averaging(optax.sgd(0.1))
    params = jnp.bfloat16(jnp.arange(2000) >= 1000)
    step = lambda state, theta: (optimizer.update(theta, state, theta)[1], None)  # noqa: E731
    state, _ = jax.lax.scan(step, optimizer.init(params[0]), params)
    np.testing.assert_allclose(state.average, 0.5, rtol=1e-4)


def test_a_strength_of_zero_is_the_bare_optimiser():
    start = {"x": jnp.ones(()), "y": jnp.ones(())}
    bare, wrapped = (play(each, start, 20) for each in (optax.adam(0.1), historical_averaging(optax.adam(0.1), 0.0)))
    np.testing.assert_array_equal(wrapped, bare)


def test_extra_arguments_reach_the_inner_optimiser():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    optimizer = historical_averaging(optax.chain(optax.sgd(1.0), plateau), STRENGTH)
    params = jnp.ones(())
    state = optimizer.init(params)
    for _ in range(4):
        updates, state = optimizer.update(jnp.ones(()), state, params, value=jnp.ones(()))
    assert -1 < updates < 0


def test_an_update_without_parameters_says_what_to_write():
    optimizer = historical_averaging(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"call update\(gradients, state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf"), -float("inf"), 1e39, "1", None])
def test_a_strength_that_cannot_be_is_one_line(strength):
    for build in (make, lambda strength: historical_averaging(optax.sgd(0.1), strength)):
        with pytest.raises(UserError, match=r"techniques\.historical_averaging\.strength is .*, expected") as error:
            build(strength)
        assert "\n" not in str(error.value)


def test_the_technique_wraps_the_optimisers_of_both_players():
    settings = technique.defaults("historical_averaging")
    assert settings == {"enabled": False, "strength": 1.0}
    made = technique.load({"historical_averaging": settings | {"enabled": True, "strength": STRENGTH}})
    seams = made["historical_averaging"]
    assert seams.discriminator_loss is None and seams.generator_loss is None
    for wrap in (seams.discriminator_optimizer, seams.generator_optimizer):
        updates, _ = visit(wrap(optax.sgd(1.0)), jnp.float32([1, 3]), jnp.float32([0, 0]))
        np.testing.assert_allclose(updates, [0, -2 * STRENGTH * (3 - 2)], rtol=1e-6)


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(importlib.import_module("igan.techniques.historical_averaging"))
    assert found.attempted >= 6 and found.failed == 0
