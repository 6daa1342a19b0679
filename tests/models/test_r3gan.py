"""R3GAN's networks: the sizes of the paper's, how they begin, and what is asked of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import technique
from igan.layers.grouped_convolution import grouped_conv
from igan.layers.resampling import smooth_downsample, smooth_upsample
from igan.layers.weights import WeightLayer
from igan.techniques import label_embedding
from igan.types import Context
from tests.contexts import at
from tests.models.inspection import assert_float32, assert_nearly_the_same, count, shapes

KEY = jax.random.key(0)
SMALL = {"latent_size": 5, "widths": (6, 4), "blocks": 1, "group_size": 4}
# Of a block of 768 channels: two 1 x 1 convolutions, two biases, and 3 x 3 with 16 channels of inputs each.
BLOCK = 2 * 768 * 1536 + 2 * 1536 + 9 * 16 * 1536


def load(side=32, layers=None, **settings):
    return models.load({"name": "r3gan", **settings}, space.images((side, side, 3)), None, layers or {})


def labelled(network, classes, *inputs_shape):
    """The shapes of a network's parameters that is given labels."""

    def init(inputs):
        labels = jax.nn.one_hot(jnp.zeros(len(inputs), int), classes)
        return network.init(Context(jax.random.key(0), at().turn, True, labels), inputs)[0]

    return jax.eval_shape(init, jax.ShapeDtypeStruct(inputs_shape, jnp.float32))


def test_the_papers_networks_have_their_number_of_parameters():
    networks = load()
    params, variables, images = shapes(networks.generator, 2, 64)
    assert count(params["Block_3"]) == BLOCK == 2_583_552
    assert (count(params), variables) == (8 * BLOCK + 4 * 4 * 768 + 64 * 768 + 3 * 768, {})
    assert images.shape == (2, 32, 32, 3)
    params, more, critique = shapes(networks.discriminator, 2, 32, 32, 3)
    assert (count(params), more) == (8 * BLOCK + 3 * 768 + 4 * 4 * 768 + 768, {})
    assert (critique.logits.shape, critique.features.shape, critique.class_logits) == ((2,), (2, 768), None)
    assert_float32(params, images, critique)
    assert networks.image_range == (-1.0, 1.0) and networks.convolutional and not networks.joint
    assert networks.gives == {"independent_examples", "plain_weights"}


def test_with_the_labels_of_cifar10_they_are_those_of_the_paper():
    networks = load(layers=label_embedding.make().layers)
    assert count(labelled(networks.generator, 10, 2, 64)) == 20_781_952
    assert count(labelled(networks.discriminator, 10, 2, 32, 32, 3)) == 21_280_512


def test_the_generator_of_256_pixels_has_the_published_size():
    """23.058 million; 1 x 1 convolutions stand only where the width changes."""
    networks = load(256, widths=(768, 768, 768, 768, 384, 192, 96))
    params, _, images = shapes(networks.generator, 2, 64)
    assert (count(params), images.shape) == (23_057_952, (2, 256, 256, 3))
    params, _, _ = shapes(networks.discriminator, 2, 256, 256, 3)
    assert count(params) == 23_057_952 - 64 * 768 + 768  # The same blocks the other way round.


def initial(player, **settings):
    networks = load(8, **SMALL | settings)
    network = getattr(networks, player)
    inputs = jax.random.normal(KEY, {"generator": (4, 5), "discriminator": (4, 8, 8, 3)}[player])
    params, variables = jax.jit(lambda inputs: network.init(at(), inputs))(inputs)
    return params, inputs, jax.jit(lambda params, inputs: network.apply(params, variables, at(), inputs)[0])


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_blocks_are_identities_at_the_beginning(player):
    params, inputs, apply = initial(player, blocks=2)
    blocks = [name for name in params if name.startswith("Block")]
    assert len(blocks) == 4 and all(not np.any(params[name]["WeightLayer_2"]["kernel"]) for name in blocks)
    assert all("bias" not in params[name]["WeightLayer_2"] for name in blocks)
    shuffled = {
        name: jax.tree.map(lambda leaf: 3 * leaf, params[name]) if name in blocks else params[name] for name in params
    }
    jax.tree.map(np.testing.assert_array_equal, apply(params, inputs), apply(shuffled, inputs))
    moved = jax.tree.map(lambda leaf: leaf + 0.1, {name: params[name] for name in blocks})
    one, other = (jax.tree.leaves(apply({**params, **each}, inputs))[0] for each in ({}, moved))
    assert np.abs(one - other).max() > 1e-2


