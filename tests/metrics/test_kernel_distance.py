"""The kernel distance against its definition by double loops and against torch-fidelity."""

import numpy as np
import pytest

from igan.errors import UserError
from igan.metrics import kernel_distance as module
from igan.metrics.kernel_distance import kernel_distance, squared_discrepancy


def definition(first: np.ndarray, second: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def within(points: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(points) for j, y in enumerate(points) if i != j]
        return sum(pairs) / len(pairs)

    across = [kernel(x, y) for x in first for y in second]
    return within(first) + within(second) - 2 * sum(across) / len(across)


def test_agrees_with_torch_fidelity(two_sets, fidelity):
    import torch

    generated, real = two_sets
    theirs = fidelity("metric_kid").kid_features_to_metric(
        torch.tensor(generated), torch.tensor(real), kid_subsets=10, kid_subset_size=100, verbose=False
    )
    ours = kernel_distance(generated, real, subsets=10, subset_size=100)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)
    assert "10 subsets of 100, seed 2020" in ours.protocol and "400 against 300 images" in ours.protocol


@pytest.mark.parametrize("tile", [4, 7, 100])
def test_equals_its_definition_in_any_tiles(two_sets, monkeypatch, tile):
    monkeypatch.setattr(module, "TILE", tile)
    first, second = (features[:count].astype(np.float64) for features, count in zip(two_sets, (13, 9), strict=True))
    assert squared_discrepancy(first, second) == pytest.approx(definition(first, second), rel=1e-11)


def test_unbiased_so_negative_now_and_then(random):
    values = [squared_discrepancy(random.normal(size=(20, 3)), random.normal(size=(20, 3))) for _ in range(200)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)


def test_permuting_images_changes_it_only_within_its_uncertainty(two_sets, random):
    generated, real = two_sets
    score = kernel_distance(generated, real, subsets=20, subset_size=100)
    permuted = kernel_distance(random.permutation(generated), random.permutation(real), subsets=20, subset_size=100)
    assert score.std is not None and permuted.value != score.value
    assert abs(permuted.value - score.value) < 4 * score.std / np.sqrt(20)


@pytest.mark.parametrize(
    ("generated", "real", "message"),
    [
        (np.ones((99, 2)), np.ones((500, 2)), "subsets of 100 cannot be drawn from 99 images"),
        (np.ones((100, 2)), np.ones((100, 3)), "cannot be compared"),
        (np.full((100, 2), np.inf), np.ones((100, 2)), "not finite"),
    ],
)
def test_bad_input_is_one_line(generated, real, message):
    with pytest.raises(UserError, match=message):
        kernel_distance(generated, real, subset_size=100)


def test_one_subset_has_no_deviation(two_sets):
    assert kernel_distance(*two_sets, subsets=1, subset_size=100).std is None
