"""Virtual batch normalisation (Salimans et al. 2016, section 3.5), in the generator only: it propagates two batches.

Batch normalisation makes an image depend on the others of its batch. Here each one is normalised with the statistics of
a reference batch that is drawn once and fixed, together with its own: see `igan.layers.virtual_batch_norm`.
"""

import functools

from igan.errors import UserError
from igan.game.technique import Technique
from igan.layers.virtual_batch_norm import ReferenceBatch, VirtualBatchNorm


def make(reference_size: int = 100) -> Technique:
    """Returns virtual batch normalisation in place of the generator's batch normalisation.

    Args:
      reference_size: latents in the reference batch; the paper takes as many as in a training batch.

    Raises UserError for a size below 1 or above 10,000.
    """
    if not 1 <= reference_size <= 10_000:
        raise UserError(f"techniques.virtual_batch_norm.reference_size is {reference_size}, expected 1 to 10,000")
    return Technique(
        layers={
            "generator_norm": functools.partial(VirtualBatchNorm, reference_size),
            "generator": functools.partial(ReferenceBatch, size=reference_size),
        }
    )
