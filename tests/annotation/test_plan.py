"""How many answers an interval needs, against tables and against simulated studies."""

import numpy as np
import pytest
import scipy.stats

from igan.annotation import __main__, estimates, plan


@pytest.mark.parametrize(
    ("accuracy", "answers"),
    [
        (0.5, (381, 1064, 2398, 9600)),
        (0.714, (311, 869, 1959, 7842)),
        (0.787, (256, 714, 1608, 6438)),
        (0.95, (83, 215, 469, 1838)),
    ],
)
def test_independent_answers(accuracy, answers):
    """The smallest number whose Wilson interval is narrow enough."""
    assert tuple(plan.independent_answers(width, accuracy) for width in (0.05, 0.03, 0.02, 0.01)) == answers
    for width, count in zip((0.05, 0.03, 0.02, 0.01), answers, strict=True):
        for more, enough in ((0, True), (-1, False)):
            low, high = (estimates.wilson(accuracy * (count + more), count + more)[place] for place in (1, 2))
            assert bool((high - low) / 2 <= width + 1e-12) is enough


@pytest.mark.parametrize(("people", "answers", "spread"), [(20, 50, 0.1), (40, 20, 0.05), (12, 200, 0.0)])
def test_the_width_is_that_of_simulated_studies(people, answers, spread):
    random = np.random.default_rng(0)
    # Beta-distributed skills have exactly this mean and spread.
    mean, total = 0.787, 0.787 * 0.213 / spread**2 - 1 if spread else np.inf
    skill = random.beta(mean * total, (1 - mean) * total, (3000, people)) if spread else np.full((3000, people), mean)
    interval = estimates.t_interval(random.binomial(answers, skill) / answers)
    # The root of the mean square: a mean of roots is smaller.
    realised = float(np.sqrt(np.mean((interval.high - interval.low) ** 2)) / 2)
    assert plan.half_width(people, answers, mean, spread) == pytest.approx(realised, rel=0.02)


def test_answers_needed_are_the_fewest():
    for width, people, accuracy, spread in ((0.05, 20, 0.787, 0.1), (0.03, 60, 0.5, 0.05), (0.02, 300, 0.9, 0.1)):
        needed = plan.answers_needed(width, people, accuracy, spread)
        assert needed is not None and needed > 1
        assert (
            plan.half_width(people, needed, accuracy, spread)
            <= width
            < plan.half_width(people, needed - 1, accuracy, spread)
        )


def test_more_answers_cannot_stand_for_more_people():
    assert plan.answers_needed(0.03, 20, 0.787, 0.1) is None
    people = plan.people_needed(0.03, 0.787, 0.1)
    assert plan.answers_needed(0.03, people, 0.787, 0.1) is not None
    assert plan.answers_needed(0.03, people - 1, 0.787, 0.1) is None or people > 40


def test_the_smallest_difference_is_found_four_times_in_five():
    random = np.random.default_rng(1)
    difference = plan.smallest_difference(20, 50, 0.1)
    skill = random.normal(0.5 + difference, 0.1, (4000, 20))
    p = estimates.difference_test(random.binomial(50, np.clip(skill, 0, 1)) / 50, 0.5)
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)
    exact = scipy.stats.t.ppf(0.975, 19) + scipy.stats.t.ppf(0.8, 19)
    assert difference == pytest.approx(exact * np.sqrt((0.01 + 0.24 / 50) / 20))


def test_the_command(capsys):
    assert __main__.main(["plan", "--width=0.05", "--people=20"]) == 0
    assert "20 people with 112 answers each: 2,240 answers." in capsys.readouterr().out
    assert __main__.main(["plan", "--width=0.02", "--people=20"]) == 0
    assert "20 people cannot do it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flag",
    ["--width=0", "--width=nan", "--width=0.5", "--people=1", "--accuracy=1", "--accuracy=nan", "--spread=0.5",
     "--spread=nan", "--spread=-1", "--width=0.000001"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(flag, capsys):
    assert __main__.main(["plan", flag]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: --") and captured.err.count("\n") == 1
