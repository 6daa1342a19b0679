"""Small networks of styles for tests, and their mapping network by hand."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.models.growing import (
    context_of,
    draw,
    networks_of,
    techniques,
)

OF_STYLEGAN = {"non_saturating": {}, "r1": {}, "equalized_rate": {}, "minibatch_stddev": {"group": 2}}
SMALL: dict[str, Any] = {
    "latent_size": 5,
    "mapping_layers": 2,
    "mapping_width": 4,
    "base": 48,
    "most": 6,
    "train_images": 40,
    "fade_images": 80,
}


@functools.cache
def small(mixing: bool = False, **changes):
    """Networks from 8 to 16 pixels, and a generator with every parameter drawn."""
    loaded = techniques(**OF_STYLEGAN, **({"style_mixing": {"probability": 1.0}} if mixing else {}))
    networks = networks_of(loaded, (16, 16, 3), "style", **(SMALL | changes))
    latents = networks.sample_latents(jax.random.key(1), 4)
    params, variables = networks.generator.init(context_of(networks.stages[-1]), latents)
    return networks, draw(params, np.random.default_rng(0)), variables, latents


def sample(networks, params, variables, latents, **options):
    context = context_of(networks.stages[-1], train=False, **options)
    return np.asarray(networks.generator.apply(params, variables, context, latents)[0])


def mapped(params, z):
    w = z / jnp.sqrt(jnp.mean(z**2) + 1e-8)
    for layer in (0, 1):
        held = params["mapping"][f"EqualizedLayer_{layer}"]
        scale = 0.01 * math.sqrt(2 / held["kernel"].shape[0])
        w = w @ (held["kernel"] * scale) + 0.01 * held["bias"]
        w = jnp.where(w >= 0, w, 0.2 * w)
    return w
