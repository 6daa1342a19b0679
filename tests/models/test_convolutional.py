"""The paper's CIFAR-10 and SVHN networks: their sizes worked out by hand, their outputs, noise and initialisation."""

import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cifar10, svhn
from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import technique
from igan.models import convolutional
from tests.contexts import at
from tests.models.inspection import assert_float32, assert_nearly_the_same, count, shapes

KEY = jax.random.key(0)
SMALL = {"generator_widths": (8, 6, 5), "discriminator_widths": (5, 7), "latent_size": 9}
QUIET = {"input_dropout": 0.0, "dropout": 0.0}
MINIBATCH = ("minibatch_discrimination", "ours", "-vbn+bn", "-l+ha", "-ls", "-l")  # -mbf has none.
ONE_LOGIT = ("-l", "-l+ha")
VIRTUAL = ("ours", "-l+ha", "-ls", "-l", "-mbf")


def load(image_shape=(16, 16, 3), classes: int | None = 4, **settings):
    return models.load({"name": "convolutional", **SMALL, **settings}, space.images(image_shape), classes, {})


def of_experiment(experiment, variant):
    config = experiment.get_config(variant)
    layers = technique.layers(technique.load(config.techniques))
    classes = 10 if config.techniques.semi_supervised.enabled else None
    return models.load(config.networks, space.images((32, 32, 3)), classes, layers)


@pytest.mark.parametrize("variant", cifar10.VARIANTS)
def test_the_papers_cifar10_generator_has_the_size_counted_by_hand(variant):
    params, variables, images = shapes(of_experiment(cifar10, variant).generator, 100, 100)
    params = params.get("generator", params)  # Inside the module that propagates the reference batch.
    norm = "VirtualBatchNorm" if variant in VIRTUAL else "ShiftBatchNorm"
    assert {name: count(layer) for name, layer in params.items()} == {
        "Dense_0": 100 * (4 * 4 * 512),
        f"{norm}_0": 4 * 4 * 512,
        "TransposedConv_0": 5 * 5 * 512 * 256,
        f"{norm}_1": 256,
        "TransposedConv_1": 5 * 5 * 256 * 128,
        f"{norm}_2": 128,
        "WeightNormConv_0": 5 * 5 * 128 * 3 + 3 + 3,  # The kernel, a bias and a scale for each colour.
    }
    assert count(params) == 4_933_382
    reference_batch = 100 * 100 if variant in VIRTUAL else 0
    assert count(variables) == 2 * (8192 + 256 + 128) + reference_batch  # A mean and a variance for every shift.
    assert images.shape == (100, 32, 32, 3)
    assert_float32(params, variables, images)


def discriminator_sizes(narrow, wide):
    """Parameters of the nine convolutions: 3 x 3 kernels up to the seventh, 1 x 1 after it, and a bias each."""
    inputs = (3, narrow, narrow, narrow, wide, wide, wide, wide, wide)
    outputs = (narrow, narrow, narrow, wide, wide, wide, wide, wide, wide)
    sides = (3, 3, 3, 3, 3, 3, 3, 1, 1)
    return {
        f"WeightNormConv_{index}": side * side * before * after + after
        for index, (side, before, after) in enumerate(zip(sides, inputs, outputs, strict=True))
    }


@pytest.mark.parametrize(
    ("experiment", "variant"),
    [*itertools.product([cifar10], cifar10.VARIANTS), *itertools.product([svhn], svhn.VARIANTS)],
)
def test_the_papers_discriminators_have_the_size_counted_by_hand(experiment, variant):
    params, variables, critique = shapes(of_experiment(experiment, variant).discriminator, 20, 32, 32, 3)
    narrow, wide = (64, 128) if (experiment, variant) == (svhn, "feature_matching") else (96, 192)
    outputs = 1 if variant in ONE_LOGIT else 10
    sizes, last_inputs = discriminator_sizes(narrow, wide), wide
    if variant in MINIBATCH:
        # 100 kernels of 5 dimensions, a log-scale for each of those, and a bias for each kernel.
        sizes["MinibatchDiscrimination_0"], last_inputs = wide * 100 * 5 + 100 * 5 + 100, wide + 100
    sizes["WeightNormDense_0"] = last_inputs * outputs + outputs + outputs
    assert {name: count(layer) for name, layer in params.items()} == sizes
    assert count(variables) == 3 * narrow + 6 * wide  # The scales that are not trained: of every layer but the last.
    assert critique.features.shape == (20, wide)
    assert critique.logits.shape == (20,)
    assert (None if critique.class_logits is None else critique.class_logits.shape) == (
        None if variant in ONE_LOGIT else (20, 10)
    )
    assert_float32(params, variables, critique)


