"""The networks of strided convolutions: the sizes of the papers' ones, and what is asked of them."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gans, stacked_mnist
from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import technique
from igan.layers.weights import WeightLayer
from igan.models.dcgan import initializer
from igan.models.dcgan import shapes as sides_of
from tests.contexts import at
from tests.models.inspection import assert_float32, assert_nearly_the_same, count, shapes

KEY = jax.random.key(0)
NARROW_SN, WIDE_SN = (64, 64, 128, 128, 256, 256, 512), (64, 128, 128, 256, 256, 512, 512)
SNGAN = gans.SNGAN | {"generator_norm": "convolutions"}  # As the paper's table says.
WGAN_GP = gans.WGAN_GP | {"discriminator_norm": "none"}
UNROLLED = stacked_mnist.UNROLLED
MINIBATCH = "minibatch_discrimination"
SMALL = {"latent_size": 5, "generator_widths": (5, 4), "discriminator_widths": (4, 5)}


def load(side=32, classes: int | None = None, layers=None, **settings):
    return models.load({"name": "dcgan", **settings}, space.images((side, side, 3)), classes, layers or {})


@pytest.mark.parametrize(
    ("settings", "side", "generator", "discriminator"),
    [
        ({}, 32, 4_514_819, 4_310_401),  # By hand, see below.
        (SNGAN, 32, 3_812_355, 2_935_873),
        (SNGAN | {"generator_norm": "batch", "discriminator_widths": WIDE_SN}, 32, 3_813_379, 5_860_865),
        (SNGAN | {"generator_norm": "flat"}, 32, 3_828_739, 2_935_873),
        (WGAN_GP, 32, 5_179_907, 4_114_689),
        (UNROLLED | {"discriminator_widths": (2, 4, 8)}, 28, 287_875, 585),
        (UNROLLED | {"discriminator_widths": (4, 8, 16)}, 28, 287_875, 1_889),
    ],
    ids=["dcgan", "sngan", "sngan, wide", "sngan, flat", "wgan-gp", "unrolled, 1/4", "unrolled, 1/2"],
)
def test_the_papers_networks_have_their_number_of_parameters(settings, side, generator, discriminator):
    networks = load(side, **settings)
    size = settings.get("latent_size", 100)
    params, variables, images = shapes(networks.generator, 2, size)
    assert (count(params), images.shape) == (generator, (2, side, side, 3))
    assert networks.sample_latents(KEY, 3).shape == (3, size)
    params, more, critique = shapes(networks.discriminator, 2, side, side, 3)
    assert (count(params), critique.logits.shape) == (discriminator, (2,))
    assert_float32(params, variables, more, critique, images)
    assert networks.image_range == (-1.0, 1.0) and networks.convolutional and not networks.joint


def test_the_sizes_of_dcgan_are_those_worked_out_by_hand():
    params, _, _ = shapes(load().generator, 2, 100)
    kernels = [100 * 2 * 2 * 512, 25 * 512 * 256, 25 * 256 * 128, 25 * 128 * 64, 25 * 64 * 3]
    biases = [2 * 2 * 512, 256, 128, 64, 3]
    assert [count(params[f"WeightLayer_{index}"]) for index in range(5)] == [
        kernel + bias for kernel, bias in zip(kernels, biases, strict=True)
    ]
    assert [count(params[f"BatchNorm_{index}"]) for index in range(4)] == [2 * 512, 2 * 256, 2 * 128, 2 * 64]
    params, variables, critique = shapes(load().discriminator, 2, 32, 32, 3)
    assert critique.features.shape == (2, 2 * 2 * 512)
    assert count(variables) == 2 * (128 + 256 + 512)  # No normalisation of the first layer.


@pytest.mark.parametrize(
    ("height", "width", "times", "expected"),
    [
        (28, 28, 4, [(2, 2), (4, 4), (7, 7), (14, 14), (28, 28)]),
        (32, 28, 3, [(4, 4), (8, 7), (16, 14), (32, 28)]),
        (128, 128, 5, [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (128, 128)]),
    ],
)
def test_sides_are_halves_rounded_up(height, width, times, expected):
    assert sides_of((height, width), times) == expected


@pytest.mark.parametrize("side", [8, 12, 20, 28, 32, 44, 64, 96, 128])
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_any_multiple_of_four_works(side, kernel):
    networks = load(side, **SMALL, generator_kernel=kernel, discriminator_kernel=kernel)
    assert shapes(networks.generator, 2, 5)[2].shape == (2, side, side, 3)
    features = shapes(networks.discriminator, 2, side, side, 3)[2].features
    assert features.shape == (2, 5 * (side // 4) ** 2)


@pytest.mark.parametrize(("kernel", "last"), [(5, 4), (4, 3), (3, 4)])
def test_an_odd_image_of_the_discriminator_is_halved_as_pytorch_does_it(kernel, last):
    """28, 14, 7: a kernel of side 4 with one zero on each side has three places on 7 pixels, the others have four."""
    networks = load(28, **SMALL | {"discriminator_widths": (3, 3, 2)}, discriminator_kernel=kernel)
    assert shapes(networks.discriminator, 2, 28, 28, 3)[2].features.shape == (2, last * last * 2)


@pytest.mark.parametrize(("latents", "low", "variance"), [("uniform", -1.0, 1 / 3), ("normal", -6.0, 1.0)])
def test_latents_have_the_distribution_asked_for(latents, low, variance):
    drawn = np.asarray(load(latents=latents, latent_size=50).sample_latents(KEY, 2000))
    assert drawn.dtype == np.float32 and low <= drawn.min() < low / 2
    np.testing.assert_allclose([drawn.mean(), drawn.var()], [0, variance], atol=0.02)


def test_kernels_start_with_the_standard_deviation_asked_for():
    kernel = initializer(0.02)(KEY, (5, 5, 64, 64))
    np.testing.assert_allclose([np.mean(kernel), np.std(kernel)], [0, 0.02], atol=2e-4)
    assert np.abs(kernel).max() > 0.06  # Normal, not uniform.
    # WGAN-GP's: a strided convolution has outputs at a quarter of the places, a transposed one a quarter of inputs.
    for settings, fans in (
        ({"stride": 2}, 25 * 32 + 25 * 64 / 4),
        ({"stride": 2, "transposed": True}, 25 * 32 / 4 + 25 * 64),
        ({}, 25 * 32 + 25 * 64),
    ):
        kernel = np.asarray(initializer(0.0, **settings)(KEY, (5, 5, 32, 64)))
        np.testing.assert_allclose(np.std(kernel), math.sqrt(4 / fans), rtol=0.01)
        np.testing.assert_allclose(np.abs(kernel).max(), math.sqrt(12 / fans), rtol=0.001)
    dense = np.asarray(initializer(0.0, dense=True)(KEY, (128, 512)))
    np.testing.assert_allclose(np.std(dense), math.sqrt(2 / 640), rtol=0.01)


def test_each_layer_is_initialised_as_its_kind_is():
    networks = load(8, **SMALL | {"latent_size": 40, "generator_widths": (40, 20)}, kernel_std=0.0)
    params, _ = jax.jit(lambda latents: networks.generator.init(at(), latents))(jnp.ones((2, 40)))
    for layer, fans, gain in (
        (0, 40 + 2 * 2 * 40, 2),
        (1, 25 * 40 / 4 + 25 * 20, 4),
        (2, 25 * 20 / 4 + 25 * 3, 4),
    ):
        kernel = params[f"WeightLayer_{layer}"]["kernel"]
        np.testing.assert_allclose(np.std(kernel), math.sqrt(gain / fans), rtol=0.05)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_networks_say_whether_an_image_is_looked_at_by_itself(norm):
    networks = load(8, **SMALL, discriminator_norm=norm, kernel_std=0.2)
    images = jax.random.uniform(KEY, (4, 8, 8, 3), minval=-1.0)
    params, variables = jax.jit(lambda images: networks.discriminator.init(at(), images))(images)
    judge = jax.jit(lambda images: networks.discriminator.apply(params, variables, at(), images)[0].logits)
    others = judge(images.at[1:].multiply(-0.3))
    assert (judge(images)[0] == others[0]) == (norm != "batch") == ("independent_examples" in networks.gives)
    assert judge(images)[1] != others[1]


def test_networks_say_that_their_weights_are_plain_unless_somebody_holds_them():
    assert "plain_weights" in load(**SMALL).gives
    assert "plain_weights" not in load(layers={"discriminator_layer": WeightLayer}, **SMALL).gives
    assert "class_logits" in load(classes=4, **SMALL).gives and "class_logits" not in load(**SMALL).gives


@pytest.mark.parametrize("norm", ["batch", "flat", "convolutions"])
def test_techniques_fill_the_places(norm):
    """Virtual batch norm instead of the generator's batch norm, and minibatch features before the last layer."""
    configs = {name: technique.defaults(name) | {"enabled": True} for name in ("virtual_batch_norm", MINIBATCH)}
    configs["virtual_batch_norm"]["reference_size"] = configs[MINIBATCH]["kernels"] = 3
    networks = load(8, layers=technique.layers(technique.load(configs)), generator_norm=norm, **SMALL)
    params, _, images = shapes(networks.generator, 4, 5)
    norms = [name for name in params["generator"] if "Norm" in name]
    assert norms == [f"VirtualBatchNorm_{index}" for index in range(1 + (norm != "convolutions"))]
    assert images.shape == (4, 8, 8, 3)
    params, _, critique = shapes(networks.discriminator, 4, 8, 8, 3)
    assert params["WeightLayer_2"]["kernel"].shape == (critique.features.shape[1] + 3, 1)


