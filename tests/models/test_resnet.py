"""The residual networks: the sizes of SNGAN's and WGAN-GP's, and what is asked of them."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.layers.weights import WeightLayer
from tests.contexts import at
from tests.models.inspection import assert_float32, assert_nearly_the_same, count, shapes

KEY = jax.random.key(0)
WGAN_GP = {"generator_widths": (128,) * 4, "pooling": "mean", "last_bias": True}
LARGE = {
    "generator_widths": (1024, 1024, 512, 256, 128, 64),
    "discriminator_widths": (64, 128, 256, 512, 1024, 1024),
    "discriminator_halvings": 5,
}
SMALL = {"latent_size": 5, "generator_widths": (5, 4), "discriminator_widths": (4, 5), "discriminator_halvings": 1}


def load(side=32, classes: int | None = None, layers=None, **settings):
    return models.load({"name": "resnet", **settings}, space.images((side, side, 3)), classes, layers or {})


@pytest.mark.parametrize(
    ("settings", "side", "generator", "discriminator"),
    [
        ({}, 32, 4_276_739, 1_053_824),
        (WGAN_GP, 32, 1_204_483, 1_053_825),
        ({"generator_widths": (256, 256, 256)}, 28, 128 * 49 * 256 + 49 * 256 + 2 * 1_246_976 + 512 + 6_915, 1_053_824),
    ],
    ids=["sngan", "wgan-gp", "28 pixels"],
)
def test_the_papers_networks_have_their_number_of_parameters(settings, side, generator, discriminator):
    networks = load(side, **settings)
    params, variables, images = shapes(networks.generator, 2, 128)
    assert (count(params), images.shape) == (generator, (2, side, side, 3))
    params, more, critique = shapes(networks.discriminator, 2, side, side, 3)
    assert (count(params), more, critique.logits.shape) == (discriminator, {}, (2,))
    assert critique.features.shape == (2, 128)
    assert_float32(params, variables, critique, images)
    assert networks.image_range == (-1.0, 1.0) and networks.convolutional and not networks.joint


def test_the_discriminator_has_eleven_kernels_and_the_generator_as_many():
    """Three in each block that changes the size, two in the others, and a dense layer: what spectral norm counts."""
    for network, inputs, expected in (
        (load().discriminator, (2, 32, 32, 3), 3 + 3 + 2 + 2 + 1),
        (load().generator, (2, 128), 1 + 3 * 3 + 1),
    ):
        paths = jax.tree_util.tree_flatten_with_path(shapes(network, *inputs)[0])[0]
        assert sum(path[-1].key == "kernel" for path, _ in paths) == expected


def test_the_widths_of_sngan_make_images_of_128_pixels():
    networks = load(128, **LARGE)
    assert shapes(networks.generator, 2, 128)[2].shape == (2, 128, 128, 3)
    params, _, critique = shapes(networks.discriminator, 2, 128, 128, 3)
    assert critique.features.shape == (2, 1024)
    # The hidden layer of a block is as wide as its inputs, but in the first block.
    layers = itertools.product(("DownBlock_0", "DownBlock_1"), ("WeightLayer_0", "WeightLayer_1"))
    kernels = [params[block][layer]["kernel"].shape for block, layer in layers]
    assert kernels == [(3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 64, 64), (3, 3, 64, 128)]


def test_latents_are_normal():
    drawn = np.asarray(load(latent_size=50).sample_latents(KEY, 2000))
    np.testing.assert_allclose([drawn.mean(), drawn.var()], [0, 1], atol=0.02)


@pytest.mark.parametrize(
    ("block", "layer", "std"),
    [
        (1, 0, 0.04167),  # 3 x 3, from 128 to 128 channels, with a gain of sqrt(2).
        (1, 1, 0.04167),
        (1, 2, np.sqrt(2 / 256)),  # 1 x 1, without.
        (0, 0, np.sqrt(4 / (9 * (3 + 128)))),
        (3, 1, 0.04167),
    ],
)
def test_kernels_start_with_the_papers_standard_deviation(initial, block, layer, std):
    kernel = np.asarray(initial[f"DownBlock_{block}"][f"WeightLayer_{layer}"]["kernel"])
    np.testing.assert_allclose(kernel.std(), std, rtol=0.02)
    np.testing.assert_allclose(np.abs(kernel).max(), std * np.sqrt(3), rtol=0.002)  # Uniform.


@pytest.fixture(scope="module")
def initial():
    network = load(4, generator_widths=(4,)).discriminator
    return jax.jit(lambda images: network.init(at(), images)[0])(jnp.zeros((1, 4, 4, 3)))


def test_the_last_layers_start_without_a_gain(initial):
    np.testing.assert_allclose(np.std(initial["WeightLayer_0"]["kernel"]), np.sqrt(2 / 129), rtol=0.15)
    assert "bias" not in initial["WeightLayer_0"]


def test_sum_and_mean_pooling_differ_by_the_number_of_pixels():
    """64 at 8 x 8, by which a mean would shrink the logits of SNGAN."""
    small = {"discriminator_widths": (4, 5), "discriminator_halvings": 2}
    networks = [load(32, **small, pooling=pooling).discriminator for pooling in ("sum", "mean")]
    images = jax.random.uniform(KEY, (3, 32, 32, 3), minval=-1.0)
    params, variables = jax.jit(lambda images: networks[0].init(at(), images))(images)
    sums, means = (network.apply(params, variables, at(), images)[0] for network in networks)
    assert np.all(np.abs(means.logits) > 1e-4)
    np.testing.assert_allclose(sums.features, 64 * means.features, rtol=1e-4)
    np.testing.assert_allclose(sums.logits, 64 * means.logits, rtol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_networks_say_whether_an_image_is_looked_at_by_itself(norm):
    networks = load(8, **SMALL, discriminator_norm=norm)
    images = jax.random.uniform(KEY, (4, 8, 8, 3), minval=-1.0)
    params, variables = jax.jit(lambda images: networks.discriminator.init(at(), images))(images)
    judge = jax.jit(lambda images: networks.discriminator.apply(params, variables, at(), images)[0].logits)
    others = judge(images.at[1:].multiply(-0.3))
    assert (judge(images)[0] == others[0]) == (norm != "batch") == ("independent_examples" in networks.gives)
    assert judge(images)[1] != others[1] and "plain_weights" in networks.gives


def test_classes_are_outputs_and_techniques_fill_the_places():
    networks = load(8, 4, **SMALL)
    _, _, critique = shapes(networks.discriminator, 3, 8, 8, 3)
    assert critique.class_logits.shape == (3, 4) and "class_logits" in networks.gives
    asked = {"generator_layer": [], "discriminator_layer": []}

    def remember(place):
        def layer(asked_for):
            asked[place].append(asked_for)
            return WeightLayer(asked_for)

        return layer

    networks = load(8, **SMALL, layers={place: remember(place) for place in asked})
    shapes(networks.generator, 2, 5)
    shapes(networks.discriminator, 2, 8, 8, 3)
    kinds = {
        place: [(each.kernel, each.features, each.is_last) for each in dict.fromkeys(found)]
        for place, found in asked.items()
    }
    assert kinds["generator_layer"] == [(0, 80, False), (3, 4, False), (1, 4, False), (3, 3, True)]
    assert kinds["discriminator_layer"] == [(3, 4, False), (1, 4, False), (3, 5, False), (1, 5, False), (0, 1, True)]
    assert "plain_weights" not in networks.gives


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    inputs = jax.random.uniform(KEY, {"generator": (12, 5), "discriminator": (12, 8, 8, 3)}[player], minval=-1.0)
    exact, rough = (getattr(load(8, **SMALL, precision=precision), player) for precision in ("float32", "bfloat16"))
    assert_nearly_the_same(exact, rough, inputs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 0),
        ("generator_widths", ()),
        ("generator_widths", (8, 0)),
        ("discriminator_widths", ()),
        ("discriminator_widths", (8, -1)),
        ("discriminator_halvings", 5),
        ("discriminator_halvings", -1),
        ("discriminator_halvings", 1.5),
        ("discriminator_norm", "group"),
        ("pooling", "max"),
        ("precision", "float16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [4, 28, 30, 136])
def test_images_that_do_not_fit_are_one_line_that_says_which_would(side):
    with pytest.raises(UserError, match=rf"{side} x {side} pixels .* multiples of 8, at most 128") as error:
        load(side)
    assert "\n" not in str(error.value) and "generator_widths" in str(error.value)


def test_the_discriminator_says_when_images_do_not_fit_it():
    with pytest.raises(UserError, match="with discriminator_halvings=4 they need multiples of 16"):
        load(24, generator_widths=(4, 4, 4), discriminator_widths=(4,) * 4, discriminator_halvings=4)
