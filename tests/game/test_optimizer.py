"""The optimiser of a player against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.config import default, validate
from igan.errors import UserError
from igan.game import optimizer
from tests.references import mnist_numpy as reference

SETTINGS = {"optimizer": "adam", "learning_rate": 3e-3, "constant_share": 1.0, "b1": 0.5, "b2": 0.999, "epsilon": 1e-8}

RMSPROP = {"optimizer": "rmsprop", "learning_rate": 3e-3, "constant_share": 1.0, "decay": 0.99, "epsilon": 1e-8}


def total_change(transformation, gradients):
    params = {"kernel": jnp.zeros(gradients[0].shape)}
    state = transformation.init(params)
    for gradient in gradients:
        updates, state = transformation.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
    assert params["kernel"].dtype == jnp.float32
    return params["kernel"]


# The root of epsilon is 1e-4: gradients around it show where epsilon stands, those far above it hardly do.
@pytest.mark.parametrize("size", [1e-5, 1e-4, 1.0])
@pytest.mark.parametrize("b1", [0.5, 0.9])
def test_adam_is_the_formula_with_epsilon_inside_the_root(random, size, b1):
    gradients = list(random.normal(0, size, (6, 3, 2)))
    found = total_change(optimizer.make(SETTINGS | {"b1": b1}, total_steps=100), gradients)
    expected = reference.adam(gradients, learning_rate=3e-3, b1=b1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_adam_with_epsilon_outside_the_root_would_be_told_apart(random):
    gradients = list(random.normal(0, 1e-4, (6, 3, 2)))
    expected = reference.adam(gradients)
    usual = total_change(optax.adam(3e-3, b1=0.5, b2=0.999, eps=1e-8), gradients)
    assert np.abs(usual - expected).max() > 0.05 * np.abs(expected).max()


def test_adam_leaves_what_has_no_gradient():
    np.testing.assert_array_equal(total_change(optimizer.make(SETTINGS, 100), [np.zeros(3)] * 3), np.zeros(3))


@pytest.mark.parametrize(("decay", "expected"), [(0.99, 5e-4), (0.9, 1.581139e-4)])
def test_the_first_step_of_rmsprop(decay, expected):
    """From a mean square of zero, and without a correction for that: 5e-5 / sqrt(1 - decay)."""
    settings = RMSPROP | {"learning_rate": 5e-5, "decay": decay}
    np.testing.assert_allclose(total_change(optimizer.make(settings, 100), [np.ones(1)]), [-expected], rtol=1e-5)


# Epsilon is 1e-8 outside the root: gradients around it show where it stands.
@pytest.mark.parametrize("size", [1e-9, 1e-8, 1e-5, 1.0])
@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_rmsprop_is_that_of_pytorch(random, size, decay):
    torch = pytest.importorskip("torch")
    gradients = random.normal(0, size, (6, 3, 2))
    found = total_change(optimizer.make(RMSPROP | {"decay": decay}, total_steps=100), gradients)
    params = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    stepper = torch.optim.RMSprop([params], lr=3e-3, alpha=decay, eps=1e-8)
    for gradient in gradients:
        params.grad = torch.tensor(gradient)
        stepper.step()
    expected = params.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_rmsprop_with_epsilon_inside_the_root_would_be_told_apart(random):
    gradients = list(random.normal(0, 1e-5, (6, 3, 2)))
    found = total_change(optimizer.make(RMSPROP, 100), gradients)
    inside = total_change(optax.rmsprop(3e-3, decay=0.99, eps=1e-8), gradients)
    assert np.abs(found).max() > 5 * np.abs(inside).max()


def test_rmsprop_leaves_what_has_no_gradient():
    np.testing.assert_array_equal(total_change(optimizer.make(RMSPROP, 100), [np.zeros(3)] * 3), np.zeros(3))


def rates(constant_share, total_steps, count):
    """The learning rates of the first updates, read off a gradient of one."""
    settings = {"optimizer": "sgd", "learning_rate": 0.5, "constant_share": constant_share}
    transformation = optimizer.make(settings, total_steps)
    state, params, found = transformation.init(jnp.zeros(())), jnp.zeros(()), []
    for _ in range(count):
        update, state = transformation.update(jnp.ones(()), state, params)
        found.append(-float(update))
    return np.array(found)


def test_the_rate_is_constant_by_default():
    np.testing.assert_array_equal(rates(1.0, total_steps=4, count=6), np.full(6, 0.5))


def test_the_rate_is_constant_and_then_falls_linearly_to_zero():
    expected = 0.5 * np.array([1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
    np.testing.assert_allclose(rates(0.6, total_steps=10, count=12), expected, rtol=1e-6, atol=1e-8)


def test_the_rate_may_fall_from_the_first_step_on():
    np.testing.assert_allclose(rates(0.0, total_steps=4, count=5), [0.5, 0.375, 0.25, 0.125, 0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("constant_share", [0.0, 0.3, 0.9999, 1.0])
def test_a_run_of_a_single_step_is_trained_at_the_full_rate(constant_share):
    np.testing.assert_array_equal(rates(constant_share, total_steps=1, count=1), [0.5])


def test_the_rate_follows_the_schedule_under_adam_too():
    transformation = optimizer.make(SETTINGS | {"constant_share": 0.5, "epsilon": 1e-30}, total_steps=4)
    state, params, found = transformation.init(jnp.zeros(())), jnp.zeros(()), []
    for _ in range(5):
        update, state = transformation.update(jnp.ones(()), state, params)
        found.append(float(update))
    np.testing.assert_allclose(found, -3e-3 * np.array([1, 1, 1, 0.5, 0]), rtol=1e-5, atol=1e-9)


def test_an_update_compiles_once_and_keeps_its_types():
    transformation = optimizer.make(SETTINGS | {"constant_share": 0.5}, total_steps=4)
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    state = transformation.init(params)
    updates, after = jax.eval_shape(transformation.update, params, state, params)
    described = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (params, state))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (updates, after)) == described


def test_an_unknown_optimizer_is_one_line_that_suggests_the_right_one():
    with pytest.raises(UserError, match=r"unknown optimizer 'adma'.*'adam'") as error:
        optimizer.make(SETTINGS | {"optimizer": "adma"}, total_steps=1)
    assert "\n" not in str(error.value) and "sgd" in str(error.value)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_cannot_be_is_refused(player, decay):
    config = default()
    config.techniques.non_saturating.enabled = True
    config[player].update(optimizer="rmsprop", decay=decay)
    with pytest.raises(UserError, match=rf"config\.{player}\.decay is {decay}, expected a number in \[0, 1\)"):
        validate(config)
    config[player].decay = 0.9
    validate(config)
