"""Spectral normalisation: its power iteration by hand and by singular values, its gradient, and what it remembers."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.game import inference
from igan.layers import spectral_norm
from igan.layers.spectral_norm import SpectralNormLayer, power_iteration
from igan.layers.weights import Layer, WeightLayer, apply_kernel
from tests.contexts import at

MATRIX = jnp.array([[3.0, 0.0], [0.0, 1.0]])
KINDS = {
    "dense": (Layer(7), (6, 5)),
    "convolution": (Layer(7, kernel=3, stride=2, padding=1), (2, 6, 6, 5)),
    "transposed": (Layer(7, kernel=5, transposed=True), (2, 3, 3, 5)),
}


def converged(matrix):
    u = jnp.ones(matrix.shape[1])
    for _ in range(100):
        u = power_iteration(matrix, u)[1]
    return u


def test_one_step_by_hand():
    sigma, u = power_iteration(MATRIX, jnp.ones(2) / jnp.sqrt(2))
    np.testing.assert_allclose(sigma, 2.863564, rtol=1e-6)  # sqrt(8.2); with the old u it would be sqrt(5).
    np.testing.assert_allclose(u, np.array([9, 1]) / np.sqrt(82), rtol=1e-6)
    np.testing.assert_array_equal(power_iteration(MATRIX, 100 * jnp.ones(2))[1], u)  # Of any length.


def test_it_converges_to_the_largest_singular_value(random):
    matrix = random.normal(size=(45, 7)).astype(np.float32)
    sigma, _ = power_iteration(jnp.asarray(matrix), converged(matrix))
    np.testing.assert_allclose(sigma, np.linalg.svd(matrix, compute_uv=False)[0], rtol=1e-6)


def test_only_the_matrix_has_a_gradient_which_is_of_both_places_it_stands_in(random):
    """(1 / sigma) (g - <g, W / sigma> v u^T), of a loss with the gradient g by the normalised matrix."""
    with jax.enable_x64(True):
        matrix, u, g = random.normal(size=(4, 3)), random.normal(size=3), random.normal(size=(4, 3))
        loss = lambda matrix, u: jnp.sum(g * matrix / power_iteration(matrix, u)[0])  # noqa: E731
        found, of_u = jax.grad(loss, argnums=(0, 1))(jnp.asarray(matrix), jnp.asarray(u))
        v = matrix @ u / np.linalg.norm(matrix @ u)
        after = matrix.T @ v / np.linalg.norm(matrix.T @ v)
        sigma = v @ matrix @ after
        expected = (g - np.sum(g * matrix / sigma) * np.outer(v, after)) / sigma
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        np.testing.assert_array_equal(of_u, np.zeros(3))


def test_the_gradient_has_no_part_along_the_matrix(random):
    """Twice the matrix is the same layer. With sigma held constant the product would be the loss's <g, W> / sigma."""
    with jax.enable_x64(True):
        matrix, g = jnp.asarray(random.normal(size=(4, 3))), random.normal(size=(4, 3))
        u = converged(matrix)
        slope = jax.grad(lambda matrix: jnp.sum(g * jnp.tanh(matrix / power_iteration(matrix, u)[0])))(matrix)
        assert abs(jnp.sum(slope * matrix)) < 1e-12 < jnp.sum(jnp.abs(slope * matrix))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_divides_its_kernel_by_the_norm_of_its_matrix(kind, random):
    asked, shape = KINDS[kind]
    layer, inputs = SpectralNormLayer(asked), jnp.asarray(random.normal(size=shape), jnp.float32)
    start = layer.init(jax.random.key(0), inputs, at())
    kernel = start["params"]["kernel"]
    assert jax.tree.map(jnp.shape, start["averages"]) == {"u": (7,)}
    # What training leaves, after as many passes as need be.
    step = jax.jit(lambda state: layer.apply(state, inputs, at(), mutable=["averages"]))
    state = start
    for _ in range(100):
        outputs, after = step(state)
        state = start | after
    matrix = np.float64(kernel).reshape(-1, 7)  # The features last, also of a transposed kernel.
    expected = kernel / np.linalg.svd(matrix, compute_uv=False)[0].astype(np.float32)
    np.testing.assert_allclose(outputs, apply_kernel(asked, expected, None, inputs), rtol=1e-4, atol=1e-5)


def test_training_leaves_the_next_vector_and_sampling_leaves_it_alone(random):
    layer, inputs = SpectralNormLayer(Layer(7)), jnp.asarray(random.normal(size=(6, 5)), jnp.float32)
    start = layer.init(jax.random.key(0), inputs, at())
    sigma, after = power_iteration(start["params"]["kernel"], start["averages"]["u"])
    trained, left = layer.apply(start, inputs, at(), mutable=["averages"])
    np.testing.assert_allclose(left["averages"]["u"], after, rtol=1e-6)  # One step, and it was none to initialise.
    sampled, kept = layer.apply(start, inputs, at(train=False), mutable=["averages"])
    np.testing.assert_array_equal(kept["averages"]["u"], start["averages"]["u"])
    for outputs in (trained, sampled):  # One step for the estimate in either case.
        np.testing.assert_allclose(outputs, inputs @ start["params"]["kernel"] / sigma, rtol=1e-5, atol=1e-6)


def test_vectors_are_drawn_from_a_normal_distribution_and_do_not_change_the_kernel():
    inputs = jnp.ones((2, 3))
    start = SpectralNormLayer(Layer(4000)).init(jax.random.key(0), inputs, at())
    u = np.asarray(start["averages"]["u"])
    assert abs(u.mean()) < 0.05 and abs(u.std() - 1) < 0.05
    plain = WeightLayer(Layer(4000)).init(jax.random.key(0), inputs, at())
    np.testing.assert_array_equal(start["params"]["kernel"], plain["params"]["kernel"])


def test_what_it_remembers_is_kept_in_sampling():
    assert spectral_norm.COLLECTION == inference.AVERAGES


def test_kernels_of_a_game_in_bfloat16_are_normalised_in_float32():
    layer = SpectralNormLayer(Layer(4, dtype=jnp.bfloat16))
    start = layer.init(jax.random.key(0), jnp.ones((2, 3)), at())
    outputs, after = layer.apply(start, jnp.ones((2, 3)), at(), mutable=["averages"])
    assert outputs.dtype == jnp.bfloat16 and after["averages"]["u"].dtype == jnp.float32


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(importlib.import_module("igan.layers.spectral_norm"))
    assert found.attempted >= 2 and found.failed == 0
