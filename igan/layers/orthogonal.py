"""Orthogonal matrices as initial weights, for many networks side by side."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from igan.types import Array, Key

STEPS = 60  # Each makes a singular value that is far too small 1.5 times as large: enough for one of 1e-9.


def orthogonal(gain: float = 1.0) -> Callable[..., Array]:
    """Returns an initialiser of matrices [inputs, outputs] whose shorter side's vectors are orthonormal, times `gain`.

    Uniform among all of those, as `jax.nn.initializers.orthogonal`: the orthogonal factor of a normal matrix, found by
    matrix products alone (Newton-Schulz). JAX's own decomposes each by LAPACK, and on a CPU several of its calls that
    are each mapped over replicas wait for each other's threads for ever (seen with jax 0.10 on two cores).

    >>> orthogonal()(jax.random.key(0), (1, 1)).shape
    (1, 1)
    """

    def initialise(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        matrix = jax.random.normal(key, shape, jnp.float32)
        tall = matrix if shape[0] >= shape[1] else matrix.T

        def step(_: Any, found: Array) -> Array:
            return 1.5 * found - 0.5 * found @ (found.T @ found)

        # Divided by a bound of its largest singular value.
        found = jax.lax.fori_loop(0, STEPS, step, tall / jnp.linalg.norm(tall))
        return (gain * (found if shape[0] >= shape[1] else found.T)).astype(dtype)

    return initialise


def orthogonal_kernel(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Returns a kernel [..., inputs, outputs] that is orthogonal as a matrix of all its numbers that one output has.

    >>> orthogonal_kernel(jax.random.key(0), (3, 3, 4, 5)).reshape(36, 5).shape
    (36, 5)
    """
    return orthogonal()(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)
