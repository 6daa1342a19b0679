"""The paper's ImageNet networks: their sizes worked out by hand, their outputs, and how a latent is laid out."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import imagenet as experiment
from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import technique
from igan.layers.minibatch_discrimination import MinibatchDiscrimination
from igan.models import imagenet
from tests.contexts import at
from tests.models.inspection import assert_float32, count, shapes

KEY = jax.random.key(0)
SMALL = {
    "latent_size": 7,
    "generator_widths": (6, 5, 4),
    "noise_channels": (3, 2, 2),
    "discriminator_widths": (5, 6, 7),
    "discriminator_strides": (2, 1, 2),
    "dense_width": 9,
}
SIDE = 16  # Of the images that three levels make.
NOISE = 3 * 4**2 + 2 * 8**2 + 2 * 16**2  # Numbers in the noise maps of one latent.
# At full size, 4 to 128 pixels.
PAPERS_NOISE = 64 * 4**2 + 64 * 8**2 + 32 * 16**2 + 16 * 32**2 + 8 * 64**2 + 8 * 128**2


def load(image_shape=(SIDE, SIDE, 3), classes: int | None = 4, layers=None, **settings):
    return models.load({"name": "imagenet", **SMALL, **settings}, space.images(image_shape), classes, layers or {})


def of_experiment(classes: int | None = 1000):
    """The networks of experiments/imagenet.py, with all its techniques."""
    config = experiment.get_config()
    layers = technique.layers(technique.load(config.techniques))
    return models.load(config.networks, space.images((128, 128, 3)), classes, layers)


def test_the_papers_generator_has_the_size_counted_by_hand():
    params, variables, images = shapes(of_experiment().generator, 64, 8192 + PAPERS_NOISE)
    # A level's noise maps are concatenated behind its normalisation, so the next convolution sees them too.
    assert {name: count(layer) for name, layer in params["generator"].items()} == {
        "Dense_0": 8192 * (4 * 4 * 512),
        "TransposedConv_0": 5 * 5 * (512 + 64) * 256,
        "TransposedConv_1": 5 * 5 * (256 + 64) * 128,
        "TransposedConv_2": 5 * 5 * (128 + 32) * 64,
        "TransposedConv_3": 5 * 5 * (64 + 16) * 64,
        "TransposedConv_4": 5 * 5 * (64 + 8) * 64,
        "VirtualBatchNorm_0": 512,  # A shift for each channel, and no scale.
        "VirtualBatchNorm_1": 256,
        "VirtualBatchNorm_2": 128,
        **{f"VirtualBatchNorm_{level}": 64 for level in (3, 4, 5)},
        "Conv_0": 5 * 5 * (64 + 8) * 3 + 3,
    }
    assert count(params) == 72_324_955
    reference_batch = 64 * (8192 + PAPERS_NOISE)
    assert count(variables) == 2 * (512 + 256 + 128 + 3 * 64) + reference_batch
    assert images.shape == (64, 128, 128, 3)
    assert_float32(params, variables, images)


def test_the_papers_discriminator_has_the_size_counted_by_hand():
    params, variables, critique = shapes(of_experiment().discriminator, 128, 128, 128, 3)
    assert {name: count(layer) for name, layer in params.items()} == {
        "Conv_0": 3 * 3 * 3 * 64 + 64,  # The only one with a bias: the others are normalised, with a shift.
        "Conv_1": 3 * 3 * 64 * 128,
        "Conv_2": 3 * 3 * 128 * 256,
        "Conv_3": 3 * 3 * 256 * 256,
        "Conv_4": 3 * 3 * 256 * 256,
        "Conv_5": 3 * 3 * 256 * 512,
        "Conv_6": 3 * 3 * 512 * 512,
        "ShiftBatchNorm_0": 128,
        **{f"ShiftBatchNorm_{index}": 256 for index in (1, 2, 3)},
        **{f"ShiftBatchNorm_{index}": 512 for index in (4, 5)},
        "Dense_0": (4 * 4 * 512) * 2560,  # Five of the seven convolutions halve 128 pixels: 4 are left.
        "ShiftBatchNorm_6": 2560,
        # 300 kernels of 50 dimensions, a log-scale for each of those, and a bias for each kernel and half of the batch.
        "MinibatchDiscrimination_0": 2560 * 300 * 50 + 300 * 50 + 2 * 300,
        "Dense_1": (2560 + 2 * 300) * 1001 + 1001,  # The last output is "generated".
    }
    assert count(params) == 67_644_785
    assert count(variables) == 2 * (128 + 3 * 256 + 2 * 512 + 2560)
    assert critique.features.shape == (128, 2560)
    assert critique.class_logits.shape == (128, 1000)
    assert critique.logits.shape == (128,)
    assert_float32(params, variables, critique)


def test_without_labels_the_discriminator_has_one_logit():
    params, _, critique = shapes(of_experiment(classes=None).discriminator, 128, 128, 128, 3)
    assert count(params["Dense_1"]) == 2560 + 2 * 300 + 1
    assert critique.logits.shape == (128,) and critique.class_logits is None


def images():
    return jax.random.uniform(jax.random.key(3), (10, SIDE, SIDE, 3), minval=-1.0)


def small_discriminator(dtype=jnp.float32, **settings):
    return imagenet.Discriminator((5, 6, 7), (2, 1, 2), 9, 0.1, 4, dtype, **settings)


def run(module: nn.Module):
    """A discriminator's critique of the images on which it is initialised, its parameters, and its layers' outputs."""
    keys = {"params": KEY, "noise": jax.random.key(1)}
    variables = module.init(keys, images(), at())
    # Larger, so that the outputs of the last layer are far from zero.
    variables["params"]["Dense_1"]["kernel"] *= 50
    mutable = ["statistics", "intermediates"]
    critique, found = module.apply(variables, images(), at(), rngs=keys, capture_intermediates=True, mutable=mutable)
    layers = {name: layer["__call__"][0] for name, layer in found["intermediates"].items() if name != "__call__"}
    return critique, variables["params"], layers


def test_bfloat16_is_for_the_convolutions_and_not_for_parameters_and_outputs():
    networks = load(precision="bfloat16")
    assert_float32(shapes(networks.generator, 3, 7 + NOISE), shapes(networks.discriminator, 6, SIDE, SIDE, 3))
    for network, shape in ((networks.generator, (3, 7 + NOISE)), (networks.discriminator, (6, SIDE, SIDE, 3))):
        apply = lambda inputs, network=network: network.apply(*network.init(at(), inputs), at(), inputs)  # noqa: E731
        program = str(jax.make_jaxpr(apply)(jnp.zeros(shape)))
        outputs = re.findall(r":(\w+)\[[\d,]+\] = conv_general_dilated", program)
        assert outputs and set(outputs) == {"bf16"}


@pytest.fixture(scope="module")
def discriminated():
    on_features = functools.partial(MinibatchDiscrimination, 4, 3)
    return jax.tree.map(np.float64, jax.jit(lambda: run(small_discriminator(on_features=on_features)))())


def test_the_class_logits_are_the_outputs_less_that_of_generated(discriminated):
    critique, _, layers = discriminated
    outputs = layers["Dense_1"]
    assert outputs.shape == (10, 4 + 1) and outputs.std() > 0.5
    np.testing.assert_allclose(critique.class_logits, outputs[:, :4] - outputs[:, 4:], rtol=1e-5, atol=1e-5)
    # The paper's logit: log of p(any class) / p(generated).
    logit = np.log(np.exp(outputs[:, :4]).sum(axis=1)) - outputs[:, 4]
    np.testing.assert_allclose(critique.logits, logit, rtol=1e-5, atol=1e-5)


def test_the_features_are_the_last_dense_layer_normalised(discriminated):
    critique, _, layers = discriminated
    hidden = layers["Dense_0"]
    normalized = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-6)
    np.testing.assert_allclose(critique.features, np.where(normalized > 0, 1, 0.2) * normalized, rtol=1e-3, atol=1e-4)
    sides = [layers[f"Conv_{index}"].shape[1:] for index in range(3)]
    assert sides == [(8, 8, 5), (8, 8, 6), (4, 4, 7)]


def test_the_noise_on_the_pixels_has_the_standard_deviation_asked_for(discriminated):
    _, _, layers = discriminated
    noise = layers["GaussianNoise_0"] - np.float64(images())
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.1], atol=0.005)


def test_minibatch_features_are_the_mean_closeness_to_each_half_of_the_joint_batch(discriminated):
    critique, params, layers = discriminated
    layer = params["MinibatchDiscrimination_0"]
    unit = layer["direction"] / np.sqrt(np.square(layer["direction"]).sum(axis=0))
    embedding = np.einsum("na,abc->nbc", critique.features, unit * np.exp(layer["log_scale"]))
    expected = np.zeros((10, 2, 4))
    for row in range(10):
        for half, examples in enumerate((range(0, 10, 2), range(1, 10, 2))):
            others = [other for other in examples if other != row]
            distances = [np.abs(embedding[row] - embedding[other]).sum(axis=1) for other in others]
            expected[row, half] = np.exp(-np.array(distances)).mean(axis=0)
    found = layers["MinibatchDiscrimination_0"]
    np.testing.assert_array_equal(found[:, :9], critique.features)
    np.testing.assert_allclose(found[:, 9:], expected.reshape(10, 8) + layer["bias"], rtol=0, atol=1e-5)


def test_a_technique_that_adds_minibatch_features_is_asked_for_halves():
    config = {"minibatch_discrimination": {"enabled": True, "kernels": 5, "dimensions": 3}}
    networks = load(layers=technique.layers(technique.load(config)))
    params, _, _ = shapes(networks.discriminator, 6, SIDE, SIDE, 3)
    assert params["MinibatchDiscrimination_0"]["bias"].shape == (2 * 5,)
    assert networks.joint and networks.convolutional and networks.image_range == (-1.0, 1.0)


def test_latents_are_uniform_from_minus_1_to_1_and_hold_the_noise_maps():
    latents = np.asarray(load().sample_latents(KEY, 300))
    assert latents.shape == (300, 7 + NOISE) and latents.dtype == np.float32
    assert -1 <= latents.min() < -1 + 1e-4 and 1 - 1e-4 < latents.max() < 1
    np.testing.assert_allclose([latents.mean(), latents.var()], [0, 1 / 3], atol=0.01)
    of_paper = jax.eval_shape(lambda: of_experiment().sample_latents(KEY, 64))
    assert of_paper.shape == (64, 8192 + 193_536)


@pytest.fixture(scope="module")
def generated():
    """A small generator with the paper's initial parameters, and a function from latents to its images."""
    network = load().generator
    params, variables = jax.jit(lambda latents: network.init(at(), latents))(load().sample_latents(KEY, 30))
    return params, jax.jit(lambda latents: network.apply(params, variables, at(KEY, train=False), latents)[0])


