"""Dropout: its rate, its scale, and draws that are a function of the key alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.noise import Dropout, uniform

pytestmark = pytest.mark.usefixtures("optimized")  # The draws that users have.

SHAPE = (400, 250)
SIZE = 400 * 250


def drop(rate: float, seed: int = 0, inputs: np.ndarray | None = None) -> np.ndarray:
    inputs = np.ones(SHAPE, np.float32) if inputs is None else inputs
    return np.asarray(Dropout(rate).apply({}, inputs, train=True, rngs={"noise": jax.random.key(seed)}))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_it_zeroes_a_share_of_the_inputs_and_keeps_their_mean(random, rate):
    outputs = drop(rate)
    dropped = outputs == 0
    assert abs(dropped.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / SIZE)
    np.testing.assert_allclose(outputs[~dropped], 1 / (1 - rate), rtol=1e-6)
    # What is dropped does not depend on the inputs, and the others are scaled.
    inputs = random.normal(size=SHAPE).astype(np.float32)
    np.testing.assert_allclose(drop(rate, inputs=inputs), np.where(dropped, 0, inputs / (1 - rate)), rtol=1e-6)


@pytest.mark.parametrize(("rate", "train"), [(0.5, False), (0.0, True)])
def test_outside_training_and_with_a_rate_of_zero_it_is_nothing_and_needs_no_key(random, rate, train):
    inputs = random.normal(size=SHAPE).astype(np.float32)
    np.testing.assert_array_equal(Dropout(rate).apply({}, inputs, train=train), inputs)


def test_equal_keys_drop_the_same_and_different_ones_independently():
    np.testing.assert_array_equal(drop(0.5), drop(0.5))
    kept = [drop(0.5, seed).ravel() > 0 for seed in range(4)]
    assert np.abs(np.corrcoef(kept) - np.eye(4)).max() < 4.5 / np.sqrt(SIZE)


@pytest.mark.parametrize("lag", [1, 2, 4, 250, SIZE // 4, SIZE // 2])
def test_neighbours_are_dropped_independently(lag):
    """The four quarters of a draw come from the two halves of the two words of one cipher."""
    kept = drop(0.5).ravel() > 0
    assert abs(np.corrcoef(kept[:-lag], kept[lag:])[0, 1]) < 4.5 / np.sqrt(SIZE - lag)


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return Dropout(0.5)(inputs, train=True), Dropout(0.5)(inputs, train=True)


def test_two_layers_of_a_network_drop_independently():
    first, second = TwoLayers().apply({}, jnp.ones(SHAPE), rngs={"noise": jax.random.key(0)})
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) < 4 / np.sqrt(SIZE)


def test_gradients_flow_through_what_is_kept_only(random):
    inputs = random.normal(size=(8, 6)).astype(np.float32)
    key = jax.random.key(3)
    gradient = jax.grad(lambda inputs: Dropout(0.25).apply({}, inputs, train=True, rngs={"noise": key}).sum())(inputs)
    kept = np.asarray(Dropout(0.25).apply({}, np.ones_like(inputs), train=True, rngs={"noise": key})) > 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(gradient, kept / 0.75, rtol=1e-6)


def test_activations_keep_their_precision():
    inputs = jnp.ones((8, 6), jnp.bfloat16)
    outputs = Dropout(0.5).apply({}, inputs, train=True, rngs={"noise": jax.random.key(0)})
    assert outputs.dtype == jnp.bfloat16 and set(np.unique(np.float32(outputs))) == {0.0, 2.0}


def test_uniform_is_strictly_between_0_and_1_and_uniform():
    values = np.asarray(uniform(jax.random.key(0), (16 * 2**16,)), np.float64)
    assert 0 < values.min() < 2**-16 and 1 - 2**-16 < values.max() < 1
    counts = np.histogram(values, bins=64, range=(0, 1))[0]
    assert np.abs(counts - 2**14).max() < 5 * np.sqrt(2**14)