def test_kernels_start_the_smaller_the_more_blocks_there_are():
    """N(0, g^2 / fan in) with g = sqrt(2 / 1.04) L^(-1/4), and fan in within a group; biases are zero."""
    networks = load(8, widths=(64, 64), blocks=4, latent_size=32)
    params = jax.jit(lambda: networks.generator.init(at(), jnp.zeros((1, 32)))[0])()
    gain = np.sqrt(2 / 1.04) * 8**-0.25
    for layer, fan in (("WeightLayer_0", 64), ("WeightLayer_1", 9 * 16)):
        kernels = np.stack([params[f"Block_{index}"][layer]["kernel"] for index in range(8)])
        np.testing.assert_allclose([kernels.mean(), kernels.std()], [0, gain / np.sqrt(fan)], atol=3e-3 * gain)
        assert not any(np.any(params[f"Block_{index}"][layer]["bias"]) for index in range(8))
    np.testing.assert_allclose(np.std(params["basis"]), 1, rtol=0.1)
    np.testing.assert_allclose(np.std(params["WeightLayer_0"]["kernel"]), 1 / np.sqrt(32), rtol=0.1)


def test_labels_start_as_the_papers():
    """Directions of classes with the standard deviation 1 / sqrt(classes), and that of the number of features."""
    classes, labels = 100, jax.nn.one_hot(jnp.arange(4), 100)
    context = Context(KEY, at().turn, True, labels)
    head, beside = label_embedding.InnerProduct(), label_embedding.Beside(64)
    params = head.init(KEY, jnp.zeros((4, 48)), context)["params"]
    np.testing.assert_allclose(np.std(params["WeightLayer_1"]["kernel"]), 1 / np.sqrt(48 * classes), rtol=0.05)
    np.testing.assert_allclose(np.std(params["WeightLayer_0"]["kernel"]), 1 / np.sqrt(48), rtol=0.05)
    features = jax.random.normal(KEY, (4, 48))
    expected = np.einsum(
        "nf,fg,ng->n", features, params["WeightLayer_0"]["kernel"], params["WeightLayer_1"]["kernel"][:4]
    )
    np.testing.assert_allclose(head.apply({"params": params}, features, context), expected, rtol=1e-4)
    params = beside.init(KEY, jnp.zeros((4, 5)), context)["params"]
    found = beside.apply({"params": params}, jnp.ones((4, 5)), context)
    np.testing.assert_array_equal(found, np.hstack([np.ones((4, 5)), params["WeightLayer_0"]["kernel"][:4]]))


def test_images_leave_the_range_of_pixels():
    params, inputs, apply = initial("generator")
    assert np.abs(apply(params, 10 * inputs)).max() > 2
    np.testing.assert_allclose(apply(params, 10 * inputs), 10 * apply(params, inputs), rtol=1e-4, atol=1e-4)


def test_each_image_is_looked_at_by_itself():
    params, images, apply = initial("discriminator")
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    one, other = apply(params, images).logits, apply(params, images.at[1:].multiply(-0.3)).logits
    assert one[0] == other[0] and one[1] != other[1]


@pytest.mark.parametrize("name", ["minibatch_discrimination", "virtual_batch_norm"])
def test_what_compares_images_has_no_place(name):
    layers = technique.layers(technique.load({name: {"enabled": True}}))
    with pytest.raises(UserError, match="the networks 'r3gan' have no place"):
        load(layers=layers)


