"""The paper's MNIST networks: their size, their outputs, and where their noise goes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from tests.contexts import at
from tests.models.inspection import assert_float32, assert_nearly_the_same, count, shapes
from tests.references import mnist_numpy as reference

KEY = jax.random.key(0)
QUIET = {"input_noise": 0.0, "hidden_noise": 0.0}


def load(image_shape=(28, 28, 1), classes: int | None = 10, **settings):
    return models.load({"name": "fully_connected", **settings}, space.images(image_shape), classes, layers={})


def test_the_papers_discriminator_has_the_size_counted_by_hand():
    params, variables, critique = shapes(load().discriminator, 7, 28, 28, 1)
    kernels = 784 * 1000 + 1000 * 500 + 500 * 250 + 250 * 250 + 250 * 250 + 250 * 10
    biases = 1000 + 500 + 250 + 250 + 250 + 10
    trained_scales, fixed_scales = 10, 1000 + 500 + 250 + 250 + 250
    assert count(params) == kernels + biases + trained_scales == 1_538_770
    assert count(variables) == fixed_scales == 2_250
    assert critique.class_logits.shape == (7, 10)
    assert critique.logits.shape == (7,)
    assert critique.features.shape == (7, 250)
    assert critique.reconstruction is None
    assert_float32(params, variables, critique)


def test_the_papers_generator_has_the_size_counted_by_hand():
    networks = load()
    params, variables, images = shapes(networks.generator, 7, 100)
    kernels = 100 * 500 + 500 * 500 + 500 * 784
    shifts, output_bias, output_scale = 500 + 500, 784, 784
    assert count(params) == kernels + shifts + output_bias + output_scale == 694_568
    assert count(variables) == 2 * (500 + 500)  # A mean and a variance for every hidden unit.
    assert images.shape == (7, 28, 28, 1)
    assert networks.image_range == (0.0, 1.0)
    assert_float32(params, variables, images)


def test_widths_image_shape_and_latent_size_are_what_is_asked_for():
    networks = load((5, 4, 3), 7, generator_layers=(11, 13, 17), discriminator_layers=(19, 23), latent_size=9)
    params, _, images = shapes(networks.generator, 6, 9)
    assert images.shape == (6, 5, 4, 3)
    assert count(params) == 9 * 11 + 11 * 13 + 13 * 17 + 17 * 60 + 11 + 13 + 17 + 60 + 60
    params, variables, critique = shapes(networks.discriminator, 6, 5, 4, 3)
    assert count(params) == 60 * 19 + 19 * 23 + 23 * 7 + 19 + 23 + 7 + 7
    assert count(variables) == 19 + 23
    assert (critique.class_logits.shape, critique.features.shape) == ((6, 7), (6, 23))


def test_latents_are_uniform_from_0_to_1():
    latents = np.asarray(load(latent_size=50).sample_latents(KEY, 2000))
    assert latents.shape == (2000, 50) and latents.dtype == np.float32
    assert 0 <= latents.min() < 1e-4 and 1 - 1e-4 < latents.max() < 1
    np.testing.assert_allclose([latents.mean(), latents.var()], [1 / 2, 1 / 12], rtol=0.01)


@pytest.fixture(scope="module")
def tiny():
    """Networks without noise, their parameters and a batch of images, computed once."""
    networks = load((4, 3, 1), 5, generator_layers=(7, 6), discriminator_layers=(8, 9, 6), latent_size=5, **QUIET)
    images = jax.random.uniform(jax.random.key(3), (10, 4, 3, 1))
    return networks, networks.discriminator.init(at(KEY), images), images


def test_the_discriminator_is_the_numpy_reference(tiny):
    networks, (params, variables), images = tiny
    with jax.default_matmul_precision("highest"):
        critique, _ = networks.discriminator.apply(params, variables, at(KEY), images)
    layers = []
    for index in range(4):
        name = f"WeightNormDense_{index}"
        layer = params[name] | variables["constants"].get(name, {})
        layers.append(
            {name: np.float64(layer[of]) for name, of in (("kernel", "direction"), ("bias",) * 2, ("scale",) * 2)}
        )
    logits, features, _ = reference.discriminate(layers, np.float64(images).reshape(10, -1))
    np.testing.assert_allclose(critique.class_logits, logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(critique.features, features, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(critique.logits, reference.logsumexp(logits), rtol=1e-5, atol=1e-5)


def test_the_generator_is_the_numpy_reference(tiny):
    networks, latents = tiny[0], np.random.default_rng(0).uniform(size=(10, 5)).astype(np.float32)
    params, variables = networks.generator.init(at(KEY), latents)
    with jax.default_matmul_precision("highest"):
        images, _ = networks.generator.apply(params, variables, at(KEY), latents)
    hidden = [
        {"kernel": np.float64(params[f"Dense_{index}"]["kernel"]), "bias": params[f"ShiftBatchNorm_{index}"]["shift"]}
        for index in range(2)
    ]
    last = params["UnitNormDense_0"]
    last = {"kernel": np.float64(last["direction"]), "scale": last["scale"], "bias": last["bias"]}
    expected, _ = reference.generate([*hidden, last], latents.astype(np.float64))
    np.testing.assert_allclose(images.reshape(10, -1), expected, rtol=1e-5, atol=1e-5)
    for index, limit in enumerate((np.sqrt(6 / (5 + 7)), np.sqrt(6 / (7 + 6)))):
        assert 0.8 * limit < np.abs(params[f"Dense_{index}"]["kernel"]).max() <= limit


def test_without_classes_there_is_a_single_logit():
    params, _, critique = shapes(load((4, 3, 1), None, discriminator_layers=(8, 6)).discriminator, 10, 4, 3, 1)
    assert critique.logits.shape == (10,) and critique.class_logits is None
    assert count(params) == 12 * 8 + 8 * 6 + 6 * 1 + 8 + 6 + 1 + 1


def test_the_single_logit_is_the_layers_output_and_no_logsumexp():
    networks = load((4, 3, 1), None, discriminator_layers=(8, 6), **QUIET)
    images = jax.random.uniform(jax.random.key(3), (30, 4, 3, 1))
    params, variables = networks.discriminator.init(at(KEY), images)
    critique, _ = networks.discriminator.apply(params, variables, at(KEY), images)
    # It is initialised on this batch, like every other output.
    np.testing.assert_allclose([critique.logits.mean(), critique.logits.std()], [0, 1], atol=1e-5)


def critique_twice(tiny, train, **noise):
    """The critiques of the same images with two keys."""
    _, (params, variables), images = tiny
    networks = load((4, 3, 1), 5, discriminator_layers=(8, 9, 6), **noise)
    return [networks.discriminator.apply(params, variables, at(seed, train), images)[0] for seed in (1, 2)]


def differs(first, second):
    return bool(np.abs(first - second).max() > 1e-2)


def test_there_is_no_noise_outside_training(tiny):
    first, second = critique_twice(tiny, train=False, input_noise=0.3, hidden_noise=0.5)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize(
    "noise", [{"input_noise": 0.3, "hidden_noise": 0.0}, {"input_noise": 0.0, "hidden_noise": 0.5}]
)
def test_either_noise_reaches_features_and_logits(tiny, noise):
    first, second = critique_twice(tiny, train=True, **noise)
    assert differs(first.features, second.features) and differs(first.class_logits, second.class_logits)


def transparent_discriminator(pixels, layers, noise):
    """A discriminator whose layers add ten and do nothing else: what it returns is its noise."""
    networks = load((pixels, 1, 1), pixels, discriminator_layers=(pixels,) * layers, **noise)
    shape = (400, pixels, 1, 1)
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes(networks.discriminator, *shape)[:2])
    for layer in ones[0].values():
        layer["direction"] = jnp.eye(pixels)
        layer["bias"] = jnp.full(pixels, 10.0)
    return networks.discriminator.apply(*ones, at(KEY), jnp.zeros(shape))[0]


def test_features_are_the_last_hidden_layer_before_its_noise():
    critique = transparent_discriminator(20, 1, {"input_noise": 0.0, "hidden_noise": 0.5})
    np.testing.assert_array_equal(critique.features, np.full((400, 20), 10.0))
    after = np.asarray(critique.class_logits - critique.features)
    np.testing.assert_allclose([after.mean(), after.std()], [10, 0.5], rtol=0.02)


def test_the_noise_of_every_layer_has_the_standard_deviation_asked_for():
    critique = transparent_discriminator(20, 3, {"input_noise": 0.3, "hidden_noise": 0.5})
    before, after = np.asarray(critique.features), np.asarray(critique.class_logits - critique.features)
    # Independent draws add up: the input's and those of two hidden layers, then the last hidden layer's own.
    np.testing.assert_allclose(before.std(), np.sqrt(0.3**2 + 2 * 0.5**2), rtol=0.02)
    np.testing.assert_allclose(after.std(), 0.5, rtol=0.02)
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 4 / np.sqrt(before.size)


def test_the_defaults_are_the_papers():
    assert models.defaults("fully_connected") == {
        "name": "fully_connected",
        "latent_size": 100,
        "generator_layers": (500, 500),
        "discriminator_layers": (1000, 500, 250, 250, 250),
        "input_noise": 0.3,
        "hidden_noise": 0.5,
        "precision": "float32",
    }


def test_known_families_are_the_files_that_make_networks():
    assert "fully_connected" in models.known()
    for name in models.known():
        assert models.defaults(name)["name"] == name


@pytest.mark.parametrize(
    "call", [models.defaults, lambda name: models.load({"name": name}, space.images((28, 28, 1)), 10, {})]
)
def test_an_unknown_family_is_one_line_that_suggests_the_right_one(call):
    with pytest.raises(UserError, match=r"unknown networks\.name 'fuly_connected'.*'fully_connected'") as error:
        call("fuly_connected")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generator_layers", (12, 0)),
        ("generator_layers", (-1,)),
        ("discriminator_layers", (0,)),
        ("discriminator_layers", (16, -3)),
        ("discriminator_layers", ()),  # There would be no features.
        ("discriminator_layers", (2.5,)),
        ("latent_size", 0),
        ("latent_size", -1),
        ("input_noise", -0.1),
        ("hidden_noise", float("nan")),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(UserError, match=re.escape(f"networks.{field}")) as error:
        load(**{field: value})
    assert "\n" not in str(error.value)


def test_bfloat16_is_near():
    small = QUIET | {"generator_layers": (8, 8), "discriminator_layers": (9, 8)}
    exact, rough = (load((6, 6, 1), precision=precision, **small) for precision in ("float32", "bfloat16"))
    assert_nearly_the_same(exact.generator, rough.generator, exact.sample_latents(KEY, 40))
    assert_nearly_the_same(exact.discriminator, rough.discriminator, jax.random.uniform(KEY, (40, 6, 6, 1)))