def test_classes_are_outputs():
    networks = load(8, 4, **SMALL)
    _, _, critique = shapes(networks.discriminator, 3, 8, 8, 3)
    assert critique.class_logits.shape == (3, 4) and critique.logits.shape == (3,)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    inputs = jax.random.uniform(KEY, {"generator": (12, 5), "discriminator": (12, 8, 8, 3)}[player], minval=-1.0)
    exact, rough = (
        getattr(load(8, **SMALL, kernel_std=0.2, precision=precision), player) for precision in ("float32", "bfloat16")
    )
    assert_nearly_the_same(exact, rough, inputs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 0),
        ("latents", "gaussian"),
        ("generator_widths", ()),
        ("generator_widths", (8, 0)),
        ("generator_kernel", 7),
        ("generator_norm", "layer"),
        ("discriminator_widths", ()),
        ("discriminator_widths", (8, -1)),
        ("discriminator_kernel", 2),
        ("discriminator_norm", "group"),
        ("slope", 1.0),
        ("slope", float("nan")),
        ("kernel_std", -0.1),
        ("kernel_std", float("nan")),
        ("kernel_std", float("inf")),
        ("precision", "float16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [4, 16, 30, 33, 132, 256])
def test_images_that_do_not_fit_are_one_line_that_says_which_would(side):
    with pytest.raises(
        UserError, match=rf"{side} x {side} pixels .* multiples of 4, more than 16 and at most 128"
    ) as error:
        load(side)
    assert "\n" not in str(error.value) and "generator_widths" in str(error.value)


def test_the_discriminator_says_when_images_do_not_fit_it():
    with pytest.raises(UserError, match=r"with discriminator_widths=\(2, 2, 2\) they need"):
        load(8, **SMALL | {"discriminator_widths": (2, 2, 2)})
    load(8, **SMALL | {"discriminator_widths": (2, 2, 2)}, discriminator_paired=True)


def test_a_normalisation_of_a_technique_that_nothing_would_use_is_refused():
    with pytest.raises(UserError, match="generator_norm=batch"):
        load(layers={"generator_norm": lambda: None}, generator_norm="none", **SMALL)
