"""Least squares: labels, factors, and the divergence that they make."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from igan.config import default, validate
from igan.errors import UserError
from igan.game import technique
from igan.types import Array
from tests.techniques.test_losses import judge, look_at, make

PEARSON = {"generated_label": -1.0, "real_label": 1.0, "generator_label": 0.0}


def on_discriminator(real: Array, fake: Array, **labels: float) -> Array:
    return make("least_squares", **labels).discriminator_loss(None, look_at(judge(real), judge(fake)))[0]


def on_generator(fake: Array, **labels: float) -> Array:
    return make("least_squares", **labels).generator_loss(None, look_at(judge(-fake), judge(fake)))[0]


@pytest.mark.parametrize("labels", [{}, PEARSON, {"generated_label": 0.2, "real_label": 0.9, "generator_label": 0.7}])
def test_the_losses_are_half_the_mean_squares(labels, random):
    a, b, c = (labels | {}).values() if labels else (0.0, 1.0, 1.0)
    real, fake = random.normal(0, 3, (2, 40)).astype(np.float32)
    view = look_at(judge(real), judge(fake))
    value, details = make("least_squares", **labels).discriminator_loss(None, view)
    parts = ((real - b) ** 2).mean() / 2, ((fake - a) ** 2).mean() / 2
    np.testing.assert_allclose([value, details["real"], details["fake"]], [sum(parts), *parts], rtol=1e-5)
    np.testing.assert_allclose(on_generator(fake, **labels), ((fake - c) ** 2).mean() / 2, rtol=1e-5)


def test_the_factors_by_hand():
    zero = jnp.zeros(1)
    assert on_discriminator(zero, zero) == 0.5
    assert on_generator(zero) == 0.5
    assert on_discriminator(jnp.float32([3]), zero) == 2  # No sigmoid, under which it is at most a half.
    assert on_discriminator(jnp.float32([5]), zero) == 8  # Twice as far is four times as bad.


def test_labels_belong_together():
    """With -1 and 1 for the discriminator the generator aims between them."""
    assert on_generator(jnp.zeros(3), **PEARSON) == 0
    assert on_discriminator(jnp.ones(3), -jnp.ones(3), **PEARSON) == 0


@pytest.mark.parametrize(
    ("model", "best", "divergence"), [((1, 3), (1 / 3, -0.2), 0.133333), ((2, 2), (0.0, 0.0), 0.0)]
)
def test_the_generator_faces_the_pearson_divergence(model, best, divergence):
    """Two points, where the data are in equal parts; each is in a batch as often as it is drawn."""
    of_data, of_model = (np.repeat([0, 1], counts) for counts in ((2, 2), model))
    with jax.enable_x64(True):
        slope = jax.value_and_grad(lambda table: on_discriminator(table[of_data], table[of_model], **PEARSON))
        found = minimize(lambda table: jax.device_get(slope(table)), np.float64([0.7, 0.4]), jac=True, tol=1e-12).x
        # Plus what the generator has no influence on.
        twice_its_loss = 2 * on_generator(jnp.asarray(found[of_model]), **PEARSON) + np.mean(found[of_data] ** 2)
    np.testing.assert_allclose(found, best, atol=1e-6)
    np.testing.assert_allclose(twice_its_loss, divergence, atol=1e-6)
    data, model = np.bincount(of_data) / 4, np.bincount(of_model) / 4
    np.testing.assert_allclose(((2 * model - data - model) ** 2 / (data + model)).sum(), divergence, atol=1e-6)


@pytest.mark.parametrize("field", ["generated_label", "real_label", "generator_label"])
@pytest.mark.parametrize("label", [float("nan"), float("inf"), -float("inf"), 1e7, "1", None])
def test_a_label_that_is_no_number_is_one_line(field, label):
    with pytest.raises(UserError, match=rf"^techniques\.least_squares\.{field} is .*, expected a number") as error:
        make("least_squares", **{field: label})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["real_label", "generator_label"])
@pytest.mark.parametrize("label", [0.0, -0.5])
def test_positive_means_real(field, label):
    with pytest.raises(UserError, match=rf"{field} is {label}, expected more than generated_label=0.0: set --config"):
        make("least_squares", **{field: label})


def test_its_labels_are_its_own():
    config = default()
    for name in ("least_squares", "label_smoothing"):
        config.techniques[name].enabled = True
    with pytest.raises(UserError, match="label_smoothing: no enabled objective has targets for real images"):
        validate(config)
    config.techniques.label_smoothing.enabled = False
    config.techniques.least_squares.real_label = 0.9
    validate(config)
    assert technique.defaults("least_squares")["generated_label"] == 0


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(importlib.import_module("igan.techniques.least_squares"))
    assert found.attempted >= 7 and found.failed == 0
