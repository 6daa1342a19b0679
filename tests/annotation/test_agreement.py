"""Krippendorff's alpha: of the textbook, and beside what it would be if people erred independently."""

import numpy as np
import pytest

from igan.annotation.agreement import agreement
from igan.annotation.votes import votes
from tests.annotation.people import answer

from .test_summary import said


def test_alpha_of_the_textbook():
    """Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section A: binary, two observers: 0.095."""
    first, second = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
    answers = [
        answer(name, place, f"i{place}", "real", bool(word))
        for name, words in (("a", first), ("b", second))
        for place, word in enumerate(words)
    ]
    answers.append(answer("a", 11, "asked about once", "real", True))
    found = agreement(votes(answers))
    assert found is not None and found.alpha == pytest.approx(0.095, abs=5e-4)
    assert (found.images, found.answers) == (10, 20)


@pytest.mark.parametrize(("share", "expected"), [(0.524, 0.00), (0.714, 0.18), (0.787, 0.33), (0.95, 0.81)])
def test_alpha_if_people_erred_independently(share, expected):
    """(2 p - 1)^2, and so it is among simulated people; images that are harder than others raise it."""
    random = np.random.default_rng(8)
    alphas = []
    is_hard = np.arange(2000) // 2 < 1000 * (1 - share) / 0.7
    for ease in (np.full(2000, share), np.where(is_hard, 0.3, 1.0)):
        right = random.random((10, 2000)) < ease
        answers = [
            answer(f"p{n}", k, f"i{k}", "real" if k % 2 else "g", bool(k % 2) == bool(right[n, k]))
            for n in range(10)
            for k in range(2000)
        ]
        found = agreement(votes(answers))
        assert found is not None and found.expected == pytest.approx(expected, abs=0.02)
        alphas.append(found.alpha)
    assert alphas[0] == pytest.approx(expected, abs=0.02)
    assert alphas[1] > alphas[0] + 0.02


def test_no_agreement_to_measure():
    assert agreement(votes(said("a", "gr", "++"))) is None, "each image asked about once"
    assert agreement(votes([answer(name, 0, "i", said_real=True) for name in "ab"])) is None, "all say the same"
