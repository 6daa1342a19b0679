"""What is between two latents, or two styles: for the lengths of paths (Karras et al. 2019, section 4.1)."""

import jax.numpy as jnp

from igan.types import Array

BETWEEN = "between"  # What a style network is asked for: shares [n] of the way from n latents' w to those of n others.


def slerp(one: Array, other: Array, share: Array) -> Array:
    """Returns latents on the great circle from one to another; their lengths go linearly.

    The latents of a normal distribution have nearly the same length, and what is between them linearly is too short.

    Args:
      one, other: float [n, size].
      share: float [n], t, 0 for the one.

    >>> slerp(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 3.0]]), jnp.array([0.5])).round(3)
    Array([[1.414, 1.414]], dtype=float32)
    """
    lengths = [jnp.linalg.norm(each, axis=1, keepdims=True) for each in (one, other)]
    first, second = (each / jnp.maximum(length, 1e-12) for each, length in zip((one, other), lengths, strict=True))
    share = share[:, None]
    # Of the second one what is orthogonal to the first: exact also where they are nearly the same.
    across = second - jnp.sum(first * second, axis=1, keepdims=True) * first
    size = jnp.linalg.norm(across, axis=1, keepdims=True)
    angle = share * jnp.arctan2(size, jnp.sum(first * second, axis=1, keepdims=True))
    direction = jnp.cos(angle) * first + jnp.sin(angle) * across / jnp.maximum(size, 1e-12)
    return direction * (lengths[0] + share * (lengths[1] - lengths[0]))


def lerp(one: Array, other: Array, share: Array) -> Array:
    """Returns what is between two arrays [n, ...] linearly, of shares [n].

    >>> lerp(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.array([0.25]))
    Array([[0.25, 0.25]], dtype=float32)
    """
    return one + share.reshape(-1, *[1] * (one.ndim - 1)) * (other - one)
