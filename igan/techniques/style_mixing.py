"""Style mixing (Karras et al. 2019, section 3.1): images in training have the styles of two latents.

The layers before a place that is drawn for each batch have the styles of one latent, those from it on of another, so
that the generator cannot count on neighbouring layers having styles that belong together. Only layers of resolutions
that the stage has reached are counted. It is of networks with styles (`style`); sampling mixes nothing.

`igan.layers.style_mixing.crossed` is a function of arrays and works without the rest of igan.
"""

import functools
import numbers

from igan.errors import UserError
from igan.game.technique import Technique
from igan.layers.style_mixing import mix

TESTED_ON = "style"


def make(probability: float = 0.9) -> Technique:
    """Returns style mixing in the generator.

    Args:
      probability: of a batch to be mixed, 0 to 1; 0.9 in the paper.

    Raises UserError for another number.
    """
    if not isinstance(probability, numbers.Real) or not 0 <= probability <= 1:
        raise UserError(
            f"techniques.style_mixing.probability is {probability}, expected a number from 0 to 1: set"
            " --config.techniques.style_mixing.probability=0.9"
        )
    layers = {"generator_styles": lambda: functools.partial(mix, probability=probability)}
    return Technique(layers=layers, needs=frozenset({"styles"}))
