"""All randomness of a game is a pure function of (seed, step, name).

That is why a run that was killed and resumed is bit for bit the run that was not, and why switching one technique off
does not change the noise that another one sees.
"""

import zlib

import jax

from igan.types import Array, Key


def stream(key: Key, name: str, step: Array | int = 0) -> Key:
    """Returns the key of the consumer `name` at `step`.

    >>> key = jax.random.key(0)
    >>> stream(key, "generator/latents", 3) == stream(key, "generator/latents", 3)
    Array(True, dtype=bool)
    """
    return jax.random.fold_in(jax.random.fold_in(key, step), zlib.crc32(name.encode()))
