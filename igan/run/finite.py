"""Numbers that are not finite, found and named before they spread to a checkpoint."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from igan.errors import RunError
from igan.types import Array


def check_finite(metrics: dict[str, np.ndarray], step: int, saved: Callable[[], list[int]]) -> None:
    """Raises RunError naming the first of the metrics [R, updates] up to `step` that is not finite, and where.

    Args:
      saved: returns the updates of the checkpoints; asked only then.
    """
    for name, values in metrics.items():
        bad = ~np.isfinite(values)
        if bad.any():
            first = step - values.shape[1] + 1
            updates = first + np.flatnonzero(bad.any(axis=0))
            replicas = np.flatnonzero(bad.any(axis=1)).tolist()
            steps = saved()
            raise RunError(
                f"'{name}' is not finite at updates {updates[0]} to {updates[-1]} (replicas {replicas}); the last good"
                f" checkpoint is {f'of update {steps[-1]}' if steps else 'none yet'}. A lower learning rate may help."
            )


@jax.jit
def all_finite(params: Any) -> Array:
    """Returns whether all numbers of a pytree are finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