@pytest.mark.parametrize(
    # Where a level's noise begins in the latent, and which pixels see its place (row 3, column 1).
    ("side", "channels", "begin", "rows", "columns"),
    [
        (4, 3, 7, (4, 16), (0, 16)),
        (8, 2, 7 + 3 * 4**2, (2, 11), (0, 7)),
        (16, 2, 7 + 3 * 4**2 + 2 * 8**2, (1, 6), (0, 4)),
    ],
)
def test_a_number_of_a_noise_map_reaches_the_pixels_around_its_place(generated, side, channels, begin, rows, columns):
    _, draw = generated
    latents = np.tile(np.asarray(load().sample_latents(jax.random.key(5), 1)), (2, 1))
    latents[1, begin + (3 * side + 1) * channels + 1] += 1.0
    before, after = np.asarray(draw(latents))
    changed = np.abs(after - before).max(axis=2) > 1e-6
    allowed = np.zeros((SIDE, SIDE), bool)
    allowed[slice(*rows), slice(*columns)] = True
    assert changed.any() and not (changed & ~allowed).any()
    if side == SIDE:  # One convolution away, with no ReLU between.
        np.testing.assert_array_equal(changed, allowed)


def test_the_pixels_start_as_in_the_released_code(generated):
    params, _ = generated
    np.testing.assert_allclose(params["Conv_0"]["bias"], -0.45)
    np.testing.assert_allclose(np.std(params["Conv_0"]["kernel"]), 0.075, rtol=0.15)
    for name in ("Dense_0", "TransposedConv_0", "TransposedConv_1"):
        np.testing.assert_allclose(np.std(params[name]["kernel"]), 0.02, rtol=0.1)


