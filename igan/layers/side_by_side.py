"""Two batches as one, in an order in which devices that share both keep their part of each.

One behind the other, most examples would be on another device than before: all of them move, whenever the two are put
together or taken apart.
"""

import math

import jax.numpy as jnp

from igan.types import Array


def join(first: Array, second: Array) -> Array:
    """Returns two batches [m, ...] and [n, ...] as one of m + n examples: some of the first, some of the second, ...

    There are as many turns as the greatest common divisor of m and n; devices whose number divides it move nothing.

    >>> join(jnp.arange(2), jnp.arange(10, 14))
    Array([ 0, 10, 11,  1, 12, 13], dtype=int32)
    """
    turns = math.gcd(len(first), len(second))
    parts = [each.reshape(turns, -1, *each.shape[1:]) for each in (first, second)]
    return jnp.concatenate(parts, axis=1).reshape(-1, *first.shape[1:])


def split(both: Array, size: int) -> tuple[Array, Array]:
    """Returns the two batches that `join` has made one, the first of them of `size` examples, at least 1.

    >>> split(jnp.array([0, 10, 11, 1, 12, 13]), 2)
    (Array([0, 1], dtype=int32), Array([10, 11, 12, 13], dtype=int32))
    """
    turns = math.gcd(size, len(both) - size)
    parts = jnp.split(both.reshape(turns, -1, *both.shape[1:]), [size // turns], axis=1)
    first, second = (each.reshape(-1, *both.shape[1:]) for each in parts)
    return first, second