def test_grouped_convolutions_are_those_of_xla(random):
    for groups, padding, features in ((3, 1, 9), (6, 1, 6), (6, 0, 12), (1, 1, 5)):
        images, kernel = random.normal(size=(2, 5, 4, 6)), random.normal(size=(3, 3, 6 // groups, features))
        layout, pads = ("NHWC", "HWIO", "NHWC"), [(padding, padding)] * 2

        def xla(images, kernel, groups=groups, layout=layout, pads=pads):
            return jax.lax.conv_general_dilated(
                images, kernel, (1, 1), pads, dimension_numbers=layout, feature_group_count=groups
            )

        ours = lambda images, kernel, groups=groups, padding=padding: grouped_conv(images, kernel, groups, padding)  # noqa: E731
        with jax.enable_x64(True):
            given = jnp.asarray(images), jnp.asarray(kernel)
            slopes = [jax.grad(lambda *each, conv=conv: jnp.sum(jnp.tanh(conv(*each))), (0, 1)) for conv in (ours, xla)]
            np.testing.assert_allclose(ours(*given), xla(*given), rtol=1e-10)
            jax.tree.map(
                lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-9), *(each(*given) for each in slopes)
            )


def test_resampling_is_bilinear(random):
    line = jnp.asarray(random.normal(size=6), jnp.float32)
    found = smooth_upsample(jnp.broadcast_to(line[:, None], (6, 6))[None, ..., None])[0, :, 5, 0]
    between = np.interp(np.arange(1, 11) / 2 - 0.25, np.arange(6), line)  # A quarter to each side of a pixel.
    np.testing.assert_allclose(found[1:11], between, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0], 0.75 * line[0], rtol=1e-6)  # Zeros around.
    images, others = (
        random.normal(size=(2, 4, 6, 3)).astype(np.float32),
        random.normal(size=(2, 8, 12, 3)).astype(np.float32),
    )
    one, other = jnp.sum(smooth_upsample(images) * others), 4 * jnp.sum(images * smooth_downsample(others))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    np.testing.assert_allclose(smooth_downsample(jnp.ones((1, 8, 8, 1)))[0, 1:3, 1:3, 0], np.ones((2, 2)))


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    inputs = jax.random.uniform(KEY, {"generator": (12, 5), "discriminator": (12, 8, 8, 3)}[player], minval=-1.0)
    exact, rough = (getattr(load(8, **SMALL, precision=precision), player) for precision in ("float32", "bfloat16"))
    assert_nearly_the_same(exact, rough, inputs)


def test_techniques_hold_the_weights():
    asked = {"generator_layer": [], "discriminator_layer": []}

    def remember(place):
        return lambda layer: asked[place].append(layer) or WeightLayer(layer)

    networks = load(8, **SMALL, layers={place: remember(place) for place in asked})
    shapes(networks.generator, 2, 5)
    shapes(networks.discriminator, 2, 8, 8, 3)
    assert len(dict.fromkeys(asked["generator_layer"])) >= 6 <= len(dict.fromkeys(asked["discriminator_layer"]))
    assert [each.features for each in asked["discriminator_layer"] if each.is_last] == [1, 1]
    assert "plain_weights" not in networks.gives


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 0),
        ("widths", ()),
        ("widths", (8, 0)),
        ("blocks", 0),
        ("blocks", 1.5),
        ("group_size", 0),
        ("group_size", 7),
        ("precision", "float16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [28, 64])
def test_images_that_do_not_fit_are_one_line_that_says_which_would(side):
    with pytest.raises(
        UserError,
        match=rf"{side} x {side} pixels .* they need squares of 24, 32, 40, 48, 56 pixels\. Set .*networks\.widths",
    ) as error:
        load(side)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, 1.5, float("nan")])
def test_a_size_of_labels_that_cannot_be_is_refused(size):
    with pytest.raises(UserError, match=r"techniques\.label_embedding\.size is "):
        label_embedding.make(size)
