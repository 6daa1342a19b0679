"""Normalisation of the feature vector at each pixel (Karras et al. 2018, section 4.2)."""

import jax.numpy as jnp

from igan.types import Array, Context

EPSILON = 1e-8


def pixel_norm(features: Array) -> Array:
    """Returns features divided by the root of their mean square at each place, float [..., channels].

    a / sqrt(mean over channels of a^2 + 1e-8); a place where all are zero stays zero.

    >>> pixel_norm(jnp.array([[3.0, 1.0], [0.0, 0.0]]))
    Array([[1.3416407 , 0.44721356],
           [0.        , 0.        ]], dtype=float32)
    """
    return features / jnp.sqrt(jnp.mean(jnp.square(features), axis=-1, keepdims=True) + EPSILON)


class PixelNorm:
    """`pixel_norm` as a normalisation layer: called with (features, context), without parameters."""

    def __call__(self, features: Array, context: Context) -> Array:
        return pixel_norm(features)
