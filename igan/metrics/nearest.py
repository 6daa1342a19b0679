"""The nearest real examples of generated ones: has a generator learnt its training images by heart?"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist


class Nearest(NamedTuple):
    """The k nearest examples of each of n queries, the nearest first."""

    indices: np.ndarray  # int [n, k]
    distances: np.ndarray  # float64 [n, k], Euclidean.


def nearest(queries: np.ndarray, batches: Iterable[np.ndarray], count: int) -> Nearest:
    """Returns the nearest of the examples that come in batches.

    Args:
      queries: [n, ...] of any type; differences are taken in float64.
      batches: the examples in their order, each [m, ...] with the same rest of the shape.
      count: k, at most as many as there are examples; of equals the first ones.

    >>> nearest(np.array([[0.0]]), [np.array([[5.0], [1.0]]), np.array([[-2.0]])], count=2).indices
    array([[1, 2]])
    """
    flat = np.asarray(queries, np.float64).reshape(len(queries), -1)
    indices = np.empty((len(flat), 0), int)
    distances = np.empty((len(flat), 0))
    start = 0
    for batch in batches:
        found = cdist(flat, np.asarray(batch, np.float64).reshape(len(batch), -1))
        numbers = np.broadcast_to(np.arange(start, start + len(batch)), found.shape)
        indices, distances = np.concatenate([indices, numbers], axis=1), np.concatenate([distances, found], axis=1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :count]
        indices, distances = (np.take_along_axis(each, best, axis=1) for each in (indices, distances))
        start += len(batch)
    return Nearest(indices, distances)
