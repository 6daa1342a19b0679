"""A thousand simulated studies each: intervals hold the truth and tests err as often as they say."""

import numpy as np
import pytest

from igan.annotation import estimates
from tests.annotation.people import centre_of, right_answers, true_accuracy

STUDIES, PEOPLE, QUESTIONS = 1000, 40, 50
SPREADS = (0.0, 0.3, 0.6)  # Of people's skills, logit.


def coverage(interval, truth):
    return float(np.mean((interval.low <= truth) & (truth <= interval.high)))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("accuracy", "bias", "slope"), [(0.787, 0.0, 0.0), (0.6, 0.5, 1.5), (0.714, -0.3, -1.0)])
def test_the_interval_over_people_covers_the_truth(spread, accuracy, bias, slope):
    """Also with a preferred answer, with learning and with fatigue."""
    random = np.random.default_rng([int(10 * spread), int(1000 * accuracy)])
    centre = centre_of(accuracy, spread)
    right = right_answers(random, STUDIES, PEOPLE, QUESTIONS, centre, spread, bias, slope)
    truth = true_accuracy(centre, spread, bias, slope, QUESTIONS)
    assert 0.935 <= coverage(estimates.t_interval(right.mean(-1)), truth) <= 0.965


@pytest.mark.parametrize(("spread", "most"), [(0.3, 0.91), (0.6, 0.75)])
def test_the_pooled_interval_does_not(spread, most):
    """That is why it is labelled."""
    right = right_answers(np.random.default_rng(5), STUDIES, PEOPLE, QUESTIONS, centre_of(0.787, spread), spread)
    pooled = estimates.wilson(right.sum((1, 2)), PEOPLE * QUESTIONS)
    assert coverage(pooled, 0.787) < most


def test_the_pooled_interval_does_where_people_are_equal():
    right = right_answers(np.random.default_rng(6), STUDIES, PEOPLE, QUESTIONS, centre_of(0.787, 0.0), 0.0)
    assert 0.935 <= coverage(estimates.wilson(right.sum((1, 2)), PEOPLE * QUESTIONS), 0.787) <= 0.965


@pytest.mark.parametrize("spread", SPREADS)
def test_the_test_against_chance_keeps_its_size(spread):
    right = right_answers(np.random.default_rng(7), STUDIES, PEOPLE, QUESTIONS, 0.0, spread)
    assert 0.035 <= np.mean(estimates.difference_test(right.mean(-1), 0.5) < 0.05) <= 0.065


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("accuracy", [0.45, 0.55])
def test_equivalence_is_seldom_claimed_at_its_margin(spread, accuracy):
    centre = centre_of(accuracy, spread)
    right = right_answers(np.random.default_rng(8), STUDIES, PEOPLE, QUESTIONS, centre, spread)
    assert np.mean(estimates.equivalence_test(right.mean(-1), 0.5, 0.05) < 0.05) <= 0.065


def test_equivalence_is_found_where_nobody_can_tell():
    right = right_answers(np.random.default_rng(9), STUDIES, PEOPLE, QUESTIONS, 0.0, 0.0)
    assert np.mean(estimates.equivalence_test(right.mean(-1), 0.5, 0.05) < 0.05) > 0.95


@pytest.mark.parametrize("spread", SPREADS)
def test_the_effect_of_feedback(spread):
    """Found when it is there, and not when it is not; arms of different size, and of different spread."""
    random = np.random.default_rng(10)
    without = right_answers(random, STUDIES, 23, QUESTIONS, centre_of(0.70, spread), spread).mean(-1)
    for accuracy, least, most in ((0.70, 0.035, 0.065), (0.80, 0.6, 1.0)):
        told = right_answers(random, STUDIES, 17, QUESTIONS, centre_of(accuracy, 1.2 * spread), 1.2 * spread).mean(-1)
        found = estimates.welch(told, without)
        assert least <= np.mean(found.p < 0.05) <= most
        assert 0.935 <= coverage(found, accuracy - 0.70) <= 0.965


def test_the_interval_over_people_and_images_covers_the_truth():
    """300 studies of 200 people, 30 questions of 40 images that all share: the interval over people alone does not."""
    random = np.random.default_rng(11)
    held, held_by_people = [], []
    truth = true_accuracy(0.8, np.hypot(0.4, 0.6))
    person = np.repeat(np.arange(200), 30)
    for _ in range(300):
        image = random.integers(60, size=person.size)
        skill = 0.8 + 0.4 * random.normal(size=200)[person] + 0.6 * random.normal(size=60)[image]
        right = random.random(person.size) < 1 / (1 + np.exp(-skill))
        held.append(coverage(estimates.two_way_interval(right, person, image), truth))
        held_by_people.append(coverage(estimates.t_interval(right.reshape(200, 30).mean(-1)), truth))
    assert 0.91 <= np.mean(held) <= 0.98
    assert np.mean(held_by_people) < 0.75
