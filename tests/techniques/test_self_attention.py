"""Self-attention: by hand, as nothing at first, and where it stands in a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import technique
from igan.layers.attention import SelfAttention, attend, max_pool
from igan.layers.spectral_norm import SpectralNormLayer
from tests.contexts import at
from tests.models.inspection import count

SMALL = {"latent_size": 3, "generator_widths": (8, 8, 8), "discriminator_widths": (8, 8, 8, 8)}


def test_shares_sum_to_one_over_the_keys(random):
    queries, keys = (jnp.float32(random.normal(0, 3, (2, places, 4))) for places in (12, 3))
    ones, shares = attend(queries, keys, jnp.ones((2, 3, 5)))
    assert shares.shape == (2, 12, 3)  # A quarter as many keys as places.
    np.testing.assert_allclose(np.sum(shares, axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(ones, 1, rtol=1e-5)
    energies = np.einsum("npd,nsd->nps", np.float64(queries), np.float64(keys))  # Not divided by a root.
    expected = np.exp(energies) / np.exp(energies).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-6)


def test_the_largest_of_each_square():
    maps = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(maps)[0, ..., 0], [[5, 7], [13, 15]])


@pytest.mark.parametrize(("pooled", "expected"), [(True, 81_921), (False, 256 * 32 * 4 + 1)])
def test_it_has_the_papers_number_of_parameters(pooled, expected):
    """1.25 c^2 + 1 of 256 channels: four kernels without a bias, and one gamma."""
    maps = jax.ShapeDtypeStruct((1, 16, 16, 256), jnp.float32)
    variables = jax.eval_shape(
        lambda maps: SelfAttention(pooled, SpectralNormLayer).init(jax.random.key(0), maps, at()), maps
    )
    assert count(variables["params"]) == expected
    assert len(jax.tree.leaves(variables["averages"])) == 4
    assert variables["params"]["gamma"].shape == ()


def test_it_is_nothing_at_first_and_then_what_its_places_take(random):
    maps = jnp.float32(random.normal(size=(2, 4, 4, 8)))
    outputs, variables = SelfAttention().init_with_output(jax.random.key(0), maps, at())
    np.testing.assert_array_equal(outputs, maps)
    params = variables["params"]
    moved = {"params": params | {"gamma": jnp.float32(0.7)}}
    kernels = [np.float64(params[f"WeightLayer_{index}"]["kernel"])[0, 0] for index in range(4)]
    queries, keys, values = (np.float64(maps) @ kernel for kernel in kernels[:3])
    keys, values = (each.reshape(2, 2, 2, 2, 2, -1).max(axis=(2, 4)) for each in (keys, values))
    energies = np.einsum("nabd,nijd->nabij", queries, keys)
    shares = np.exp(energies) / np.exp(energies).sum(axis=(3, 4), keepdims=True)
    expected = np.float64(maps) + 0.7 * np.einsum("nabij,nijv->nabv", shares, values) @ kernels[3]
    np.testing.assert_allclose(SelfAttention().apply(moved, maps, at()), expected, rtol=1e-4, atol=1e-5)


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match="even sides, got 5 x 4"):
        SelfAttention().init(jax.random.key(0), jnp.zeros((1, 5, 4, 8)), at())


def load(side=32, **settings):
    configs = {"self_attention": technique.defaults("self_attention") | {"enabled": True} | settings}
    layers = technique.layers(technique.load(configs))
    return models.load({"name": "resnet", **SMALL}, space.images((side, side, 3)), None, layers)


def test_it_stands_behind_the_first_block_of_its_height_alone():
    """Blocks two to four of the discriminator have maps of 8 x 8."""
    networks = load(generator_resolution=16, discriminator_resolution=8)
    for network, shape in ((networks.generator, (2, 3)), (networks.discriminator, (2, 32, 32, 3))):
        params = jax.eval_shape(lambda inputs, network=network: network.init(at(), inputs)[0], jnp.zeros(shape))
        assert [name for name in params if name.startswith("SelfAttention")] == ["SelfAttention_0"]
    one = load(generator_resolution=0, discriminator_resolution=8)
    params = jax.eval_shape(lambda inputs: one.generator.init(at(), inputs)[0], jnp.zeros((2, 3)))
    assert not any(name.startswith("SelfAttention") for name in params)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator_resolution": 4}, r"generator_resolution is 4, and the heights .* are 16, 32: set --config"),
        ({"discriminator_resolution": 32}, r"discriminator_resolution is 32, and the heights .* are 16, 8"),
        ({"generator_resolution": -1}, "generator_resolution is -1, expected a height"),
        ({"generator_resolution": True}, "generator_resolution is True, expected a height"),
        ({"variant": "text"}, "variant is text, expected code or paper"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(UserError, match=message) as refused:
        load(**settings)
    assert "\n" not in str(refused.value)


def test_squares_of_an_odd_height_are_refused():
    with pytest.raises(UserError, match="7, and maps of odd height"):
        load(side=28, generator_resolution=14, discriminator_resolution=7)
