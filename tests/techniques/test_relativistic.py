"""Relativistic losses against NumPy, which compares each pair in a loop."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.techniques.relativistic import average, pairing
from igan.types import Array
from tests.techniques.test_losses import EXTREME, judge, look_at, make

REAL, FAKE = np.float32([2, 0.5, -1]), np.float32([-2, 0, 1])
LOSSES = {
    "softplus": lambda lead: np.logaddexp(0, -lead),
    "least_squares": lambda lead: (lead - 1) ** 2,
    "hinge": lambda lead: max(0.0, 1 - lead),
}
each_loss = pytest.mark.parametrize("loss", LOSSES)
each_comparison = pytest.mark.parametrize("comparison", ["pairing", "average"])


def play(real: Array, fake: Array, **settings: str) -> list[Array]:
    """The losses of the discriminator and of the generator."""
    made, view = make("relativistic", **settings), look_at(judge(real), judge(fake))
    return [loss(None, view)[0] for loss in (made.discriminator_loss, made.generator_loss)]


def expect(comparison: str, loss: str, ahead: np.ndarray, behind: np.ndarray) -> float:
    if comparison == "pairing":
        return float(np.mean([LOSSES[loss](one - other) for one, other in zip(ahead, behind, strict=True)]))
    halves = [LOSSES[loss](one - behind.mean()) for one in ahead], [LOSSES[loss](ahead.mean() - one) for one in behind]
    return float(np.mean(halves))


def test_the_numbers_by_hand():
    np.testing.assert_allclose(play(REAL, FAKE), [0.873052, 1.706384], rtol=2e-6)
    np.testing.assert_allclose(play(REAL, FAKE, comparison="average")[0], 0.510253, rtol=2e-6)


def test_images_that_nobody_can_tell_apart_cost_both_players_the_logarithm_of_two(random):
    """A discriminator that says nothing, or real images that are the generated ones, pair by pair."""
    logits = np.float32(random.normal(0, 2, 5))
    for real, fake in ((np.zeros(5, np.float32),) * 2, (logits, logits)):
        np.testing.assert_allclose(play(real, fake), np.log(2), rtol=1e-6)
    assert all(abs(float(loss) - np.log(2)) > 0.02 for loss in play(logits, logits[::-1]))  # Other pairs.


@each_loss
@each_comparison
def test_both_players_losses_are_those_of_numpy(comparison, loss, random):
    real, fake = random.normal(0, 2, (2, 7))
    expected = expect(comparison, loss, real, fake), expect(comparison, loss, fake, real)
    np.testing.assert_allclose(play(real, fake, comparison=comparison, loss=loss), expected, rtol=1e-5)


@each_loss
@each_comparison
def test_slopes_are_those_of_finite_differences(comparison, loss, random):
    """The means of a batch move with it: without their part all of the slopes here are others."""
    logits = random.normal(0, 2, (2, 5))
    with jax.enable_x64(True):
        for player in (0, 1):
            value = lambda logits, player=player: play(*logits, comparison=comparison, loss=loss)[player]  # noqa: E731
            found, epsilon = jax.grad(value)(jnp.asarray(logits)), 1e-6
            for place in np.ndindex(2, 5):
                move = np.zeros((2, 5))
                move[place] = epsilon
                slope = (value(logits + move) - value(logits - move)) / (2 * epsilon)
                np.testing.assert_allclose(found[place], slope, rtol=1e-6, atol=1e-8)


def test_pairs_are_not_all_pairs():
    """Numbers in a column and numbers in a row would be broadcast to a table of all differences."""
    for shape in ((3,), (3, 1)):
        np.testing.assert_allclose(pairing(REAL.reshape(shape), FAKE.reshape(shape)), 0.873052, rtol=2e-6)
    all_pairs = np.logaddexp(0, -(REAL[:, None] - FAKE)).mean()
    assert abs(all_pairs - 0.873052) > 0.01
    with pytest.raises(ValueError, match=r"shapes \(3, 1\) and \(3,\), expected two of the same"):
        pairing(REAL[:, None], FAKE)
    np.testing.assert_allclose(average(REAL[:, None], FAKE), 0.510253, rtol=2e-6)


@each_comparison
def test_only_differences_count(comparison):
    one, other = play(REAL, FAKE, comparison=comparison), play(REAL + 8, FAKE + 8, comparison=comparison)
    np.testing.assert_allclose(one, other, rtol=1e-5)


@each_loss
@each_comparison
def test_extreme_logits_are_finite(comparison, loss):
    value = lambda logits: sum(play(*logits, comparison=comparison, loss=loss))  # noqa: E731
    assert np.all(np.isfinite(jax.grad(value)((EXTREME, EXTREME[::-1] + 2))))


def test_what_is_unknown_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r"relativistic\.comparison: unknown 'pairs'\. Did you mean 'pairing'\? Known"):
        make("relativistic", comparison="pairs")
    with pytest.raises(UserError, match=r"relativistic\.loss: unknown 'least_square'\. Did you mean 'least_squares'"):
        make("relativistic", loss="least_square")


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(importlib.import_module("igan.techniques.relativistic"))
    assert found.attempted >= 9 and found.failed == 0
