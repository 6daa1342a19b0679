"""Data that are no images: points of the plane, kept and shown as they are."""

import jax.numpy as jnp
import numpy as np

from igan.types import Space

PLANE = Space(
    "points",
    (2,),
    np.dtype(np.float32),
    encode=lambda stored, _: jnp.asarray(stored),
    decode=lambda points, _: points,
    # A picture whose size and shade tell how many replicas and samples it is of.
    picture=lambda samples, _: np.full((5, 7 * samples.shape[0]), samples.shape[1], np.uint8),
)
