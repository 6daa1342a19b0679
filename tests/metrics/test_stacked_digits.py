"""Modes of stacked digits, against counting by hand with digits whose brightness says what they are, and on MNIST."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from igan.data import stacked
from igan.errors import UserError
from igan.metrics import image_classifier, stacked_digits
from igan.metrics.extract import FeatureNetwork
from igan.metrics.images import Images, from_array

USERS_CACHE = os.environ.get("XDG_CACHE_HOME", "")  # That of a test is empty.
STEP = 20  # Of brightness, from one digit to the next.


def nearest_brightness(params, images, levels):
    assert images.shape[1:] == (4, 4, 1)
    brightness = images.astype(jnp.float32).mean(axis=(1, 2))
    return {level: -((brightness / STEP - jnp.arange(10.0)) ** 2) for level in levels}


JUDGE = FeatureNetwork("brightness", ("logits", "classifier"), {}, nearest_brightness)


def drawn(triples) -> Images:
    """An image of 4 x 4 pixels for each triple of digits."""
    pixels = np.asarray(triples, np.uint8)[:, None, None, :] * np.uint8(STEP)
    return from_array("drawn", np.tile(pixels, (1, 4, 4, 1)))


@pytest.fixture(scope="module")
def judge():
    digits = np.arange(10, dtype=np.uint8)
    wrongly = digits.copy()
    wrongly[:2] = 9
    return stacked_digits.of_channels(JUDGE, drawn(np.stack([digits] * 3, 1)).read(0, 10)[..., :1], wrongly)


def values(triples, judge) -> list[float]:
    return [score.value for score in stacked_digits.scores(stacked_digits.SCORES, drawn(triples), judge).values()]


def test_three_digits_are_a_mode_red_first(judge):
    counts = stacked_digits.mode_counts(drawn([(1, 2, 3), (1, 2, 3), (3, 2, 1), (0, 0, 9), (9, 0, 0)]), judge)
    assert counts.shape == (1000,) and counts.sum() == 5
    assert {mode: counts[mode] for mode in np.flatnonzero(counts)} == {9: 1, 123: 2, 321: 1, 900: 1}


def test_the_divergence_is_the_one_worked_out_by_hand(judge):
    """Three images of one mode and one of another: 3/4 log(750) + 1/4 log(250)."""
    expected = 0.75 * np.log(750) + 0.25 * np.log(250)
    assert values([(4, 4, 4), (4, 4, 5), (4, 4, 4), (4, 4, 4)], judge) == [2, pytest.approx(expected)]
    assert expected == pytest.approx(6.3454, abs=5e-5)


def test_one_mode_and_all_of_them(judge):
    assert values([(7, 0, 2)] * 300, judge) == [1, pytest.approx(6.9078, abs=5e-5)]
    every = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), axis=1)
    assert values(np.concatenate([every, every]), judge) == [1000, pytest.approx(0, abs=1e-12)]
    # A missing mode is no infinity, as it would be in the other direction.
    assert values(every[1:], judge) == [999, pytest.approx(np.log(1000 / 999))]


def test_batches_and_devices_do_not_matter(judge, random):
    """601 images: two whole batches and a part, over eight devices."""
    triples = random.integers(0, 10, (2 * stacked_digits.BATCH + 89, 3))
    expected = np.zeros(1000, int)
    for red, green, blue in triples:
        expected[100 * red + 10 * green + blue] += 1
    np.testing.assert_array_equal(stacked_digits.mode_counts(drawn(triples), judge), expected)


def test_an_image_of_nothing_counts_as_the_digit_it_is_taken_for(judge):
    assert values([(0, 0, 0)], judge)[0] == 1


def test_the_protocol_names_the_classifier_its_errors_and_the_samples(judge):
    found = stacked_digits.scores(["reverse_kl"], drawn([(1, 1, 1)] * 3), judge)
    assert list(found) == ["reverse_kl"] and found["reverse_kl"].std is None
    assert found["reverse_kl"].protocol == (
        "natural logarithm, 3 samples, 1,000 modes, each channel's digit by brightness, which errs in 2 of 10 test"
        " digits"
    )
    assert stacked_digits.scores(["modes"], drawn([(1, 1, 1)]), judge)["modes"].protocol.startswith("1 samples, 1,000")


def test_what_cannot_be_counted_is_refused(judge):
    with pytest.raises(UserError, match=r"unknown score 'high_quality' of stacked digits"):
        stacked_digits.scores(["high_quality"], drawn([(1, 1, 1)]), judge)
    with pytest.raises(UserError, match=r"Did you mean 'reverse_kl'\?"):
        stacked_digits.scores(["reverse_lk"], drawn([(1, 1, 1)]), judge)
    broken = judge._replace(apply=lambda params, images, levels: {"logits": jnp.full((len(images), 30), jnp.nan)})
    with pytest.raises(UserError, match=r"brightness.* gives logits that are not finite for drawn") as error:
        stacked_digits.scores(["modes"], drawn([(1, 1, 1)]), broken)
    assert "\n" not in str(error.value)


@pytest.mark.long("trains a classifier of MNIST")
@pytest.mark.parametrize(("samples", "bias"), [(26_000, 0.0192), (25_600, 0.0195)])
def test_real_digits_have_all_modes_and_the_divergence_of_so_few_samples(mnist, monkeypatch, samples, bias):
    """999 / 2n, and 0.0043 as the digits of MNIST are not equally frequent; a shift of the range would be seen here."""
    monkeypatch.setenv("XDG_CACHE_HOME", USERS_CACHE)
    judge = stacked_digits.of_channels(
        image_classifier.load("mnist", mnist.train_images, mnist.train_labels), mnist.test_images, mnist.test_labels
    )
    made = stacked.stack(mnist, train=samples, test=1)
    counts = stacked_digits.mode_counts(from_array("real", made.train_images), judge)
    found = stacked_digits.scores(stacked_digits.SCORES, from_array("real", made.train_images), judge)
    assert found["modes"].value == 1000 == (counts > 0).sum()
    assert found["reverse_kl"].value == pytest.approx(bias + 0.0043, abs=0.002)
    assert "which errs in " in found["modes"].protocol
    labelled = np.bincount(made.train_labels, minlength=1000)
    assert np.abs(counts - labelled).sum() / 2 < 0.03 * samples  # Three digits, each wrong in less than 1 %.
