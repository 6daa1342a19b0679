"""Intervals and tests of a study. Every function works along the last axis, so that many studies go through at once.

People differ, so the unit of all that is claimed about people is a person: an interval over pooled answers takes 20
people with 100 answers each for 2,000 independent answers, and is then far too narrow.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95  # Of every interval.


class Estimate(NamedTuple):
    """A mean over persons with its interval. Without at least two different values there is no interval: None."""

    mean: float
    low: float | None
    high: float | None
    count: int  # Persons.


class Interval(NamedTuple):
    mean: Floats
    low: Floats
    high: Floats


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Returns means and Student's t intervals.

    Args:
      values: one a person, [..., n] with n >= 2.

    >>> [round(float(each), 2) for each in t_interval([0.6, 0.7, 0.8])]
    [0.7, 0.45, 0.95]
    """
    mean, error, degrees = _moments(values)
    reach = stdtrit(degrees, 0.5 + level / 2) * error
    return Interval(mean, mean - reach, mean + reach)


def estimate(values: ArrayLike, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Estimate | None:
    """Returns the mean and t interval of what is finite among the values; None if nothing is.

    Args:
      values: one a person, [n].
      bounds: where the quantity lies, which no interval leaves.

    >>> estimate([0.5, float("nan")])
    Estimate(mean=0.5, low=None, high=None, count=1)
    """
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return None
    # Equal values would give an interval without width, which claims what a few equal people cannot show.
    if numbers.size < 2 or np.ptp(numbers) < 1e-12:
        return Estimate(float(numbers.mean()), None, None, numbers.size)
    mean, low, high = (float(each) for each in t_interval(numbers))
    return Estimate(mean, max(low, bounds[0]), min(high, bounds[1]), numbers.size)


def share(values: ArrayLike) -> Estimate | None:
    """Returns `estimate` of shares, whose interval stays between 0 and 1."""
    return estimate(values, (0.0, 1.0))


def wilson(right: ArrayLike, answers: ArrayLike, level: float = LEVEL) -> Interval:
    """Returns Wilson's score interval (1927) of a share of answers, which takes all of them for independent.

    >>> [round(float(each), 3) for each in wilson(1048, 2000)]
    [0.524, 0.502, 0.546]
    """
    count = np.asarray(answers, np.float64)
    mean = np.asarray(right, np.float64) / count
    z = ndtri(0.5 + level / 2)
    centre = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * np.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Interval(mean, np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1))


def difference_test(values: ArrayLike, expected: float) -> Floats:
    """Returns two-sided p-values of one-sample t tests, [...], for a mean of `expected`.

    >>> round(float(difference_test([0.6, 0.7, 0.8], 0.5)), 3)
    0.074
    """
    mean, error, degrees = _moments(values)
    return 2 * stdtr(degrees, -np.abs((mean - expected) / error))


def equivalence_test(values: ArrayLike, expected: float, margin: float) -> Floats:
    """Returns p-values of the two one-sided t tests (Schuirmann 1987), [...]; small: the mean is within the margin.

    >>> bool(equivalence_test([0.49, 0.5, 0.51], 0.5, 0.05) < 0.05)
    True
    """
    mean, error, degrees = _moments(values)
    above = stdtr(degrees, -(mean - expected + margin) / error)
    below = stdtr(degrees, (mean - expected - margin) / error)
    return np.maximum(above, below)


class Welch(NamedTuple):
    mean: Floats  # Of the first minus that of the second.
    low: Floats
    high: Floats
    p: Floats


