"""A study's answers by person, generator, arm, position and image."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from igan.annotation.answers import Answer
from igan.annotation.estimates import (
    Estimate,
    Floats,
    Welch,
    choice_sensitivity,
    difference_test,
    estimate,
    holm,
    sensitivity,
    share,
    welch,
    wilson,
)
from igan.annotation.votes import REAL, Votes

BLOCK = 10  # Positions that a point of the learning curve stands for, about, where that makes so many points:
FEWEST_BLOCKS, MOST_BLOCKS = 4, 20


class Person(NamedTuple):
    """NaN: this person was asked about nothing of the kind."""

    name: str
    feedback: bool
    answers: int
    accuracy: float  # As in the headline.
    hit_rate: float
    false_alarm_rate: float
    dprime: float
    criterion: float
    seconds: float  # The median.
    same_answer: float  # The share of the answer given most often.


class Generator(NamedTuple):
    """Real images too, under `REAL`."""

    name: str
    images: int
    answers: int
    recognised: Estimate | None  # The share of its images about which people are right.
    balanced: Estimate | None  # Accuracy on its images and on real ones, half each.
    dprime: Estimate | None


class Comparison(NamedTuple):
    """How much more often people are right about the first generator's images than about the second's, by person."""

    first: str
    second: str
    difference: Estimate
    p: float
    adjusted_p: float  # After Holm, for all comparisons of the study.


class Arm(NamedTuple):
    feedback: bool
    answers: int
    accuracy: Estimate | None
    dprime: Estimate | None
    first_half: Estimate | None
    second_half: Estimate | None
    learning: Estimate | None  # The second half minus the first, by person.


class Block(NamedTuple):
    feedback: bool
    first: int  # Positions, from 0,
    last: int  # both included.
    accuracy: Estimate


class Image(NamedTuple):
    hash: str
    generator: str
    real: bool
    answers: int
    said_real: int
    low: float  # Wilson's interval of the share that took it for real, by which images are ranked: one answer
    high: float  # of one says less than nine of ten.


def scores(votes: Votes, balanced: bool) -> Floats:
    """Returns each person's accuracy, [people]; balanced: the mean of that on real and that on generated images."""
    if not balanced:
        return votes.by_person(votes.right)
    return (votes.by_person(votes.right, votes.real) + votes.by_person(votes.right, ~votes.real)) / 2


def people(votes: Votes, scores: Floats, side_by_side: bool) -> list[Person]:
    """Returns each person with his or her score, in the order of the answers."""
    order = np.argsort(votes.person, kind="stable")
    times = np.split(votes.seconds[order], np.cumsum(np.bincount(votes.person))[:-1]) if votes.count else []
    asked = votes.sum_by_person(np.ones(votes.count))
    said_real = votes.by_person(votes.said_real)
    generated, real = votes.sum_by_person(~votes.real), votes.sum_by_person(votes.real)
    hits, alarms = (
        votes.sum_by_person(~votes.said_real & ~votes.real),
        votes.sum_by_person(~votes.said_real & votes.real),
    )
    unknown = np.full(len(votes.people), np.nan)
    if side_by_side:
        dprime, criterion = choice_sensitivity(hits, generated), unknown
    else:
        both = np.where((generated > 0) & (real > 0), 0, np.nan)
        dprime, criterion = (each + both for each in sensitivity(hits, generated, alarms, real))
    columns = (
        scores,
        votes.by_person(~votes.said_real, ~votes.real),
        unknown if side_by_side else votes.by_person(~votes.said_real, votes.real),
        dprime,
        criterion,
        [float(np.median(each)) for each in times],
        np.maximum(said_real, 1 - said_real),
    )
    rows = zip(votes.people, votes.arm(), asked, *columns, strict=True)
    return [Person(name, bool(arm), int(count), *map(float, rest)) for name, arm, count, *rest in rows]


def generators(votes: Votes, side_by_side: bool) -> list[Generator]:
    """Returns each source of images, real ones last."""
    on_real = votes.by_person(votes.right, votes.real)
    real = votes.sum_by_person(votes.real)
    alarms = votes.sum_by_person(votes.real & ~votes.said_real)
    found = []
    for place, name in enumerate(votes.sources):
        own = votes.source == place
        recognised = votes.by_person(votes.right, own)
        asked, hits = votes.sum_by_person(own), votes.sum_by_person(own & votes.right)
        balanced = dprime = None
        if side_by_side:
            dprime = estimate(np.where(asked > 0, choice_sensitivity(hits, asked), np.nan))
        elif name != REAL:
            balanced = share((recognised + on_real) / 2)
            dprime = estimate(np.where((asked > 0) & (real > 0), sensitivity(hits, asked, alarms, real).dprime, np.nan))
        images = np.unique(votes.image[own]).size
        found.append(Generator(name, images, int(own.sum()), share(recognised), balanced, dprime))
    return found


