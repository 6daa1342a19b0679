"""The normalisations that a discriminator can be given by name."""

from collections.abc import Callable

from igan.layers.batch_norm import BatchNorm
from igan.layers.layer_norm import LayerNorm
from igan.types import Array, Context

MakeNorm = Callable[[], Callable[[Array, Context], Array]]


def no_norm() -> Callable[[Array, Context], Array]:
    """Returns what stands in the place of a normalisation where there is none: it keeps its inputs as they are."""
    return lambda inputs, context: inputs


NORMS: dict[str, MakeNorm] = {"batch": BatchNorm, "layer": LayerNorm, "none": no_norm}
