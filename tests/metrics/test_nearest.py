"""Nearest examples, against all distances at once."""

import numpy as np

from igan.metrics.nearest import nearest


def test_batches_give_what_all_distances_at_once_do(random):
    queries, real = (
        random.integers(0, 256, (4, 3, 3)).astype(np.uint8),
        random.integers(0, 256, (50, 3, 3)).astype(np.uint8),
    )
    distances = np.sqrt(((queries[:, None].astype(float) - real) ** 2).sum(axis=(2, 3)))
    expected = np.argsort(distances, axis=1)[:, :6]
    for size in (1, 7, 50):
        found = nearest(queries, (real[start : start + size] for start in range(0, 50, size)), 6)
        np.testing.assert_array_equal(found.indices, expected)
        np.testing.assert_allclose(found.distances, np.take_along_axis(distances, expected, axis=1))


def test_of_equals_the_first_ones():
    found = nearest(np.zeros((1, 2)), [np.ones((3, 2)), np.ones((3, 2))], 4)
    np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3]])
