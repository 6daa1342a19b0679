"""Orthogonal regularisation: its value and slope, what it is of, and that it comes once a step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.errors import UserError
from igan.techniques.orthogonal import make, orthogonal, penalty, slope


def test_filters_that_are_orthogonal_cost_nothing_however_long(random):
    basis, _ = np.linalg.qr(random.normal(size=(18, 4)))
    kernel = jnp.float32(basis * [1, 5, 0.1, 2]).reshape(3, 3, 2, 4)
    np.testing.assert_allclose(penalty(kernel), 0, atol=1e-10)
    np.testing.assert_allclose(slope(kernel), 0, atol=1e-4)
    assert penalty(jnp.ones((3, 3, 2, 4))) == 12 * 18**2


@pytest.mark.parametrize("shape", [(3, 3, 2, 4), (2, 9), (9, 2)])
def test_the_slope_is_that_of_the_penalty(shape, random):
    """With the factor 4 of the formula, not the released code's 2; by either product."""
    with jax.enable_x64(True):
        kernel, along = (jnp.asarray(random.normal(size=shape)) for _ in range(2))
        difference = (penalty(kernel + 1e-5 * along) - penalty(kernel - 1e-5 * along)) / 2e-5
        np.testing.assert_allclose(jnp.sum(slope(kernel) * along), difference, rtol=1e-7)
        matrix = np.asarray(kernel).reshape(-1, shape[-1])
        expected = 4 * matrix @ (matrix.T @ matrix * (1 - np.eye(shape[-1])))
        np.testing.assert_allclose(slope(kernel), expected.reshape(shape), rtol=1e-9)


def test_only_kernels_are_drawn_apart():
    params = {
        "layer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "embedding": jnp.ones((2, 2)),
        "norm": {"scale": jnp.ones((2, 2))},
        "depthwise": {"kernel": jnp.ones(2)},  # Of one axis: it has no filters to be drawn apart.
    }
    optimizer = orthogonal(optax.sgd(1.0), strength=0.5)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    # 0.5 * 4 * W (W^T W off the diagonal), of twos.
    np.testing.assert_array_equal(updates["layer"]["kernel"], -4 * jnp.ones((2, 2)))
    for leaf in (
        updates["layer"]["bias"],
        updates["embedding"],
        updates["norm"]["scale"],
        updates["depthwise"]["kernel"],
    ):
        np.testing.assert_array_equal(leaf, jnp.zeros_like(leaf))


def test_the_inner_optimiser_is_given_the_whole_gradient(random):
    params = {"kernel": jnp.float32(random.normal(size=(3, 4)))}
    gradient = {"kernel": jnp.float32(random.normal(size=(3, 4)))}
    inner = optax.adam(0.1)
    outer = orthogonal(inner, strength=0.5)
    updates, _ = outer.update(gradient, outer.init(params), params)
    total = {"kernel": gradient["kernel"] + 0.5 * slope(params["kernel"])}
    expected, _ = inner.update(total, inner.init(params), params)
    np.testing.assert_allclose(updates["kernel"], expected["kernel"], rtol=1e-6)


def test_the_generator_alone_has_it():
    technique = make()
    assert technique.discriminator_optimizer is None and technique.generator_optimizer is not None


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf"), "much"])
def test_a_strength_that_cannot_be_is_refused(strength):
    with pytest.raises(UserError, match=f"techniques.orthogonal.strength is {strength}"):
        make(strength)


def test_it_needs_the_parameters():
    with pytest.raises(ValueError, match="needs the parameters"):
        orthogonal(optax.sgd(1.0)).update({}, (optax.EmptyState(), optax.EmptyState()))
