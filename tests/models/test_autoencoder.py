"""The networks of boundary equilibrium GANs: the sizes of the paper's, and what is asked of them."""

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
SMALL = {"latent_size": 5, "width": 4, "smallest": 4}
# By hand, for n = 128 and codes of 64 numbers: a 3 x 3 convolution from a to b channels has 9 a b + b.
SAME = 9 * 128 * 128 + 128
ENCODER = [
    *(9 * 3 * 128 + 128, SAME, SAME, SAME),
    *(9 * 128 * 256 + 256, 9 * 256 * 256 + 256, 9 * 256 * 256 + 256),
    *(9 * 256 * 384 + 384, 9 * 384 * 384 + 384, 8 * 8 * 384 * 64 + 64),
]
DECODER = [64 * 8 * 8 * 128 + 8 * 8 * 128, *[SAME] * 6, 9 * 128 * 3 + 3]


def load(side=32, classes: int | None = None, layers=None, **settings):
    return models.load({"name": "autoencoder", **settings}, space.images((side, side, 3)), classes, layers or {})


def counts(params):
    return [count(params[f"WeightLayer_{index}"]) for index in range(len(params))]


def test_the_papers_networks_have_their_number_of_parameters():
    networks = load()
    params, variables, images = shapes(networks.generator, 2, 64)
    assert counts(params) == DECODER and count(params) == 1_421_443
    assert (images.shape, variables) == ((2, 32, 32, 3), {})
    params, more, critique = shapes(networks.discriminator, 2, 32, 32, 3)
    assert counts(params["encoder"]) == ENCODER and counts(params["decoder"]) == DECODER
    assert count(params) == 5_707_200 + 1_421_443
    assert (critique.logits.shape, critique.features.shape) == ((2,), (2, 64))
    assert critique.reconstruction.shape == (2, 32, 32, 3) and critique.class_logits is None and more == {}
    assert_float32(params, images, critique)
    assert networks.image_range == (-1.0, 1.0) and networks.convolutional and not networks.joint


