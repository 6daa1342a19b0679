"""What networks are given beside their inputs; what a test does not say is as at a game's beginning."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from igan.types import Array, Context, Key, Stage, Turn


def turn(step: int = 0, count: int | None = None, stage: Stage = Stage()) -> Turn:  # noqa: B008
    return Turn(jnp.int32(step), jnp.int32(step if count is None else count), stage)


def at(
    key: Key | int = 0, train: bool = True, labels: Array | None = None, options: Mapping[str, float] | None = None
) -> Context:
    """A context of the key, or of the key of this seed."""
    return Context(jax.random.key(key) if isinstance(key, int) else key, turn(), train, labels, options or {})
