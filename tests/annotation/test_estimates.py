"""Intervals and tests against SciPy, statsmodels and textbooks."""

from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats

from igan.annotation import estimates

LIKE_PEOPLE = [0.62, 0.71, 0.55, 0.80, 0.74, 0.68, 0.77]
OTHERS = [0.52, 0.61, 0.58, 0.49]


def test_t_interval():
    expected = scipy.stats.ttest_1samp(LIKE_PEOPLE, 0).confidence_interval()
    assert estimates.t_interval(LIKE_PEOPLE)[1:] == pytest.approx((expected.low, expected.high))
    many = np.random.default_rng(0).random((3, 4, 7))
    both = estimates.t_interval(many)
    assert both.low.shape == (3, 4)
    assert both.low[2, 1] == pytest.approx(scipy.stats.ttest_1samp(many[2, 1], 0).confidence_interval().low)


@pytest.mark.parametrize(("right", "count"), [(7, 50), (0, 20), (20, 20), (1048, 2000), (1, 1)])
def test_wilson(right, count):
    expected = scipy.stats.binomtest(right, count).proportion_ci(method="wilson")
    assert estimates.wilson(right, count)[1:] == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_the_papers_votes():
    """52.4 % of 2,000."""
    _, low, high = estimates.wilson(1048, 2000)
    assert (round(float(low), 3), round(float(high), 3)) == (0.502, 0.546)


def test_difference_from_chance():
    expected = scipy.stats.ttest_1samp(LIKE_PEOPLE, 0.5).pvalue
    assert estimates.difference_test(LIKE_PEOPLE, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0, -0.1, -0.2, 0.1])
def test_equivalence(shift):
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    values = np.array(LIKE_PEOPLE) + shift
    expected = weightstats.DescrStatsW(values).ttost_mean(0.45, 0.55)[0]
    assert estimates.equivalence_test(values, 0.5, 0.05) == pytest.approx(expected)


def test_equivalence_agrees_with_the_interval_of_90_per_cent():
    """Equivalence at 5 % is the same as an interval of 90 % within the margin."""
    random = np.random.default_rng(1)
    values = random.normal(0.5, 0.06, (400, 9)) + random.normal(0, 0.02, (400, 1))
    interval = estimates.t_interval(values, 0.90)
    inside = (interval.low > 0.45) & (interval.high < 0.55)
    assert 0 < inside.sum() < 400
    np.testing.assert_array_equal(estimates.equivalence_test(values, 0.5, 0.05) < 0.05, inside)


@pytest.mark.parametrize("second", [OTHERS, [0.5, 0.5, 0.50001]])
def test_welch(second):
    expected = scipy.stats.ttest_ind(LIKE_PEOPLE, second, equal_var=False)
    interval = expected.confidence_interval()
    found = estimates.welch(LIKE_PEOPLE, second)
    assert found == pytest.approx(
        (np.mean(LIKE_PEOPLE) - np.mean(second), interval.low, interval.high, expected.pvalue)
    )


def test_holm():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for seed in range(20):
        p = list(np.random.default_rng(seed).random(seed % 6) * 0.2)
        expected = multitest.multipletests(p, method="holm")[1] if p else []
        assert estimates.holm(p) == pytest.approx(list(expected))


def test_sensitivity_of_the_textbook():
    """Stanislaw and Todorov (1999): 20 hits of 25, 10 false alarms of 25; d' 1.095, c -0.294, without correction."""
    found = estimates.sensitivity(20e9, 25e9, 10e9, 25e9)
    assert (found.dprime, found.criterion) == (pytest.approx(1.095, abs=5e-4), pytest.approx(-0.294, abs=5e-4))


def test_sensitivity_is_log_linear():
    """Hautus (1995): 0.5 to each count and 1 to each number, also where no rate is 0 or 1."""
    z = NormalDist().inv_cdf
    found = estimates.sensitivity([20, 25, 0], [25, 25, 0], [10, 0, 0], [25, 25, 0])
    hit, alarm = z(20.5 / 26), z(10.5 / 26)
    assert found.dprime[0] == pytest.approx(hit - alarm) and found.criterion[0] == pytest.approx(-(hit + alarm) / 2)
    assert found.dprime[1] == pytest.approx(2 * z(25.5 / 26)) and found.criterion[1] == pytest.approx(0)
    assert found.dprime[2] == 0


@pytest.mark.parametrize(
    ("choice", "single", "dprime"), [(0.870, 0.787, 1.59), (0.534, 0.524, 0.12), (0.788, 0.714, 1.13)]
)
def test_choosing_one_of_two_is_easier(choice, single, dprime):
    assert estimates.as_single(choice) == pytest.approx(single, abs=6e-4)
    assert estimates.choice_sensitivity(choice * 1e9, 1e9) == pytest.approx(dprime, abs=6e-3)


def test_spread_between_people_is_not_that_of_their_luck():
    random = np.random.default_rng(0)
    skill = np.clip(random.normal(0.7, 0.1, 4000), 0, 1)
    assert estimates.spread_between(random.binomial(30, skill), np.full(4000, 30)) == pytest.approx(0.1, abs=0.005)
    equal = random.binomial(30, 0.7, 4000)
    assert np.std(equal / 30) > 0.08
    assert estimates.spread_between(equal, np.full(4000, 30)) < 0.02


def test_interval_over_people_and_images():
    api = pytest.importorskip("statsmodels.api")
    random = np.random.default_rng(4)
    person = np.repeat(np.arange(12), 20)
    image = np.concatenate([random.choice(40, 20, replace=False) for _ in range(12)])
    skill = random.normal(0.8, 0.8, 12)[person] + random.normal(0, 1, 40)[image]
    right = (random.random(240) < 1 / (1 + np.exp(-skill))).astype(float)
    model = api.OLS(right, np.ones(240))
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": np.stack([person, image], 1)})
    found = estimates.two_way_interval(right, person, image)
    error = float(found.high - found.mean) / scipy.stats.t.ppf(0.975, 11)
    assert error == pytest.approx(float(fitted.bse[0]))


def test_nothing_is_estimated_from_too_little():
    assert estimates.estimate([]) is None
    assert estimates.estimate([np.nan, np.nan]) is None
    assert estimates.estimate([0.5]) == (0.5, None, None, 1)
    assert estimates.share([1.0, 1.0, 1.0]) == (1.0, None, None, 3), "an interval without width claims too much"
    assert estimates.share([0.9, 1.0])[1:3] == (pytest.approx(0.315, abs=1e-3), 1.0), "shares end at 1"
