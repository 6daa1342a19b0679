"""Answers as columns: sums a person, an image, a generator are then one line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igan.annotation.answers import Answer
from igan.annotation.estimates import Floats

REAL = "real"  # The source of the images that no generator made.

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Votes:
    """All arrays are [answers], and hold no attention checks."""

    people: list[str]
    images: list[str]
    sources: list[str]  # The generators, in the order of their names, and `REAL` at the end if it is there.
    person: Integers  # A place in `people`,
    image: Integers  # in `images`,
    source: Integers  # in `sources`.
    real: Booleans
    said_real: Booleans
    feedback: Booleans
    position: Integers
    seconds: Floats

    @property
    def right(self) -> Booleans:
        return self.real == self.said_real

    @property
    def count(self) -> int:
        return self.person.size

    def by_person(self, of: ArrayLike, where: ArrayLike | None = None) -> Floats:
        """Returns each person's mean over their answers, or over some of them; NaN for who has none."""
        weights = np.ones(self.count) if where is None else np.asarray(where, np.float64)
        sums, counts = self.sum_by_person(np.asarray(of) * weights), self.sum_by_person(weights)
        return np.divide(sums, counts, out=np.full(len(self.people), np.nan), where=counts > 0)

    def sum_by_person(self, of: ArrayLike) -> Floats:
        sums = np.bincount(self.person, np.asarray(of, np.float64), len(self.people))
        return sums.astype(np.float64)  # Of nobody they are integers.

    def arm(self) -> Booleans:
        """Whether each person gets feedback, [people]."""
        return self.by_person(self.feedback) > 0.5


def votes(answers: Sequence[Answer]) -> Votes:
    """Returns answers as columns, without attention checks."""
    kept = [answer for answer in answers if not answer.check]
    people, person = _coded([answer.person for answer in kept])
    images, image = _coded([answer.image for answer in kept])
    sources = sorted({answer.generator for answer in kept}, key=lambda name: (name == REAL, name))
    place = {name: index for index, name in enumerate(sources)}
    return Votes(
        people,
        images,
        sources,
        person,
        image,
        np.array([place[answer.generator] for answer in kept], np.int64),
        np.array([answer.real for answer in kept], bool),
        np.array([answer.said_real for answer in kept], bool),
        np.array([answer.feedback for answer in kept], bool),
        np.array([answer.position for answer in kept], np.int64),
        np.array([answer.seconds for answer in kept], np.float64),
    )


def _coded(names: Sequence[str]) -> tuple[list[str], Integers]:
    """Returns the different names in order of appearance, and each one's place there."""
    places: dict[str, int] = {}
    codes = [places.setdefault(name, len(places)) for name in names]
    return list(places), np.array(codes, np.int64)
