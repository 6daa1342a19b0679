"""Pixel norm (Karras et al. 2018, section 4.2): the generator's feature vector at each pixel is brought to unit length.

It keeps the generator's features from growing without bounds as it competes with the discriminator, needs no statistics
of the batch, and looks the same in training and in sampling. In the paper's networks (`progressive`) it stands after
each rectifier, elsewhere where that family has the generator's normalisation.

`igan.layers.pixel_norm.pixel_norm` is a function of arrays and works without the rest of igan.
"""

from igan.game.technique import Technique
from igan.layers.pixel_norm import PixelNorm


def make() -> Technique:
    """Returns pixel norm as the generator's normalisation."""
    return Technique(layers={"generator_norm": PixelNorm})
