"""Orthogonal matrices: orthonormal, uniform, and many side by side without an end to the waiting."""

import jax
import numpy as np
import pytest

from igan.layers.orthogonal import orthogonal


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 128), (128, 2), (256, 128), (128, 128)])
def test_the_shorter_sides_vectors_are_orthonormal(shape: tuple[int, int]):
    """Also of the square ones, whose smallest singular values are small, in each of several at once."""
    matrices = jax.jit(jax.vmap(lambda key: orthogonal(0.8)(key, shape)))(jax.random.split(jax.random.key(0), 10))
    for matrix in np.asarray(matrices, np.float64):
        tall = matrix if shape[0] >= shape[1] else matrix.T
        np.testing.assert_allclose(tall.T @ tall, 0.64 * np.eye(min(shape)), atol=2e-6)


def test_they_are_uniform():
    """Of random rotations of 3 dimensions each entry has mean 0 and mean square 1/3; half are reflections."""
    draws = np.asarray(jax.vmap(lambda key: orthogonal()(key, (3, 3)))(jax.random.split(jax.random.key(1), 4000)))
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=5 / np.sqrt(3 * 4000))
    np.testing.assert_allclose((draws**2).mean(axis=0), 1 / 3, atol=5 * 0.3 / np.sqrt(4000))
    np.testing.assert_allclose((draws**4).mean(axis=0), 1 / 5, atol=5 * 0.27 / np.sqrt(4000))
    assert (np.linalg.det(draws) > 0).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(4000))
