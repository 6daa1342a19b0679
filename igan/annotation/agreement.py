"""Whether people agree about images, and how much of it is more than each one's own eye."""

from typing import NamedTuple

import krippendorff
import numpy as np

from igan.annotation.votes import Votes


class Agreement(NamedTuple):
    """Krippendorff's alpha of "real" or "generated" over images with two answers or more."""

    alpha: float
    expected: float  # If people erred independently of one another.
    images: int
    answers: int


def agreement(votes: Votes) -> Agreement | None:
    """Returns Krippendorff's alpha, nominal; None without two answers on one image, or where all say the same.

    An alpha near 0 is no defect of a study where nobody can tell: with a share p of right answers in both classes,
    people who err independently have (2 p - 1)^2. An alpha above that says that some images are harder than others.
    """
    said_real = np.bincount(votes.image, votes.said_real, len(votes.images))
    asked = np.bincount(votes.image, minlength=len(votes.images))
    counts = np.stack([asked - said_real, said_real], axis=1)[asked >= 2]
    if not counts.size or not counts.sum(axis=0).all():
        return None
    alpha = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    kept = asked[votes.image] >= 2
    source, said = votes.source[kept], votes.said_real[kept]
    answers = np.bincount(source, minlength=len(votes.sources))
    real = np.bincount(source, said, len(votes.sources)) / np.maximum(answers, 1)
    observed = np.average(2 * real * (1 - real), weights=answers)
    by_chance = 2 * said.mean() * (1 - said.mean())
    return Agreement(float(alpha), float(1 - observed / by_chance), len(counts), int(counts.sum()))