def comparisons(votes: Votes) -> list[Comparison]:
    """Returns every pair of generators that at least two people saw both of; of many, too."""
    found: list[Comparison] = []
    names = [(place, name) for place, name in enumerate(votes.sources) if name != REAL]
    for (first, first_name), (second, second_name) in combinations(names, 2):
        differences = votes.by_person(votes.right, votes.source == first)
        differences = differences - votes.by_person(votes.right, votes.source == second)
        differences = differences[np.isfinite(differences)]
        measured = estimate(differences, (-1.0, 1.0))
        if measured is not None and measured.low is not None:
            p = float(difference_test(differences, 0.0))
            found.append(Comparison(first_name, second_name, measured, p, p))
    adjusted = holm([each.p for each in found])
    return [each._replace(adjusted_p=p) for each, p in zip(found, adjusted, strict=True)]


def arms(votes: Votes, scores: Floats, people: Sequence[Person]) -> list[Arm]:
    """Returns people with feedback and people without, whichever there are."""
    is_with = votes.arm()
    middle = (votes.position.max(initial=0) + 1) / 2
    halves = [
        votes.by_person(votes.right, votes.position < middle),
        votes.by_person(votes.right, votes.position >= middle),
    ]
    dprime = np.array([person.dprime for person in people])
    found = []
    for feedback in (True, False):
        own = is_with == feedback
        if own.any():
            first, second = (half[own] for half in halves)
            accuracy, sensitive = share(scores[own]), estimate(dprime[own])
            learning = estimate(second - first, (-1.0, 1.0))
            count = int((votes.feedback == feedback).sum())
            found.append(Arm(feedback, count, accuracy, sensitive, share(first), share(second), learning))
    return found


def difference(scores: Floats, arm: np.ndarray) -> Welch | None:
    """Returns the mean with feedback minus that without; None without two people and some difference in each arm."""
    told, untold = (each[np.isfinite(each)] for each in (scores[arm], scores[~arm]))
    if min(told.size, untold.size) < 2 or np.ptp(told) + np.ptp(untold) < 1e-12:
        return None
    return welch(told, untold)


def curve(votes: Votes) -> list[Block]:
    """Returns accuracy by position, a block at a time, as the mean over the persons of an arm."""
    longest = int(votes.position.max(initial=-1)) + 1
    # About equal: a short one at the end would be of few answers, and look as if people had changed.
    blocks = min(longest, max(FEWEST_BLOCKS, min(MOST_BLOCKS, round(longest / BLOCK))))
    found = []
    for feedback in (True, False):
        for number in range(blocks):
            first, last = number * longest // blocks, (number + 1) * longest // blocks - 1
            here = (votes.position >= first) & (votes.position <= last) & (votes.feedback == feedback)
            measured = share(votes.by_person(votes.right, here))
            if measured is not None:
                found.append(Block(feedback, first, last, measured))
    return found


def images(votes: Votes) -> list[Image]:
    """Returns each image, in the order of the answers; a picture that two generators made is an image of each."""
    pairs = np.stack([votes.image, votes.source], axis=1)
    _, first, places = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    places = places.reshape(-1)  # NumPy 2.0 has it in two dimensions.
    asked = np.bincount(places, minlength=first.size)
    said_real = np.bincount(places, votes.said_real, first.size).astype(int)
    low, high = wilson(said_real, np.maximum(asked, 1))[1:]
    return [
        Image(votes.images[votes.image[first[place]]], votes.sources[votes.source[first[place]]],
              bool(votes.real[first[place]]), int(asked[place]), int(said_real[place]), float(low[place]),
              float(high[place]))
        for place in np.argsort(first)
    ]  # fmt: skip


def exposures(answers: Sequence[Answer]) -> list[float]:
    """Returns each person's most frequent time limit, in seconds; the shortest of several (HYPE-time of one block)."""
    limits: dict[str, Counter[float]] = defaultdict(Counter)
    for answer in answers:
        if answer.limit is not None and not answer.check:
            limits[answer.person][answer.limit] += 1
    return [min(own, key=lambda limit: (-own[limit], limit)) for own in limits.values()]