def test_the_defaults_are_the_papers():
    assert models.defaults("imagenet") == {
        "name": "imagenet",
        "latent_size": 8192,
        "generator_widths": (512, 256, 128, 64, 64, 64),
        "noise_channels": (64, 64, 32, 16, 8, 8),
        "discriminator_widths": (64, 128, 256, 256, 256, 512, 512),
        "discriminator_strides": (2, 2, 2, 1, 1, 2, 2),
        "dense_width": 2560,
        "input_noise": 0.1,
        "precision": "float32",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 0),
        ("generator_widths", ()),
        ("generator_widths", (8, 0, 4)),
        ("noise_channels", (3, 2)),
        ("noise_channels", (3, 2, -1)),
        ("discriminator_widths", ()),
        ("discriminator_widths", (8, -1, 4)),
        ("discriminator_strides", (2, 2)),
        ("discriminator_strides", (2, 0, 2)),
        ("dense_width", 0),
        ("input_noise", -0.1),
        ("input_noise", float("nan")),
        ("precision", "float16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sides", [(32, 32), (16, 32), (17, 17)])
def test_images_that_do_not_fit_are_one_line_that_says_which_would(sides):
    with pytest.raises(UserError, match=r"make 16 x 16; set --config.data.image_size=16 ") as error:
        load((*sides, 3))
    assert "\n" not in str(error.value) and f"{sides[0]} x {sides[1]} pixels" in str(error.value)
