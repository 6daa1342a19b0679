"""Latents of a normal distribution without its tails, for sampling (Brock et al. 2019, section 3.1)."""

import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from igan.types import Array, Context

OPTION = "truncation"  # Of `Networks.options`.


def truncated(latents: Array, context: Context) -> Array:
    """Returns latents of N(0, 1) as they are, or truncated where sampling asks for it. For a generator's beginning.

    >>> truncated(jnp.array([3.0]), context)  # Of training.
    Array([3.], dtype=float32)
    """
    threshold = context.options.get(OPTION)
    return latents if threshold is None else truncate(latents, threshold)


def truncate(latents: Array, threshold: float) -> Array:
    """Returns normal numbers as if each that is not in [-threshold, threshold] were drawn again until it is.

    That is the normal distribution given the interval. It is had without drawing again: a number with a share p of the
    distribution below it becomes the one with a share p of the truncated distribution below it. So one latent has one
    image, at every threshold, and images change little by little with the threshold.

    Args:
      latents: float [...] of N(0, 1).
      threshold: positive.

    >>> truncate(jnp.array([-8.0, 0.0, 1.0]), 1.0).round(3)
    Array([-1.   , -0.   ,  0.556], dtype=float32)
    """
    # The half below zero: in float32 small shares are exact, and those near one are not.
    least = ndtr(-jnp.asarray(threshold, latents.dtype))
    share = least + ndtr(-jnp.abs(latents)) * (1 - 2 * least)
    return jnp.sign(latents) * jnp.minimum(-ndtri(share), threshold)