@pytest.mark.parametrize(
    ("side", "smallest", "sides"),
    [
        (32, 0, [32, 16, 8]),
        (64, 0, [64, 32, 16, 8]),
        (128, 0, [128, 64, 32, 16, 8]),
        (28, 0, [28, 14, 7]),
        (8, 0, [8]),
        (48, 3, [48, 24, 12, 6, 3]),
    ],
)
def test_maps_are_halved_and_their_channels_grow_linearly(side, smallest, sides):
    """64, 32, 16, 8 with n, 2 n, 3 n, 4 n: a convolution of stride 2 has as many channels as those before it."""
    seen = []

    def remember(asked):
        def layer(inputs, context):
            outputs = WeightLayer(asked)(inputs, context)
            if asked.kernel:
                seen.append((outputs.shape[1], outputs.shape[-1], asked.stride))
            return outputs

        return layer

    networks = load(side, layers={"discriminator_layer": remember}, latent_size=5, width=2, smallest=smallest)
    shapes(networks.discriminator, 2, side, side, 3)
    expected = [(side, 2, 1)]
    for level, each in enumerate(sides, 1):
        expected += [(each, 2 * level, 1)] * 2
        if level < len(sides):
            expected.append((each // 2, 2 * level, 2))
    expected += [(each, 2, 1) for each in reversed(sides) for _ in range(2)] + [(side, 3, 1)]
    assert seen == 2 * expected  # Of `init` and of `apply`.
    assert shapes(networks.generator, 2, 5)[2].shape == (2, side, side, 3)


def played(side=16, images=3, **settings):
    """A discriminator with its initial parameters, and what it says of images, for any parameters."""
    networks = load(side, **SMALL | settings)
    shown = jax.random.uniform(KEY, (images, side, side, 3), minval=-1.0)
    params, variables = jax.jit(lambda images: networks.discriminator.init(at(), images))(shown)
    judge = jax.jit(lambda params, images: networks.discriminator.apply(params, variables, at(), images)[0])
    return params, shown, judge


def test_each_image_is_looked_at_by_itself():
    params, images, judge = played()
    one, other = judge(params, images), judge(params, images.at[1:].multiply(-0.3))
    np.testing.assert_array_equal(one.reconstruction[0], other.reconstruction[0])
    assert np.abs(one.reconstruction[1] - other.reconstruction[1]).max() > 1e-3
    assert {"independent_examples", "reconstruction", "plain_weights"} == load().gives
    assert "plain_weights" not in load(layers={"discriminator_layer": WeightLayer}).gives


@pytest.mark.parametrize(
    ("part", "layer", "field"),
    [("decoder", "WeightLayer_7", "reconstruction"), ("encoder", "WeightLayer_9", "features")],
)
def test_images_and_codes_are_linear_functions_of_the_layer_before(part, layer, field):
    """No tanh at the end, so that pixels leave their range, and no ELU on the code, which would end at -1."""
    params, images, judge = played()
    kernel = params[part][layer]["kernel"]
    wilder = {**params, part: {**params[part], layer: {**params[part][layer], "kernel": 100 * kernel}}}
    before, after = (np.asarray(getattr(judge(each, images), field)) for each in (params, wilder))
    np.testing.assert_allclose(after, 100 * before, rtol=1e-4, atol=1e-4)
    assert after.max() > 2 and after.min() < -2


def test_logits_are_minus_the_mean_error_of_each_reconstruction():
    params, images, judge = played()
    found = judge(params, images)
    errors = np.abs(np.float64(images) - np.float64(found.reconstruction)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.logits, -errors, rtol=1e-5)


def test_latents_are_uniform():
    drawn = np.asarray(load(latent_size=50).sample_latents(KEY, 2000))
    assert -1 <= drawn.min() < -0.99 and 0.99 < drawn.max() < 1
    np.testing.assert_allclose([drawn.mean(), drawn.var()], [0, 1 / 3], atol=0.01)


def test_decoder_and_generator_are_alike_with_weights_of_their_own():
    networks = load(16, **SMALL)
    generator = shapes(networks.generator, 2, 5)[0]
    decoder = shapes(networks.discriminator, 2, 16, 16, 3)[0]["decoder"]
    assert jax.tree.map(jnp.shape, generator) == jax.tree.map(jnp.shape, decoder)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    inputs = jax.random.uniform(KEY, {"generator": (12, 5), "discriminator": (12, 8, 8, 3)}[player], minval=-1.0)
    exact, rough = (getattr(load(8, **SMALL, precision=precision), player) for precision in ("float32", "bfloat16"))
    assert_nearly_the_same(exact, rough, inputs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 0),
        ("latent_size", 1.5),
        ("width", 0),
        ("width", 2.5),
        ("smallest", -1),
        ("smallest", 4.0),
        ("smallest", 129),
        ("precision", "float16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("side", "smallest"), [(24, 0), (30, 0), (256, 0), (4, 0), (32, 7), (32, 3)])
def test_images_that_do_not_fit_are_one_line_that_says_which_would(side, smallest):
    expected = smallest or "8 or 7"
    with pytest.raises(UserError, match=rf"{side} x {side} pixels .* {expected} times a power of two") as error:
        load(side, smallest=smallest)
    assert "\n" not in str(error.value) and "smallest" in str(error.value)


def test_images_that_are_no_squares_are_refused():
    with pytest.raises(UserError, match="32 x 16 pixels"):
        models.load({"name": "autoencoder"}, space.images((32, 16, 3)), None, {})


@pytest.mark.parametrize("place", ["generator_norm", "discriminator_features"])
def test_there_is_no_place_for_a_normalisation(place):
    with pytest.raises(UserError, match=f"no place '{place}'"):
        load(layers={place: lambda: None})
