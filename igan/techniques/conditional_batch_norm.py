"""Conditional batch normalisation (Dumoulin et al. 2017; Miyato and Koyama 2018, section 3 and appendix).

The generator's normalisations have a scale and a shift for each class, by which it makes an image of the class that it
is asked for. The one before the last layer of a residual network stays as it is, as in the released code.

A discriminator that is not told the class (`projection`) or asked for it (`auxiliary_classifier`) has no reason to
care whether the image is one of it.
"""

from igan.game.technique import Technique
from igan.layers.conditional_batch_norm import ConditionalBatchNorm


def make() -> Technique:
    """Returns conditional batch normalisation of the generator. Needs the label of every image."""
    return Technique(layers={"generator_norm": ConditionalBatchNorm}, needs=frozenset({"labels"}))
