"""Shift-only batch normalisation against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.batch_norm import ShiftBatchNorm
from tests.contexts import at
from tests.references import mnist_numpy as reference

SHAPES = {"dense": (9, 5), "convolutional": (4, 3, 2, 5)}


def normalise(inputs, mean, variance, shift):
    return (np.float64(inputs) - mean) / np.sqrt(np.float64(variance) + 1e-6) + shift


def initialise(inputs):
    return ShiftBatchNorm().init(jax.random.key(0), inputs, at())


def test_it_learns_a_shift_from_zero_and_nothing_else(random):
    variables = initialise(jnp.asarray(random.normal(5, 3, (9, 5)), jnp.float32))
    assert variables.keys() == {"params", "statistics"}
    assert variables["params"].keys() == {"shift"}
    np.testing.assert_array_equal(variables["params"]["shift"], np.zeros(5))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("std", [2.0, 1e-3], ids=["ordinary", "as small as epsilon"])
def test_in_training_it_uses_and_leaves_the_statistics_of_the_batch(random, shape, std):
    inputs = random.normal(0.5 * std, std, shape).astype(np.float32)
    shift = random.normal(size=5).astype(np.float32)
    stale = {"mean": jnp.full(5, 7.0), "variance": jnp.full(5, 3.0)}
    outputs, left = ShiftBatchNorm().apply(
        {"params": {"shift": shift}, "statistics": stale}, inputs, at(), mutable=["statistics"]
    )
    rows = inputs.reshape(-1, 5).astype(np.float64)
    mean, variance = rows.mean(axis=0), rows.var(axis=0)
    assert outputs.dtype == jnp.float32 and outputs.shape == shape
    np.testing.assert_allclose(outputs, normalise(inputs, mean, variance, shift), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(left["statistics"]["mean"], mean, rtol=1e-5, atol=1e-6 * std)
    np.testing.assert_allclose(left["statistics"]["variance"], variance, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_outside_training_it_uses_the_statistics_it_finds(random, shape):
    inputs, shift = random.normal(3, 2, shape).astype(np.float32), random.normal(size=5).astype(np.float32)
    statistics = {"mean": random.normal(size=5).astype(np.float32), "variance": np.float32([4, 1, 0.1, 1e-6, 0])}
    variables = {"params": {"shift": shift}, "statistics": statistics}
    outputs = ShiftBatchNorm().apply(variables, inputs, at(train=False))
    expected = normalise(inputs, statistics["mean"], statistics["variance"], shift)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    alone = ShiftBatchNorm().apply(variables, inputs[:1], at(train=False))
    np.testing.assert_allclose(alone, outputs[:1], rtol=1e-6)


def test_the_statistics_left_behind_give_the_batch_the_same_outputs_again(random):
    inputs = random.normal(3, 2, (9, 5)).astype(np.float32)
    variables = initialise(inputs)
    outputs, left = ShiftBatchNorm().apply(variables, inputs, at(), mutable=["statistics"])
    again = ShiftBatchNorm().apply(variables | left, inputs, at(train=False))
    np.testing.assert_allclose(again, outputs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("std", [2.0, 1e-3], ids=["ordinary", "as small as epsilon"])
def test_gradients_go_through_the_batch_statistics(random, std):
    inputs = random.normal(0, std, (9, 5)).astype(np.float32)
    weights = random.normal(size=(9, 5)).astype(np.float32)
    variables = initialise(inputs)

    def loss(params, inputs):
        outputs, _ = ShiftBatchNorm().apply(variables | {"params": params}, inputs, at(), mutable=["statistics"])
        return jnp.sum(weights * outputs)

    params, gradient = jax.grad(loss, (0, 1))(variables["params"], inputs)
    expected = reference.shift_batch_norm_gradient(np.float64(inputs), np.float64(weights))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))
    np.testing.assert_allclose(params["shift"], np.float64(weights).sum(axis=0), rtol=1e-5, atol=1e-5)
