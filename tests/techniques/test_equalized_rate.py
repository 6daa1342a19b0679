"""Equalised learning rates: what is trained is N(0, 1), what is applied has He's scale."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.errors import UserError
from igan.game import technique
from igan.layers.equalized_rate import EqualizedLayer, multiplier
from igan.layers.weights import Layer, WeightLayer
from tests.contexts import at

SQRT2 = math.sqrt(2)
KINDS = {
    "dense": (Layer(300), (64, 200), SQRT2),
    "convolution": (Layer(60, kernel=3), (40, 5, 5, 30), SQRT2),
    "the last": (Layer(300, is_last=True), (64, 200), 1.0),
    "a gain of its own": (Layer(300, own_gain=SQRT2 / 4), (64, 200), SQRT2 / 4),
    "a hundredth of the rate": (Layer(300, rate=0.01), (64, 200), SQRT2),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def prepared(kind, random):
    asked, shape, gain = KINDS[kind]
    inputs = jnp.asarray(random.normal(size=shape), jnp.float32)
    layer = EqualizedLayer(asked)
    return asked, layer, layer.init(jax.random.key(0), inputs, at())["params"], inputs, gain


@each_kind
def test_what_is_trained_is_normal_and_outputs_have_the_gain(kind, random):
    asked, layer, params, inputs, gain = prepared(kind, random)
    np.testing.assert_allclose(np.std(params["kernel"]), 1 / asked.rate, rtol=0.02)
    np.testing.assert_array_equal(params["bias"], 0)
    outputs = layer.apply({"params": params}, inputs, at())
    np.testing.assert_allclose(np.std(outputs), gain, rtol=0.03)  # Divided instead, it is hundreds of times as much.


@each_kind
def test_a_step_of_adam_moves_every_weight_by_the_rate(kind, random):
    """So that what is applied moves by the rate times the multiplier, times that of the learning rate."""
    asked, layer, params, inputs, gain = prepared(kind, random)
    descent = optax.adam(1e-3)
    slope = jax.grad(lambda params: 1e6 * jnp.mean(layer.apply({"params": params}, inputs, at()) ** 3))(params)
    moves, _ = descent.update(slope, descent.init(params))
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(np.abs(moves[name]), 1e-3, rtol=1e-2)
    moved = optax.apply_updates(params, moves)
    before, after = (layer.apply({"params": each}, jnp.zeros_like(inputs), at()) for each in (params, moved))
    np.testing.assert_allclose(np.abs(after - before), 1e-3 * asked.rate, rtol=1e-2)  # The bias alone.
    fan_in = math.prod(params["kernel"].shape[:-1])
    scale = multiplier(asked, params["kernel"].shape)
    np.testing.assert_allclose(scale, gain / math.sqrt(fan_in), rtol=1e-6)
    # In float64, as weights of a hundredth of the rate are a hundred times as large.
    kernels = [np.float64(each["kernel"]) for each in (params, moved)]
    applied = [layer.apply({"params": params}, kernel, at(), method="weights") for kernel in kernels]
    np.testing.assert_allclose(np.abs(applied[1] - applied[0]), 1e-3 * scale * asked.rate, rtol=5e-2)


def test_the_gains_of_the_places():
    assert Layer(3).gain == SQRT2 and Layer(3, is_last=True).gain == 1.0 and Layer(3, own_gain=0.5).gain == 0.5


def test_plain_weights_can_have_another_learning_rate_too(random):
    inputs = jnp.asarray(random.normal(size=(6, 5)), jnp.float32)
    plain, slow = WeightLayer(Layer(7)), WeightLayer(Layer(7, rate=0.01))
    params, slowly = (each.init(jax.random.key(0), inputs, at()) for each in (plain, slow))
    np.testing.assert_allclose(plain.apply(params, inputs, at()), slow.apply(slowly, inputs, at()), rtol=1e-5)
    np.testing.assert_allclose(slowly["params"]["kernel"], 100 * params["params"]["kernel"], rtol=1e-6)


@pytest.mark.parametrize("players", ["discriminator", "generator", "both"])
def test_it_holds_the_weights_of_the_player_that_is_named(players):
    made = technique.load({"equalized_rate": {"enabled": True, "players": players}})["equalized_rate"]
    expected = {f"{each}_layer" for each in (("discriminator", "generator") if players == "both" else (players,))}
    assert made.layers.keys() == expected


def test_another_player_is_refused():
    with pytest.raises(UserError, match=r"players is critics, expected .*players=both") as caught:
        technique.load({"equalized_rate": {"enabled": True, "players": "critics"}})
    assert "\n" not in str(caught.value)
