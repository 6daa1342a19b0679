"""Minibatch discrimination (Salimans et al. 2016, section 3.2): the discriminator sees how close images are to others.

A generator that maps every latent to one image is found out at once. Real and generated batches are apart, and each
image still gets its own logit: see `igan.layers.minibatch_discrimination`.
"""

import functools

from igan.errors import UserError
from igan.game.technique import Technique
from igan.layers.minibatch_discrimination import MinibatchDiscrimination


def make(kernels: int = 100, dimensions: int = 5) -> Technique:
    """Returns minibatch discrimination on the discriminator's features.

    Args:
      kernels: closeness features an image (B in the paper).
      dimensions: dimensions in which each measures distances (C in the paper).

    Raises UserError for a number below 1 or above 10,000.
    """
    for name, value in (("kernels", kernels), ("dimensions", dimensions)):
        if not 1 <= value <= 10_000:
            raise UserError(f"techniques.minibatch_discrimination.{name} is {value}, expected 1 to 10,000")
    return Technique(layers={"discriminator_features": functools.partial(MinibatchDiscrimination, kernels, dimensions)})
