"""Precision, recall, density and coverage against their definitions in float64 and torch-fidelity."""

import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given, settings
from hypothesis import strategies as st

from igan.errors import UserError
from igan.metrics import precision_recall as module
from igan.metrics.precision_recall import density_coverage, precision_recall


def all_scores(generated: np.ndarray, real: np.ndarray, neighbours: int) -> dict[str, float]:
    scores = precision_recall(generated, real, neighbours) | density_coverage(generated, real, neighbours)
    return {name: score.value for name, score in scores.items()}


def definition(generated: np.ndarray, real: np.ndarray, neighbours: int) -> dict[str, float]:
    generated, real = generated.astype(np.float64), real.astype(np.float64)
    across = scipy.spatial.distance.cdist(generated, real)
    real_radii = np.sort(scipy.spatial.distance.cdist(real, real), axis=1)[:, neighbours]
    generated_radii = np.sort(scipy.spatial.distance.cdist(generated, generated), axis=1)[:, neighbours]
    return {
        "precision": (across <= real_radii).any(axis=1).mean(),
        "recall": (across <= generated_radii[:, None]).any(axis=0).mean(),
        "density": (across < real_radii).sum() / (neighbours * len(generated)),
        "coverage": (across < real_radii).any(axis=0).mean(),
    }


@pytest.mark.parametrize("tile", [4096, 64])
@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_equal_their_definitions_in_any_tiles(two_sets, monkeypatch, tile, neighbours):
    monkeypatch.setattr(module, "TILE", tile)  # 64 divides neither 400 nor 300.
    scores = all_scores(*two_sets, neighbours)
    assert scores == pytest.approx(definition(*two_sets, neighbours), rel=1e-12)
    assert 0 < scores["precision"] < 1 and 0 < scores["recall"] < 1


def test_agree_with_torch_fidelity(two_sets, fidelity):
    import torch

    reference = fidelity("metric_prc").prc_features_to_metric
    theirs = reference(*map(torch.tensor, two_sets), prc_neighborhood=3, verbose=False)
    ours = precision_recall(*two_sets, neighbours=3, label="a label")
    for name, score in ours.items():
        assert score.value == pytest.approx(theirs[name], rel=1e-4)
        assert score.protocol == "400 against 300 images, k = 3; a label" and score.std is None


def test_a_picture_of_seven_points():
    real = np.array([[0.0], [1.0], [5.0]])  # Balls to the nearest neighbour: [-1, 1], [0, 2], [1, 9].
    generated = np.array([[1.5], [2.5], [9.0], [10.0]])  # In two balls; in one; on the rim of one; in none.
    assert all_scores(generated, real, 1) == pytest.approx(
        {
            "precision": 3 / 4,  # The rim counts here,
            "density": 3 / 4,  # and not here: three memberships of four images.
            "coverage": 2 / 3,  # [0, 2] and [1, 9] hold one.
            "recall": 1 / 3,  # Only 1 is in [0.5, 2.5], [1.5, 3.5], [8, 10] or [9, 11].
        }
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_bounds_and_blindness_to_order(seed, scale):
    random = np.random.default_rng(seed)
    generated, real = random.normal(size=(20, 3)) * scale, random.normal(size=(15, 3)) * scale
    scores = all_scores(generated, real, 3)
    assert all(0 <= scores[name] <= 1 for name in ("precision", "recall", "coverage")) and scores["density"] >= 0
    assert all_scores(random.permutation(generated), random.permutation(real), 3) == pytest.approx(scores)
    swapped = precision_recall(real, generated, 3)
    assert swapped["recall"].value == scores["precision"] and swapped["precision"].value == scores["recall"]


def test_identical_sets_and_copies(two_sets):
    features = two_sets[0]
    scores = all_scores(features, features.copy(), 3)
    assert scores == pytest.approx({"precision": 1, "recall": 1, "density": 1, "coverage": 1}, rel=1e-3)
    # Every real image five times: all balls have radius zero, and only exact copies lie in them.
    copies = np.repeat(two_sets[1][:20], 5, axis=0)
    mixed = np.concatenate([two_sets[1][:10], two_sets[0][:30]])
    assert precision_recall(mixed, copies, 3)["precision"].value == pytest.approx(0.25)


def test_a_large_common_mean_costs_no_digits(two_sets):
    """Features are centred before their norms are taken: those of 1e6 would round the distances to 1e5."""
    shifted = [features.astype(np.float64) + 1e6 for features in two_sets]
    assert all_scores(shifted[0], shifted[1], 3) == pytest.approx(definition(*shifted, 3), rel=1e-12)


def test_distances_that_are_rounding_are_zero(random):
    """Images that float32 cannot tell apart are copies of each other: their balls have radius zero and hold them."""
    pictures = random.normal(size=(50, 512)) * 30
    real, generated = (np.repeat(pictures, 4, axis=0) + random.normal(size=(200, 512)) * 1e-3 for _ in range(2))
    scores = all_scores(generated.astype(np.float32), real.astype(np.float32), 3)
    assert scores == {"precision": 1, "recall": 1, "density": 0, "coverage": 0}  # A rim is outside of the last two.


@pytest.mark.parametrize(
    ("generated", "real", "message"),
    [
        (np.ones((3, 2)), np.ones((9, 2)), "3 nearest neighbours need at least 4 images on each side, not 3"),
        (np.ones((9, 2)), np.ones((9, 3)), "cannot be compared"),
        (np.full((9, 2), np.nan), np.ones((9, 2)), "not finite"),
    ],
)
def test_bad_input_is_one_line(generated, real, message):
    for score in (precision_recall, density_coverage):
        with pytest.raises(UserError, match=message):
            score(generated, real, neighbours=3)
