"""Spectral normalisation (Miyato et al. 2018): each kernel is divided by an estimate of its largest singular value.

It bounds how fast the discriminator's logits change with its inputs, and takes the place of the weights' other
normalisation: of weight normalisation in the networks of Salimans et al. (2016). Kernels then start as that family's
do, but not with weight normalisation's data-dependent scales. What is normalised are the kernels of the network's own
layers, not biases, the scales of normalisations, or the matrix of `minibatch_discrimination`.

The estimate comes from one power iteration for each step of the player, as in the paper's algorithm 1, and all images
of a step go through the same normalised kernels. The released code iterates at every pass through the discriminator
instead, which makes 11 iterations an update with five steps of the discriminator: two in each, for real and generated
images, whose kernels then differ a little, and one in the generator's step. In igan these are five. A step of the other
player, a penalty, and the steps of an unrolled discriminator start from the same vectors u, and leave them as they are.
With `accumulate`, each part of a batch is an iteration.

`igan.layers.spectral_norm.power_iteration` is a function of arrays and works without the rest of igan.
"""

from collections.abc import Mapping

from igan.errors import UserError, did_you_mean
from igan.game.technique import Technique
from igan.layers.spectral_norm import SpectralNormLayer
from igan.layers.weights import MakeLayer

HOLDS_CONSTANT = True
PLAYERS = {"discriminator": ("discriminator",), "generator": ("generator",), "both": ("discriminator", "generator")}


def make(players: str = "discriminator") -> Technique:
    """Returns spectral normalisation of a player's layers.

    Args:
      players: whose: "discriminator", "generator" or "both".

    Raises UserError for another name.
    """
    layers = layers_of("spectral_norm", players, SpectralNormLayer, usual="discriminator")
    return Technique(layers=layers, conflict=_bounds_nothing if "discriminator_layer" in layers else lambda _: None)


def layers_of(name: str, players: str, layer: MakeLayer, usual: str) -> dict[str, MakeLayer]:
    """Returns what the technique `name` puts into the places of a player's layers, or of both players'.

    Raises UserError for another name of a player than those of `PLAYERS`; `usual` is what it says to type.
    """
    if players not in PLAYERS:
        raise UserError(
            f"techniques.{name}.players is {players}, expected {', '.join(PLAYERS)}: set"
            f" --config.techniques.{name}.players={usual}.{did_you_mean(str(players), PLAYERS)}"
        )
    return {f"{player}_layer": layer for player in PLAYERS[players]}


def _bounds_nothing(techniques: Mapping[str, Technique]) -> str | None:
    """Returns why a technique that bounds the discriminator's weights cannot work beside this one, if there is one."""
    name = next((name for name, each in techniques.items() if "plain_weights" in each.needs), None)
    if name is None:
        return None
    field, value = ("clipping", "False") if name == "wasserstein" else ("enabled", "False")
    return (
        f"{name} bounds weights, which spectral normalisation divides by their own norm again, so that nothing would be"
        f" bounded: set --config.techniques.{name}.{field}={value}"
    )
