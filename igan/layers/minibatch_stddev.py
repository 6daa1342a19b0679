"""The standard deviation of a minibatch as one more feature (Karras et al. 2018, section 3)."""

import jax.numpy as jnp

from igan.errors import UserError
from igan.types import Array

EPSILON = 1e-8  # Inside the root.


def minibatch_stddev(features: Array, group: int = 0) -> Array:
    """Returns features and, behind them, one feature that says how much those of other images differ.

    The standard deviation over a group of images, sqrt(var + 1e-8) with the variance of the group itself, of each
    feature at each place; of these the mean, one number a group. Image i is in a group with the images i + k n / group.

    Args:
      features: float [n, ..., channels].
      group: images of a group, which divides n; 0, or more than there are: all n.

    Returns: float [n, ..., channels + 1].

    >>> minibatch_stddev(jnp.array([[0.0], [5.0], [2.0], [9.0]]), group=2)  # The first and the third, and the others.
    Array([[0., 1.],
           [5., 2.],
           [2., 1.],
           [9., 2.]], dtype=float32)

    Raises UserError where groups do not divide the batch.
    """
    count = len(features)
    group = min(group, count) or count
    if count % group:
        raise UserError(
            f"{count} images cannot be dealt out to groups of {group}: set --config.techniques.minibatch_stddev.group"
            " to a number that divides every batch, or 0 for the whole batch"
        )
    grouped = features.reshape(group, count // group, -1)
    deviations = jnp.sqrt(jnp.var(grouped, axis=0) + EPSILON)
    numbers = jnp.tile(jnp.mean(deviations, axis=1), group)
    maps = jnp.broadcast_to(numbers.reshape(-1, *[1] * (features.ndim - 1)), (*features.shape[:-1], 1))
    return jnp.concatenate([features, maps.astype(features.dtype)], axis=-1)