@pytest.mark.parametrize(
    ("experiment", "variant", "total"),
    [
        (cifar10, "feature_matching", 1_404_864 + 1_940),  # Convolutions, the last layer,
        (cifar10, "minibatch_discrimination", 1_404_864 + 2_940 + 96_600),  # minibatch discrimination.
        (cifar10, "-l", 1_404_864 + 294 + 96_600),
        (svhn, "feature_matching", 625_280 + 1_300),
    ],
)
def test_the_totals_of_the_papers_discriminators(experiment, variant, total):
    network = of_experiment(experiment, variant).discriminator
    params, _ = jax.eval_shape(
        lambda images: network.init(at(), images), jax.ShapeDtypeStruct((20, 32, 32, 3), jnp.float32)
    )
    assert count(params) == total


def test_svhns_generator_is_that_of_cifar10():
    expected = shapes(of_experiment(cifar10, "").generator, 7, 100)
    for variant in svhn.VARIANTS:
        assert shapes(of_experiment(svhn, variant).generator, 7, 100) == expected


def test_widths_image_shape_and_latent_size_are_what_is_asked_for():
    networks = load((24, 16, 1), 7, generator_widths=(11, 4), discriminator_widths=(6, 3))
    params, _, images = shapes(networks.generator, 5, 9)
    assert images.shape == (5, 24, 16, 1)
    assert count(params) == 9 * (6 * 4 * 11) + 6 * 4 * 11 + 25 * 11 * 4 + 4 + 25 * 4 * 1 + 1 + 1
    params, _, critique = shapes(networks.discriminator, 5, 24, 16, 1)
    assert critique.features.shape == (5, 3) and critique.class_logits.shape == (5, 7)
    assert count(params) == 9 * (6 + 6 * 6 * 2 + 6 * 3 + 3 * 3 * 3) + 2 * 3 * 3 + 3 * 6 + 6 * 3 + 3 * 7 + 7 + 7
    assert networks.image_range == (-1.0, 1.0) and not networks.joint


def test_latents_are_uniform_from_0_to_1():
    latents = np.asarray(load(latent_size=50).sample_latents(KEY, 2000))
    assert latents.shape == (2000, 50) and latents.dtype == np.float32
    assert 0 <= latents.min() < 1e-4 and 1 - 1e-4 < latents.max() < 1
    np.testing.assert_allclose([latents.mean(), latents.var()], [1 / 2, 1 / 12], rtol=0.01)


def intermediates(module: nn.Module, inputs):
    """What each layer of a network returns on the batch it is initialised with, by the layer's name, and its output."""

    @jax.jit
    def run(inputs):
        keys = {"params": KEY, "noise": jax.random.key(1)}
        variables = module.init(keys, inputs, at())
        return module.apply(
            variables,
            inputs,
            at(),
            rngs=keys,
            capture_intermediates=True,
            mutable=["statistics", "intermediates"],
        )

    output, collections = run(inputs)
    layers = collections["intermediates"]
    return {name: np.asarray(layer["__call__"][0]) for name, layer in layers.items() if name != "__call__"}, output


@pytest.fixture(scope="module")
def noisy_discriminator():
    module = convolutional.Discriminator((16, 12), 0.3, 0.0, 0.5, 4, jnp.float32)
    return intermediates(module, jax.random.uniform(jax.random.key(3), (30, 16, 16, 3), minval=-1.0))


