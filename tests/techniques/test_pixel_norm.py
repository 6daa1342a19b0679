"""Pixel norm: unit length at each pixel, epsilon inside the root."""

import jax
import jax.numpy as jnp
import numpy as np

from igan import models
from igan.data import space
from igan.game import technique
from igan.layers.pixel_norm import pixel_norm
from tests.contexts import at


def test_it_is_the_papers_formula(random):
    """Over the channels of each pixel; with 1e-6 added to the length, or outside the root, the small ones differ."""
    features = random.normal(size=(2, 3, 3, 5)) * np.array([1.0, 1e-4]).reshape(2, 1, 1, 1)
    expected = features / np.sqrt(np.mean(features**2, axis=-1, keepdims=True) + 1e-8)
    with jax.enable_x64(True):
        np.testing.assert_allclose(pixel_norm(jnp.asarray(features)), expected, rtol=1e-12)


def test_each_pixel_has_a_mean_square_of_one_and_zero_stays_zero(random):
    features = jnp.asarray(random.normal(size=(2, 4, 4, 7)), jnp.float32)
    np.testing.assert_allclose(jnp.mean(pixel_norm(features) ** 2, axis=-1), 1, atol=1e-6)
    zero = jnp.zeros((1, 2, 2, 3))
    np.testing.assert_array_equal(pixel_norm(zero), zero)
    assert np.all(np.isfinite(jax.grad(lambda features: jnp.sum(pixel_norm(features)))(zero)))


def test_it_is_the_normalisation_of_other_families_too():
    layers = technique.layers({"pixel_norm": technique.load({"pixel_norm": {"enabled": True}})["pixel_norm"]})
    settings = {"name": "dcgan", "latent_size": 3, "generator_widths": (4,), "discriminator_widths": (4,)}
    networks = models.load(settings, space.images((8, 8, 1)), None, layers)
    params, variables = networks.generator.init(at(), networks.sample_latents(jax.random.key(0), 2))
    assert not variables and not any("Norm" in name for name in params)
