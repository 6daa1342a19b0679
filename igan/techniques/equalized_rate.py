"""Equalised learning rates (Karras et al. 2018, section 4.1): weights are scaled when they are applied.

Kernels are drawn from N(0, 1), and each is multiplied by gain / sqrt(fan in) in every pass, with He's gain sqrt(2), and
1 in a network's last layer. (The paper divides by its constant c, which is a misprint.) Adam and RMSProp take steps
whose size does not depend on the scale of a gradient, so that all weights then learn equally fast for their dynamic
range. SGD would see gradients that are scaled too, and learn at different rates.
"""

from igan.game.technique import Technique
from igan.layers.equalized_rate import EqualizedLayer
from igan.techniques.spectral_norm import layers_of


def make(players: str = "both") -> Technique:
    """Returns equalised learning rates of a player's layers.

    Args:
      players: whose: "discriminator", "generator" or "both".

    Raises UserError for another name.
    """
    return Technique(layers=layers_of("equalized_rate", players, EqualizedLayer, usual="both"))
