"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of generated images.

Both surround every image by a ball that reaches to its k-th nearest neighbour in its own set. Precision is the share
of generated images inside some ball of a real one, recall the share of real images inside some ball of a generated
one. Density counts how many real balls a generated image lies in, divided by k; coverage is the share of real images
whose ball holds a generated one.

Distances are computed on the device in tiles: of 50,000 x 50,000 only one tile exists at a time.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from igan.errors import UserError
from igan.metrics.score import Score
from igan.types import Array

TILE = 4096
# Squared distances below this share of the squared norms are rounding and count as zero, as that of a copy must.
ROUNDING = 1e-6


def precision_recall(
    generated: np.ndarray, real: np.ndarray, neighbours: int = 3, label: str = "unnamed features"
) -> dict[str, Score]:
    """Returns `precision` and `recall`, each in [0, 1], without deviations.

    Args:
      generated: features [n, d].
      real: features [m, d] of the reference.
      neighbours: k.
      label: where the features come from and which reference, for the protocol string.

    Raises:
      UserError: no more images than neighbours, features of different sizes, or features that are not finite.

    >>> precision_recall(np.eye(9), np.eye(9))["recall"].value
    1.0
    """
    generated, real = _prepare(generated, real, neighbours)
    inside_real, _ = _members(generated, real, _radii(real, neighbours), strict=False)
    inside_generated, _ = _members(real, generated, _radii(generated, neighbours), strict=False)
    protocol = f"{len(generated):,} against {len(real):,} images, k = {neighbours}; {label}"
    return {
        "precision": Score(float((inside_real > 0).mean()), None, protocol),
        "recall": Score(float((inside_generated > 0).mean()), None, protocol),
    }


def density_coverage(
    generated: np.ndarray, real: np.ndarray, neighbours: int = 5, label: str = "unnamed features"
) -> dict[str, Score]:
    """Returns `density`, which is not negative and 1 for identical sets, and `coverage` in [0, 1].

    Arguments and errors are those of `precision_recall`. As in the authors' code, an image on the rim of a ball is
    outside here, and inside for precision and recall.
    """
    generated, real = _prepare(generated, real, neighbours)
    balls_around, held = _members(generated, real, _radii(real, neighbours), strict=True)
    protocol = f"{len(generated):,} against {len(real):,} images, k = {neighbours}; {label}"
    return {
        "density": Score(float(balls_around.mean() / neighbours), None, protocol),
        "coverage": Score(float((held > 0).mean()), None, protocol),
    }


def check(available: int, neighbours: int) -> None:
    """Raises UserError unless so many images have so many neighbours."""
    if neighbours < 1 or available <= neighbours:
        needed = max(neighbours, 1) + 1
        raise UserError(f"{neighbours} nearest neighbours need at least {needed} images on each side, not {available}")


def _prepare(generated: np.ndarray, real: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    check(min(len(generated), len(real)), neighbours)
    if generated.shape[1:] != real.shape[1:]:
        raise UserError(f"features of shapes {generated.shape[1:]} and {real.shape[1:]} cannot be compared")
    if not (np.isfinite(generated).all() and np.isfinite(real).all()):
        raise UserError("some features are not finite: is a pixel or a weight NaN?")
    # Differences stay the same, and the squared norms from which they are computed become small.
    centre = real.mean(axis=0, dtype=np.float64)
    return (generated - centre).astype(np.float32), (real - centre).astype(np.float32)


def _tiles(features: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Returns (number of true rows, tile) pairs. Tiles are padded to one shape, so that each kernel compiles once."""
    size = -(-len(features) // -(-len(features) // TILE))  # As many tiles as needed, and as even as possible.
    parts = [features[start : start + size] for start in range(0, len(features), size)]
    return [(len(part), np.pad(part, ((0, size - len(part)), (0, 0)))) for part in parts]


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns float32 [n]: the squared distance of each image to its k-th nearest neighbour."""
    radii = []
    for count, rows in _tiles(features):
        nearest = jnp.full((len(rows), neighbours + 1), jnp.inf)  # One more: the nearest of all is the image itself.
        for columns_count, columns in _tiles(features):
            nearest = _merge_nearest(nearest, rows, columns, columns_count)
        radii.append(np.asarray(nearest[:count, -1]))
    return np.concatenate(radii)


def _members(points: np.ndarray, centres: np.ndarray, radii: np.ndarray, strict: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns in how many balls each point lies, and how many points lie in each ball."""
    balls, held = np.zeros(len(points), np.int64), np.zeros(len(centres), np.int64)
    row = 0
    for count, rows in _tiles(points):
        column = 0
        for columns_count, columns in _tiles(centres):
            rim = np.full(len(columns), -1, np.float32)  # Padding is a ball that holds nothing.
            rim[:columns_count] = radii[column : column + columns_count]
            by_row, by_column = _count_inside(rows, columns, rim, count, strict)
            balls[row : row + count] += np.asarray(by_row)[:count]
            held[column : column + columns_count] += np.asarray(by_column)[:columns_count]
            column += columns_count
        row += count
    return balls, held


def _squared_distances(rows: Array, columns: Array) -> Array:
    norms = jnp.square(rows).sum(axis=1)[:, None] + jnp.square(columns).sum(axis=1)[None]
    distances = norms - 2 * jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(distances > ROUNDING * norms, distances, 0.0)


@jax.jit
def _merge_nearest(nearest: Array, rows: Array, columns: Array, columns_count: Array | int) -> Array:
    """Returns the smallest distances of each row, ascending: the ones known so far, or to these columns."""
    distances = _squared_distances(rows, columns)
    distances = jnp.where(jnp.arange(len(columns)) < columns_count, distances, jnp.inf)
    return -jax.lax.top_k(-jnp.concatenate([nearest, distances], axis=1), nearest.shape[1])[0]


@functools.partial(jax.jit, static_argnames="strict")
def _count_inside(rows: Array, columns: Array, radii: Array, count: Array | int, strict: bool) -> tuple[Array, Array]:
    distances = _squared_distances(rows, columns)
    inside = distances < radii if strict else distances <= radii
    inside &= (jnp.arange(len(rows)) < count)[:, None]
    return inside.sum(axis=1), inside.sum(axis=0)
