"""The Fréchet (Inception) distance between two sets of features (Heusel et al. 2017).

`|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` of the two means and covariances. Each covariance is taken apart into its
eigenvalues, `S = R R'`; then the trace of the root is the sum of the singular values of `R1' R2`, which are the roots
of the eigenvalues of `S1 S2`: no general matrix root, hence no complex numbers and no NaN for singular covariances, and
no root of a number that is the rounding of another.
"""

import functools
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from igan.errors import UserError
from igan.metrics.score import Score

FEWEST_SAMPLES = 2048  # Below, the covariance of 2,048 features is singular and the distance far too large.


class Moments(NamedTuple):
    """What the distance needs to know about a set of images, in float64."""

    count: int
    mean: np.ndarray  # [d]
    covariance: np.ndarray  # [d, d], divided by count - 1.


class Sums(NamedTuple):
    """The moments of a part of the images, before they are divided, in float64."""

    count: int
    mean: np.ndarray  # [d]
    scatter: np.ndarray  # [d, d], the sum of the squares of what is centred.


def moments(batches: Iterable[np.ndarray]) -> Moments:
    """Accumulates moments over batches of features, without holding them.

    Args:
      batches: [n, d] each, of any float type.

    Raises:
      UserError: fewer than two images, or features that are not finite.

    >>> moments([np.array([[1.0]]), np.array([[3.0]])])
    Moments(count=2, mean=array([2.]), covariance=array([[2.]]))
    """
    return combined([sums(batches)])


def sums(batches: Iterable[np.ndarray]) -> Sums:
    """Accumulates the moments of a part of the images, of which there may be none.

    Each batch is centred on its own mean in float64 before it is squared, so nothing cancels.

    Raises UserError for features that are not finite.
    """
    total = Sums(0, np.zeros(0), np.zeros((0, 0)))
    for batch in batches:
        features = np.asarray(batch, np.float64)
        if not np.isfinite(features).all():
            raise UserError("some features are not finite: is a pixel or a weight NaN?")
        if len(features):
            mean = features.mean(axis=0)
            centred = features - mean
            total = _add(total, Sums(len(features), mean, centred.T @ centred))
    return total


def combined(parts: Sequence[Sums]) -> Moments:
    """Returns the moments of all images from those of their parts.

    Raises UserError where there are fewer than two images.
    """
    count, mean, scatter = functools.reduce(_add, parts)
    if count < 2:
        raise UserError(f"a Fréchet distance needs at least two images on each side, here is {count}")
    return Moments(count, mean, scatter / (count - 1))


def _add(one: Sums, other: Sums) -> Sums:
    if not (one.count and other.count):
        return one if one.count else other
    count, step = one.count + other.count, other.mean - one.mean
    between = np.outer(step, step) * (one.count * other.count / count)
    return Sums(count, one.mean + step * (other.count / count), one.scatter + other.scatter + between)


def frechet_distance(generated: Moments, real: Moments, label: str = "unnamed features") -> Score:
    """Returns the Fréchet distance of two sets of features.

    Args:
      generated: its moments.
      real: those of the reference.
      label: where the features come from and which reference, for the protocol string.

    Returns:
      a value that is not negative, symmetric in its arguments, and zero to rounding for identical sets; no deviation.

    Warns below 2,048 images on either side. Raises UserError for features of different sizes.

    >>> frechet_distance(Moments(9999, np.zeros(1), np.eye(1)), Moments(9999, np.ones(1), 4 * np.eye(1))).value
    2.0
    """
    value = _distance(generated, real)
    if (fewest := min(generated.count, real.count)) < FEWEST_SAMPLES:
        message = f"a Fréchet distance of only {fewest:,} images is far too large: use {FEWEST_SAMPLES:,} or more"
        warnings.warn(message, stacklevel=2)
    counts = f"{generated.count:,} against {real.count:,} images"
    return Score(value, None, f"{counts}, float64 moments; {label}")


def intra_distance(generated: Sequence[Moments], real: Sequence[Moments], label: str = "unnamed features") -> Score:
    """Returns the mean over classes of the Fréchet distance within each: "intra FID" (Miyato and Koyama 2018).

    Each class counts as much as any other, however many images it has. Other than the distance of all images together
    it sees a class whose images are alike, or are those of another class.

    Args:
      generated: of each class the moments of its generated images.
      real: those of its real ones, in the same order.
      label: as of `frechet_distance`.

    Warns where a class has fewer than 2,048 images on either side. Raises UserError for features of different sizes.

    >>> one, other = Moments(9999, np.zeros(1), np.eye(1)), Moments(9999, np.ones(1), 4 * np.eye(1))
    >>> intra_distance([one, one], [one, other]).value
    1.0
    """
    value = float(np.mean([_distance(one, other) for one, other in zip(generated, real, strict=True)]))
    sizes = [[each.count for each in moments] for moments in (generated, real)]
    if (fewest := min(min(each) for each in sizes)) < FEWEST_SAMPLES:
        message = f"Fréchet distances of classes with only {fewest:,} images are far too large: use {FEWEST_SAMPLES:,}"
        warnings.warn(f"{message} or more of each", stacklevel=2)
    ranges = [f"{min(each):,}" + f" to {max(each):,}" * (min(each) < max(each)) for each in sizes]
    counts = f"mean over {len(real):,} classes, each of {' against '.join(ranges)} images"
    return Score(value, None, f"{counts}, float64 moments; {label}")


def _distance(one: Moments, other: Moments) -> float:
    if one.mean.shape != other.mean.shape:
        raise UserError(f"features of {one.mean.size} and of {other.mean.size} dimensions cannot be compared")
    overlap = np.linalg.norm(_root(one.covariance).T @ _root(other.covariance), "nuc")
    shift = np.square(one.mean - other.mean).sum()
    value = shift + np.trace(one.covariance) + np.trace(other.covariance) - 2 * overlap
    return max(float(value), 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Returns a matrix R with R R' = covariance."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # What is zero comes out as ± rounding of the norm, and the root of 1e-16 is 1e-8: a thousand of them would show.
    rounding = 10 * np.finfo(np.float64).eps * np.linalg.norm(covariance)
    return vectors * np.sqrt(np.where(eigenvalues > rounding, eigenvalues, 0.0))
