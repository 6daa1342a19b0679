"""The hinge game, and the losses with a softplus beside it: numbers by hand."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.techniques.hinge import discriminator_terms
from igan.types import Array
from tests.techniques.test_losses import EXTREME, judge, look_at, make

SATURATION = {"non_saturating": -0.99995, "minimax": -4.54e-5, "hinge": -1.0}  # The slope at a logit of -10.
REAL, FAKE = np.float32([2, 0.5, -1]), np.float32([-2, 0, 1])


def on_discriminator(name: str, real: Array, fake: Array) -> Array:
    return make(name).discriminator_loss(None, look_at(judge(real), judge(fake)))[0]


def on_generator(name: str, fake: Array) -> Array:
    return make(name).generator_loss(None, look_at(judge(-EXTREME), judge(fake)))[0]


def test_the_discriminator_is_paid_up_to_a_margin():
    value, details = make("hinge").discriminator_loss(None, look_at(judge(REAL), judge(FAKE)))
    found = [value, details["real"], details["fake"]]
    np.testing.assert_allclose(found, [1.833333, 0.833333, 1.0], rtol=1e-6)  # Added, not averaged.
    slopes = jax.grad(lambda logits: on_discriminator("hinge", *logits))((REAL, FAKE))
    np.testing.assert_allclose(slopes, [[0, -1 / 3, -1 / 3], [0, 1 / 3, 1 / 3]], rtol=1e-6)


def test_the_generator_has_no_hinge():
    np.testing.assert_allclose(on_generator("hinge", FAKE), 1 / 3, rtol=1e-6)
    assert on_generator("hinge", jnp.float32([5])) == -5
    np.testing.assert_allclose(jax.grad(lambda fake: on_generator("hinge", fake))(EXTREME), np.full(7, -1 / 7))


@pytest.mark.parametrize(("name", "most"), [("hinge", 0.0), ("minimax", 0.02), ("non_saturating", 0.02)])
def test_a_discriminator_that_is_right_loses_nothing(name, most):
    assert 0 <= on_discriminator(name, jnp.float32([5]), jnp.float32([-5])) <= most
    assert on_discriminator(name, jnp.float32([-5]), jnp.float32([5])) > 10


def test_the_terms_are_those_of_numpy(random):
    real, fake = random.normal(0, 3, (2, 40))
    expected = np.maximum(0, 1 - real).mean(), np.maximum(0, 1 + fake).mean()
    np.testing.assert_allclose(discriminator_terms(jnp.asarray(real), jnp.asarray(fake)), expected, rtol=1e-5)


def test_the_numbers_of_the_losses_with_a_softplus():
    for name, expected in (("minimax", -0.711111), ("non_saturating", 1.044446)):
        np.testing.assert_allclose(on_discriminator(name, REAL, FAKE), 1.349201, rtol=1e-6)
        np.testing.assert_allclose(on_generator(name, FAKE), expected, rtol=2e-6)


def test_only_the_non_saturating_generator_learns_while_it_is_losing():
    """A logarithm of a sigmoid plus a small number would stop at 18.4, with no slope."""
    value, slope = jax.value_and_grad(lambda fake: on_generator("non_saturating", fake))(jnp.float32([-100]))
    np.testing.assert_allclose([value, slope[0]], [100, -1], rtol=1e-6)
    slopes = [jax.grad(lambda fake, name=name: on_generator(name, fake))(jnp.float32([-10])) for name in SATURATION]
    np.testing.assert_allclose(np.ravel(slopes), list(SATURATION.values()), rtol=1e-3)


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(importlib.import_module("igan.techniques.hinge"))
    assert found.attempted >= 6 and found.failed == 0
