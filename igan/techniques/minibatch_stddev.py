"""Minibatch standard deviation (Karras et al. 2018, section 3): the discriminator sees how varied its images are.

One more feature is the same for all images of a group: the mean standard deviation of the others over it. A generator
of less variation than the data is found out. It has no parameters, unlike `minibatch_discrimination`, whose place it
takes: before the last layers of the paper's networks (`progressive`), before the last one elsewhere. Real and generated
images are in groups of their own.

The paper takes the whole batch for one group, its later code groups of four. With several devices groups are still
those of the whole batch.

Gradient penalties go together with it, as in the paper: the slope at an image is then that of the sum of all logits.

`igan.layers.minibatch_stddev.minibatch_stddev` is a function of arrays and works without the rest of igan.
"""

import numbers

from igan.errors import UserError
from igan.game.technique import Technique
from igan.layers.minibatch_stddev import minibatch_stddev
from igan.types import Array

MOST = 100_000


def make(group: int = 4) -> Technique:
    """Returns the standard deviation as one more feature of the discriminator.

    Args:
      group: images whose variation is looked at together, which divide every batch; 0: all of a batch.

    Raises UserError for another number.
    """
    if isinstance(group, bool) or not isinstance(group, numbers.Integral) or not (group == 0 or 2 <= group <= MOST):
        raise UserError(
            f"techniques.minibatch_stddev.group is {group}, expected a whole number of at least 2, or 0 for the whole"
            " batch: set --config.techniques.minibatch_stddev.group=4"
        )

    def place(**options: bool) -> Array:
        return lambda features: minibatch_stddev(features, group)  # type: ignore[return-value]

    return Technique(layers={"discriminator_features": place}, inputs_together=group or 1)
