"""Self-attention over the places of a feature map (Zhang et al. 2019, "SAGAN")."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers.weights import Layer, MakeLayer, WeightLayer
from igan.types import Array, Context

# (height of the map, what makes the network's layers, their type) -> what is done to the map.
MapLayer = Callable[[Array, Context], Array]
MakeMapLayer = Callable[[int, MakeLayer, Any], MapLayer]
PlaceMapLayers = Callable[[Sequence[int]], MakeMapLayer]  # Given the heights of a network's maps; raises UserError.


def no_map_layer(height: int, layer: MakeLayer, dtype: Any) -> MapLayer:
    """Returns what stands in the place of layers on feature maps where there are none: it keeps them as they are."""
    return lambda maps, context: maps


def max_pool(maps: Array) -> Array:
    """Returns the largest of each 2 x 2 square: [n, h, w, c] -> [n, h / 2, w / 2, c]; both sides are even.

    >>> max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    3.0
    """
    count, height, width, channels = maps.shape
    return jnp.max(maps.reshape(count, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def attend(queries: Array, keys: Array, values: Array) -> tuple[Array, Array]:
    """Returns what each place takes from the others, and the shares in which it does.

    The shares are softmax over the keys of <query, key>, without a scale.

    Args:
      queries: float [n, places, d].
      keys: float [n, sources, d].
      values: float [n, sources, v].

    Returns: float [n, places, v]; float [n, places, sources], of which each place's sum to 1.

    >>> attend(jnp.zeros((1, 1, 2)), jnp.zeros((1, 2, 2)), jnp.array([[[1.0], [3.0]]]))[0].item()
    2.0
    """
    shares = jax.nn.softmax(jnp.einsum("npd,nsd->nps", queries, keys), axis=-1)
    return jnp.einsum("nps,nsv->npv", shares, values), shares


class SelfAttention(nn.Module):
    """x + gamma * o(attention of x to itself), where gamma is one number that starts at 0.

    As in the released code: queries and keys have an eighth of the channels, values half of them, the four 1 x 1
    convolutions have no bias, and keys and values are the largest of each 2 x 2 square. The paper's text has values of
    an eighth and no squares: `pooled=False`. It has 1.25 c^2 + 1 parameters for c channels, a multiple of 8; the text's
    has 0.5 c^2 + 1.

    Attributes:
      pooled: the released code, or the paper's text.
      layer: makes the four convolutions as it makes the network's others: spectrally normalised where they are.
      dtype: in which they are computed.

    Example: `SelfAttention()(activations, context)` keeps the shape [n, height, width, channels].
    """

    pooled: bool = True
    layer: MakeLayer = WeightLayer
    dtype: Any = float

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        count, height, width, channels = inputs.shape
        if self.pooled and (height % 2 or width % 2):
            raise ValueError(f"Expected even sides, got {height} x {width}.")
        narrow = max(1, channels // 8)
        inner = max(1, channels // 2) if self.pooled else narrow
        widths = (narrow, narrow, inner, channels)
        query, key, value, output = (self.layer(Layer(each, kernel=1, bias=False, dtype=self.dtype)) for each in widths)
        smaller = max_pool if self.pooled else lambda maps: maps

        def places(maps: Array) -> Array:
            # Shares among thousands of places are float32 in any case.
            return maps.reshape(count, -1, maps.shape[-1]).astype(float)

        queries, keys, values = query(inputs, context), smaller(key(inputs, context)), smaller(value(inputs, context))
        taken, _ = attend(places(queries), places(keys), places(values))
        shown = output(taken.reshape(count, height, width, inner).astype(inputs.dtype), context)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return inputs + gamma.astype(inputs.dtype) * shown
