"""Scores of mixtures, against counting by hand and what is known of Gaussians."""

import numpy as np
import pytest

from igan import data
from igan.errors import UserError
from igan.metrics import mixture
from igan.types import Modes

RING = data.load("ring", "auto", "").space.modes
PAIR = Modes(np.array([[0.0, 0.0], [10.0, 0.0]]), 1.0)


def values(samples: np.ndarray, modes: Modes) -> list[float]:
    return [score.value for score in mixture.scores(mixture.SCORES, samples, modes).values()]


@pytest.mark.parametrize(
    "name",
    [
        "ring",
        "grid",
        "ring:radius=2:std=0.02",
        # WGAN-GP's code divides its ring by 1.414 and its grid by 2.828.
        "ring:radius=1.41421356:std=0.0141421356",
        "grid:spacing=0.7072:std=0.01768",
    ],
)
def test_real_points(name: str):
    """98.9 per cent, not the 99.7 of one dimension."""
    dataset = data.load(name, "auto", "")
    modes, good, divergence = values(dataset.test_images[:2500], dataset.space.modes)
    assert modes == dataset.classes
    assert good == pytest.approx(100 * (1 - np.exp(-4.5)), abs=0.42) and good == pytest.approx(98.9, abs=0.4)
    assert divergence == pytest.approx((dataset.classes - 1) / (2 * 2500), abs=0.006)  # The bias of so many samples.


def test_a_threshold_of_data_that_were_divided_and_not_it():
    dataset = data.load("ring", "auto", "")
    divided = Modes(RING.centres / 1.414, RING.std / 1.414)
    assert values(dataset.test_images[:2500] / 1.414, divided)[1] == pytest.approx(98.9, abs=0.4)
    assert values(dataset.test_images[:2500] / 1.414, divided._replace(std=0.005))[1] < 95


def test_three_standard_deviations_are_too_far():
    on_the_line, inside = np.array([[3.0, 0.0]]), np.array([[3.0 - 1e-9, 0.0]])
    assert values(on_the_line, PAIR) == [0, 0, pytest.approx(np.log(2))]
    assert values(inside, PAIR)[:2] == [1, 100]
    # The distance counts, not each axis.
    assert values(np.array([[2.5, 2.5]]), PAIR)[:2] == [0, 0]


def test_a_sample_at_the_origin_captures_nothing():
    assert values(np.zeros((2500, 2)), RING)[:2] == [0, 0]


def test_one_mode_and_all_of_them():
    assert values(np.repeat(RING.centres[:1], 2500, axis=0), RING) == [1, 100, pytest.approx(2.0794, abs=5e-5)]
    assert values(np.repeat(RING.centres, 300, axis=0), RING) == [8, 100, pytest.approx(0, abs=1e-12)]


def test_the_divergence_is_that_of_the_shares_from_equal_ones(random):
    """And not the other way round, which is infinite as soon as a mode is missing."""
    counts = random.integers(0, 100, 25) * (random.uniform(size=25) < 0.7)
    shares = counts / counts.sum()
    expected = sum(share * (np.log(share) - np.log(1 / 25)) for share in shares if share > 0)
    assert mixture.reverse_kl(counts) == pytest.approx(expected)
    one_of_a_thousand = np.eye(1000, dtype=int)[3]
    assert mixture.reverse_kl(one_of_a_thousand) == pytest.approx(6.9078, abs=5e-5)
    assert mixture.reverse_kl(np.zeros(8, int)) == pytest.approx(np.log(8))


def test_counts_are_those_of_a_loop(random):
    samples = random.normal(size=(500, 2)) * 0.8
    modes = Modes(RING.centres, 0.1)
    expected = np.zeros(8, int)
    for sample in samples:
        distances = [float(np.hypot(*(sample - centre))) for centre in modes.centres]
        if min(distances) < 0.3:
            expected[distances.index(min(distances))] += 1
    np.testing.assert_array_equal(mixture.mode_counts(samples, modes), expected)
    assert expected.sum() > 100


def test_samples_that_are_not_finite_are_of_no_quality():
    assert values(np.array([[np.nan, 0.0], [0.0, 0.0]]), PAIR)[:2] == [1, 50]


def test_what_is_asked_for_is_returned_with_its_protocol():
    (score,) = mixture.scores(["high_quality"], np.zeros((5, 2)), PAIR).values()
    assert score.protocol == "per cent of 5 samples, 2 modes of std 1, high quality within 3 std" and score.std is None
    with pytest.raises(UserError, match=r"unknown score 'mode'.*'modes'"):
        mixture.scores(["mode"], np.zeros((5, 2)), PAIR)