def welch(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Welch:
    """Returns differences of means of unrelated people, with Welch's interval (1947) and two-sided p-value.

    Args:
      first, second: one value a person, [..., n] and [..., m] with n, m >= 2.

    >>> [round(float(each), 3) for each in welch([0.7, 0.8, 0.9], [0.5, 0.6, 0.7])]
    [0.2, -0.027, 0.427, 0.07]
    """
    first_mean, first_error, first_degrees = _moments(first)
    second_mean, second_error, second_degrees = _moments(second)
    variance = first_error**2 + second_error**2
    freedom = variance**2 / (first_error**4 / first_degrees + second_error**4 / second_degrees)
    mean, error = first_mean - second_mean, np.sqrt(variance)
    reach = stdtrit(freedom, 0.5 + level / 2) * error
    return Welch(mean, mean - reach, mean + reach, 2 * stdtr(freedom, -np.abs(mean / error)))


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values of several tests, adjusted so that any of them is wrong as rarely as one (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


class Sensitivity(NamedTuple):
    dprime: Floats
    criterion: Floats  # Above 0: says "real" more readily.


def sensitivity(hits: ArrayLike, generated: ArrayLike, false_alarms: ArrayLike, real: ArrayLike) -> Sensitivity:
    """Returns d' and the criterion of signal detection, where a generated image is the signal.

    Rates are log-linear, (count + 0.5) / (n + 1), so that nobody's d' is infinite (Hautus 1995).

    Args:
      hits: generated images called generated, of `generated` shown; false_alarms: real ones so called, of `real`.

    >>> [round(float(each), 2) for each in sensitivity(20, 25, 10, 25)]
    [1.04, -0.28]
    """
    hit = ndtri((np.asarray(hits) + 0.5) / (np.asarray(generated) + 1))
    alarm = ndtri((np.asarray(false_alarms) + 0.5) / (np.asarray(real) + 1))
    return Sensitivity(hit - alarm, -(hit + alarm) / 2)


def choice_sensitivity(right: ArrayLike, answers: ArrayLike) -> Floats:
    """Returns d' where people choose the real one of two images: sqrt(2) times the quantile of the share right.

    >>> round(float(choice_sensitivity(870, 1000)), 2)
    1.59
    """
    return np.sqrt(2) * ndtri((np.asarray(right) + 0.5) / (np.asarray(answers) + 1))


def as_single(accuracy: float) -> float:
    """Returns what an accuracy of choosing one of two is worth with single images, for the same d' without bias.

    >>> round(as_single(0.870), 3)
    0.787
    """
    return float(ndtr(ndtri(accuracy) / np.sqrt(2)))


def spread_between(right: ArrayLike, answers: ArrayLike) -> float:
    """Returns the standard deviation of people's true accuracies: what chance in each one's answers does not explain.

    Args:
      right: of as many `answers` [n], each at least 2.
    """
    count = np.asarray(answers, np.float64)
    accuracy = np.asarray(right, np.float64) / count
    chance = np.mean(accuracy * (1 - accuracy) / (count - 1))
    return float(np.sqrt(max(0.0, np.var(accuracy, ddof=1) - chance)))


def two_way_interval(right: ArrayLike, person: ArrayLike, image: ArrayLike, level: float = LEVEL) -> Interval:
    """Returns the pooled accuracy, with an interval for other people and other images of the same kinds.

    Cameron, Gelbach and Miller (2011), equation 2.5: the variance over persons, plus that over images, minus that over
    answers, which both hold.

    Args:
      right: 0 or 1 an answer, [n]; person, image: whose and of what, as numbers from 0.
    """
    votes = np.asarray(right, np.float64)
    residual = votes - votes.mean()
    groups = [np.bincount(np.asarray(each), residual) for each in (person, image)]
    variance = sum(float(np.sum(group**2)) * _correction(group.size) for group in groups)
    variance -= float(np.sum(residual**2)) * _correction(votes.size)
    # The difference may be negative by chance; people alone are then the better guess.
    variance = max(variance, float(np.sum(groups[0] ** 2)) * _correction(groups[0].size))
    mean = np.asarray(votes.mean())
    degrees = min(group.size for group in groups) - 1
    reach = stdtrit(degrees, 0.5 + level / 2) * np.sqrt(variance) / votes.size
    return Interval(mean, np.clip(mean - reach, 0, 1), np.clip(mean + reach, 0, 1))


def _correction(groups: int) -> float:
    return groups / (groups - 1)


def _moments(values: ArrayLike) -> tuple[Floats, Floats, int]:
    """Returns means, their standard errors, and the degrees of freedom."""
    numbers = np.asarray(values, np.float64)
    count = numbers.shape[-1]
    return numbers.mean(-1), numbers.std(-1, ddof=1) / np.sqrt(count), count - 1
