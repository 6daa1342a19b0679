"""The leaky rectifier and its gradients are those of its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.activation import leaky_relu

INPUTS = np.array([-3.0, -1e-30, -0.0, 0.0, 1e-30, 0.5, 7.0])
SLOPES = np.array([0.2, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_by_hand(dtype):
    inputs = jnp.asarray(INPUTS, dtype)
    outputs, pull = jax.vjp(leaky_relu, inputs)
    (gradients,) = pull(jnp.full_like(inputs, 3))
    assert outputs.dtype == gradients.dtype == dtype
    tolerance = {"rtol": 1e-6 if dtype == jnp.float32 else 1e-2}
    np.testing.assert_allclose(np.float64(outputs), INPUTS * SLOPES, **tolerance)
    np.testing.assert_allclose(np.float64(gradients), 3 * SLOPES, **tolerance)


def test_another_slope(random):
    inputs = random.normal(size=40).astype(np.float32)
    outputs, pull = jax.vjp(lambda inputs: leaky_relu(inputs, 0.1), inputs)
    factor = np.where(inputs >= 0, 1, np.float32(0.1))
    np.testing.assert_allclose(outputs, factor * inputs, rtol=1e-6)
    np.testing.assert_allclose(pull(np.ones_like(inputs))[0], factor, rtol=1e-6)


def test_gradients_of_gradients_are_those_of_jax(random):
    """A gradient penalty differentiates twice."""
    inputs, weights = random.normal(size=(2, 40)).astype(np.float32)

    def penalty(activation):
        def total(inputs):
            return jnp.sum(jnp.sin(activation(inputs * weights)))

        return lambda inputs: jnp.sum(jax.grad(total)(inputs) ** 2)

    found = jax.grad(penalty(leaky_relu))(inputs)
    expected = jax.grad(penalty(lambda inputs: jax.nn.leaky_relu(inputs, 0.2)))(inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