def test_every_pre_activation_of_the_discriminator_starts_standardised(noisy_discriminator):
    layers, critique = noisy_discriminator
    for index in range(9):
        values = layers[f"WeightNormConv_{index}"]
        np.testing.assert_allclose(values.mean(axis=(0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(values.std(axis=(0, 1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(critique.class_logits.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(critique.class_logits.std(axis=0), 0.1, atol=1e-4)


def test_sizes_of_the_images_and_places_of_dropout_are_the_papers(noisy_discriminator):
    layers, critique = noisy_discriminator
    sides = [layers[f"WeightNormConv_{index}"].shape[1:] for index in range(9)]
    assert sides == [(16, 16, 16)] * 2 + [(8, 8, 16)] + [(8, 8, 12)] * 2 + [(4, 4, 12)] + [(2, 2, 12)] * 3
    assert {name for name in layers if name.startswith("Dropout")} == {"Dropout_0", "Dropout_1", "Dropout_2"}
    for index, (rate, before) in enumerate(((0.3, None), (0.5, "WeightNormConv_2"), (0.5, "WeightNormConv_5"))):
        values = layers[f"Dropout_{index}"]
        np.testing.assert_allclose(np.mean(values == 0), rate, atol=0.02)
        if before is not None:
            active = np.where(layers[before] > 0, 1.0, 0.2) * layers[before]
            np.testing.assert_allclose(values, np.where(values == 0, 0, active / (1 - rate)), rtol=1e-4, atol=1e-6)
    last = layers["WeightNormConv_8"]
    pooled = (np.where(last > 0, 1.0, 0.2) * last).mean(axis=(1, 2))
    np.testing.assert_allclose(critique.features, pooled, rtol=1e-4, atol=1e-5)
    logsumexp = np.log(np.exp(np.float64(critique.class_logits)).sum(axis=1))
    np.testing.assert_allclose(critique.logits, logsumexp, rtol=1e-5, atol=1e-5)


def test_the_noise_on_the_pixels_has_the_standard_deviation_asked_for():
    module = convolutional.Discriminator((3, 2), 0.0, 0.2, 0.0, None, jnp.float32)
    images = jax.random.uniform(jax.random.key(3), (30, 16, 16, 3), minval=-1.0)
    layers, critique = intermediates(module, images)
    np.testing.assert_allclose(np.std(layers["GaussianNoise_0"] - images), 0.2, rtol=0.02)
    # The single logit is the layer's output and no logsumexp, initialised like every other output.
    np.testing.assert_allclose([critique.logits.mean(), critique.logits.std()], [0, 0.1], atol=1e-4)


def test_the_generators_pixels_start_standardised_and_its_kernels_at_5_percent():
    module = convolutional.Generator((16, 12, 8), (16, 16, 3), jnp.float32)
    layers, images = intermediates(module, jax.random.uniform(KEY, (40, 20)))
    pixels = layers["WeightNormConv_0"]
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), 0.1, atol=1e-4)
    np.testing.assert_allclose(images, np.tanh(pixels), rtol=1e-5, atol=1e-6)
    assert [layers[f"TransposedConv_{index}"].shape for index in (0, 1)] == [(40, 4, 4, 12), (40, 8, 8, 8)]
    generator = load(generator_widths=(16, 12, 8)).generator
    params, _ = jax.jit(lambda latents: generator.init(at(), latents))(jnp.ones((2, 20)))
    for kernel in (params["Dense_0"]["kernel"], params["TransposedConv_0"]["kernel"]):
        np.testing.assert_allclose(np.std(kernel), 0.05, rtol=0.1)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    shape = {"generator": (12, 9), "discriminator": (12, 16, 16, 3)}[player]
    inputs = jax.random.uniform(jax.random.key(3), shape)
    exact, rough = (getattr(load(precision=precision, **QUIET), player) for precision in ("float32", "bfloat16"))
    assert_nearly_the_same(exact, rough, inputs)


def test_the_defaults_are_the_papers():
    assert models.defaults("convolutional") == {
        "name": "convolutional",
        "latent_size": 100,
        "generator_widths": (512, 256, 128),
        "discriminator_widths": (96, 192),
        "input_dropout": 0.2,
        "input_noise": 0.0,
        "dropout": 0.5,
        "precision": "float32",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 0),
        ("generator_widths", ()),
        ("generator_widths", (8, 0)),
        ("discriminator_widths", (8,)),
        ("discriminator_widths", (8, 8, 8)),
        ("discriminator_widths", (8, -1)),
        ("input_dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("input_noise", -0.1),
        ("input_noise", float("inf")),
        ("precision", "float16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [8, 28, 12])
def test_images_that_do_not_fit_are_one_line_that_says_which_would(side):
    with pytest.raises(UserError, match=rf"{side} x {side} pixels .* multiples of 8, 16 or more") as error:
        load((side, side, 3))
    assert "\n" not in str(error.value) and "generator_widths" in str(error.value)
    if side == 28:
        load((28, 28, 1), generator_widths=(8, 6))
