"""Self-attention (Zhang et al. 2019, "SAGAN", section 3): each place of a feature map looks at all others.

A layer of one resolution, in either player or both, after the first block whose map is as high as that. It starts as
nothing at all, because what it adds has a factor, gamma, that starts at 0. Its convolutions are layers of the network
like others, and `spectral_norm` normalises them where it does those.

By default the layer of the released code, which is not quite that of the paper's text: see
`igan.layers.attention.SelfAttention`.
"""

from collections.abc import Sequence
from typing import Any

from igan.errors import UserError
from igan.game.technique import Technique
from igan.layers.attention import MakeMapLayer, PlaceMapLayers, SelfAttention, no_map_layer
from igan.layers.weights import MakeLayer

TESTED_ON = "resnet"
VARIANTS = {"code": True, "paper": False}


def make(generator_resolution: int = 16, discriminator_resolution: int = 16, variant: str = "code") -> Technique:
    """Returns self-attention in feature maps.

    Args:
      generator_resolution: height of the generator's maps that have it, 0: none; SAGAN for 128 pixels has 32.
      discriminator_resolution: the same in the discriminator.
      variant: "code", with keys and values of 2 x 2 squares and values of half the channels; "paper", of neither.

    Raises UserError for another variant, or a resolution that is no number from 0.
    """
    if variant not in VARIANTS:
        raise UserError(f"techniques.self_attention.variant is {variant}, expected {' or '.join(VARIANTS)}")
    layers: dict[str, Any] = {}
    for player, resolution in (("generator", generator_resolution), ("discriminator", discriminator_resolution)):
        field = f"techniques.self_attention.{player}_resolution"
        if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 0:
            raise UserError(f"{field} is {resolution}, expected a height in pixels, or 0 for none")
        if resolution:
            layers[f"{player}_maps"] = place(resolution, VARIANTS[variant], field)
    return Technique(layers=layers)


def place(resolution: int, pooled: bool, field: str) -> PlaceMapLayers:
    """Returns what puts the layer at a resolution of a network, whose heights it is told."""

    def at(heights: Sequence[int]) -> MakeMapLayer:
        if resolution not in heights:
            known = ", ".join(map(str, heights)) or "none"
            raise UserError(
                f"{field} is {resolution}, and the heights of that player's feature maps are {known}: set"
                f" --config.{field}={heights[len(heights) // 2] if heights else 0}"
            )
        if pooled and resolution % 2:
            raise UserError(
                f"{field} is {resolution}, and maps of odd height have no 2 x 2 squares: set --config.{field}=0"
            )

        def make_layer(height: int, layer: MakeLayer, dtype: Any) -> Any:
            return SelfAttention(pooled, layer, dtype) if height == resolution else no_map_layer(height, layer, dtype)

        return make_layer

    return at
