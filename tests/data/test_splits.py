import numpy as np
import pytest

from igan.data import labeled_indices
from igan.errors import UserError

COUNTS = (400, 7, 90)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(3, dtype=np.int32), COUNTS))


@pytest.mark.parametrize("labels_per_class", [1, 5, 7])
def test_every_class_gets_its_share_and_no_example_is_drawn_twice(labels, labels_per_class):
    drawn = labeled_indices(labels, labels_per_class, seed=3)
    assert drawn.dtype == np.int32
    assert labels[drawn].tolist() == [0] * labels_per_class + [1] * labels_per_class + [2] * labels_per_class
    assert len(set(drawn.tolist())) == 3 * labels_per_class


def test_the_draw_depends_on_its_arguments_only(labels):
    first = labeled_indices(labels, 5, seed=11)
    np.random.seed(1)
    labeled_indices(labels, 5, seed=12)
    np.testing.assert_array_equal(labeled_indices(labels.copy(), 5, seed=11), first)
    np.testing.assert_array_equal(labeled_indices(labels.astype(np.int64), 5, seed=11), first)


def test_seeds_draw_different_examples(labels):
    draws = {tuple(labeled_indices(labels, 5, seed=seed).tolist()) for seed in range(20)}
    assert len(draws) == 20


def test_all_examples_are_equally_likely(labels):
    drawn = np.concatenate([labeled_indices(labels, 5, seed=seed)[:5] for seed in range(4000)])
    frequencies = np.bincount(drawn, minlength=len(labels))[labels == 0]
    # 4,000 draws of 5 from 400: 50 each. Chi-square with 399 degrees of freedom stays within 399 +- 5 deviations.
    assert abs(((frequencies - 50) ** 2 / 50).sum() - 399) < 5 * np.sqrt(2 * 399)


def test_a_class_may_be_used_up_but_not_more(labels):
    assert set(labeled_indices(labels, 7, seed=0)[7:14].tolist()) == set(np.flatnonzero(labels == 1).tolist())
    message = r"labels_per_class=8 but class 1 has 7 examples; use --config\.labels_per_class=7 or fewer"
    with pytest.raises(UserError, match=message):
        labeled_indices(labels, 8, seed=0)


@pytest.mark.parametrize(
    ("labels", "labels_per_class", "message"),
    [
        ([0, 1], 0, r"use --config\.labels_per_class=1 or more"),
        ([0, 1], -3, r"labels_per_class=-3"),
        ([0, 0, 2, 2], 1, r"class 1 has 0 examples"),
        ([], 1, r"empty"),
    ],
)
def test_impossible_draws_are_refused_in_words(labels, labels_per_class, message):
    with pytest.raises(UserError, match=message):
        labeled_indices(np.array(labels, np.int32), labels_per_class, seed=0)
