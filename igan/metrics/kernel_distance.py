"""The kernel (Inception) distance: an unbiased estimate of a squared maximum mean discrepancy (Binkowski et al. 2018).

The kernel is `(x·y / d + 1)^3`. The estimate is averaged over random subsets, and their spread is its uncertainty.
It is unbiased, so it may be slightly negative for sets that are alike.
"""

import numpy as np

from igan.errors import UserError
from igan.metrics.score import Score

TILE = 2048  # Rows and columns of the kernel matrix held at once: 32 MB.


def kernel_distance(
    generated: np.ndarray,
    real: np.ndarray,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
    label: str = "unnamed features",
) -> Score:
    """Returns the mean of the estimates over subsets and their population standard deviation, None for one subset.

    Args:
      generated: features [n, d].
      real: features [m, d] of the reference.
      subsets: how many; each is drawn without replacement.
      subset_size: images of either side in a subset.
      seed: of the draws; the same seed gives the same subsets in every version of NumPy.
      label: where the features come from and which reference, for the protocol string.

    Raises:
      UserError: fewer images than a subset needs, features of different sizes, or features that are not finite.

    >>> kernel_distance(np.ones((9, 4)), np.ones((9, 4)), subsets=2, subset_size=5).value
    0.0
    """
    check(min(len(generated), len(real)), subsets, subset_size)
    if generated.shape[1:] != real.shape[1:]:
        raise UserError(f"features of shapes {generated.shape[1:]} and {real.shape[1:]} cannot be compared")
    if not (np.isfinite(generated).all() and np.isfinite(real).all()):
        raise UserError("some features are not finite: is a pixel or a weight NaN?")
    random = np.random.RandomState(seed)  # Its stream is frozen, unlike that of newer generators.

    def draw(features: np.ndarray) -> np.ndarray:
        return features[random.choice(len(features), subset_size, replace=False)].astype(np.float64)

    estimates = [squared_discrepancy(draw(generated), draw(real)) for _ in range(subsets)]
    counts = f"{len(generated):,} against {len(real):,} images"
    how = f"{counts}, {subsets} subsets of {subset_size:,}, seed {seed}, kernel (x·y/d + 1)^3, unbiased"
    return Score(float(np.mean(estimates)), float(np.std(estimates)) if subsets > 1 else None, f"{how}; {label}")


def check(available: int, subsets: int, subset_size: int) -> None:
    """Raises UserError unless such subsets can be drawn from so many images."""
    if subsets < 1 or subset_size < 2 or available < subset_size:
        raise UserError(
            f"{subsets} subsets of {subset_size:,} cannot be drawn from {available:,} images: give more images, or set "
            "a subset size (--kid_subset_size) between 2 and their number"
        )


def squared_discrepancy(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the unbiased estimate for two sets of features, float64 [n, d] and [m, d], from all pairs of both."""
    within = [(_kernel_sum(x, x) - _kernel_diagonal(x).sum()) / (len(x) * (len(x) - 1)) for x in (first, second)]
    return within[0] + within[1] - 2 * _kernel_sum(first, second) / (len(first) * len(second))


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    total = 0.0
    for row in range(0, len(first), TILE):
        for column in range(0, len(second), TILE):
            products = first[row : row + TILE] @ second[column : column + TILE].T
            total += ((products / first.shape[1] + 1) ** 3).sum()
    return total


def _kernel_diagonal(features: np.ndarray) -> np.ndarray:
    return (np.square(features).sum(axis=1) / features.shape[1] + 1) ** 3
