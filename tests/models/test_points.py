"""Networks for points: against NumPy, the numbers of the papers' toys, and what is refused."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.data import space
from igan.data.points import space as points_space
from igan.errors import UserError
from igan.layers.batch_norm import ShiftBatchNorm
from igan.layers.weights import Layer, WeightLayer
from igan.run import experiment
from tests.contexts import at
from tests.models.inspection import assert_nearly_the_same

PLANE = points_space(1.0, None)
SMALL = {"latent_size": 3, "generator_layers": (5, 4), "discriminator_layers": (6, 3)}
TOY = {"latent_size": 2, "generator_layers": (512,) * 3, "discriminator_layers": (512,) * 3, "initialiser": "he"}
PACGAN = {
    "latent_size": 2,
    "generator_layers": (400,) * 4,
    "batch_norm": True,
    "discriminator_layers": (200,) * 3,
    "discriminator_activation": "maxout",
    "initialiser": "normal",
    "gain": 0.02,
    "input_divisor": 1.0,
}


def load(settings, classes=None, layers=None):
    return models.load({"name": "points", **settings}, PLANE, classes, layers or {})


@functools.cache
def players(**settings):
    """Networks, the parameters and variables of both, some latents and some points."""
    networks = load(settings)
    latents, drawn = networks.sample_latents(jax.random.key(1), 7), jax.random.normal(jax.random.key(2), (7, 2))
    generator = jax.jit(lambda: networks.generator.init(at(3), latents))()
    discriminator = jax.jit(lambda: networks.discriminator.init(at(4), drawn))()
    return networks, generator, discriminator, latents, drawn


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def layers_of(params) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels and biases in their order, in float64; a layer without a bias has zeros."""
    found = [params["Hidden_0"][name] for name in sorted(params["Hidden_0"]) if "WeightLayer" in name]
    found.append(params["WeightLayer_0"])
    return [
        (np.asarray(each["kernel"], np.float64), np.asarray(each.get("bias", np.zeros(1)), np.float64))
        for each in found
    ]


@pytest.mark.parametrize("activation", ["relu", "tanh", "maxout"])
def test_both_against_numpy(activation: str):
    networks, generator, discriminator, latents, drawn = players(
        **SMALL, generator_activation=activation, discriminator_activation=activation, pieces=3, input_divisor=4.0
    )

    def forward(params, inputs):
        *hidden, (kernel, bias) = layers_of(params)
        for each, shift in hidden:
            inputs = inputs @ each + shift
            if activation == "maxout":
                inputs = np.max([inputs[:, piece::3] for piece in range(3)], axis=0)
            else:
                inputs = np.tanh(inputs) if activation == "tanh" else np.maximum(inputs, 0)
        return inputs, inputs @ kernel + bias

    made, _ = networks.generator.apply(*generator, at(), latents)
    np.testing.assert_allclose(made, forward(generator[0], np.asarray(latents, np.float64))[1], atol=1e-6)
    said, _ = networks.discriminator.apply(*discriminator, at(), drawn)
    features, logits = forward(discriminator[0], np.asarray(drawn, np.float64) / 4)
    np.testing.assert_allclose(said.logits, logits[:, 0], atol=1e-6)
    np.testing.assert_allclose(said.features, features, atol=1e-6)
    assert said.class_logits is None


def test_the_parameters_of_wgan_gps_toy():
    """The figures follow from its layers; uniform He weights, and the last layer's by Glorot and Bengio."""
    _, (generator, _), (discriminator, _), *_ = players(**TOY, input_divisor=1.0)
    assert (count(generator), count(discriminator)) == (527_874, 527_361)
    for params, widths in ((generator, [2, 512, 512, 512, 2]), (discriminator, [2, 512, 512, 512, 1])):
        for place, (kernel, bias) in enumerate(layers_of(params)):
            inputs, outputs = widths[place : place + 2]
            bound = math.sqrt(6 / (inputs + outputs)) if place == 3 else math.sqrt(6 / inputs)
            assert kernel.shape == (inputs, outputs) and 0.95 * bound < np.abs(kernel).max() <= bound
            assert not bias.any()


def test_pacgans_networks():
    """400 x 4 with batch norm in the place of biases but for the last, maxout of five pieces 200 x 3."""
    _, (generator, variables), (discriminator, _), *_ = players(**PACGAN)
    shifts = 4 * 400
    assert count(generator) == 2 * 400 + 3 * 400**2 + 400 * 2 + 2 + shifts
    assert count(discriminator) == 3 * 1000 + 2 * (200 * 1000 + 1000) + 200 + 1
    assert "statistics" in variables
    for kernel, _ in layers_of(generator) + layers_of(discriminator):
        assert kernel.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * kernel.size))


def test_the_defaults_are_those_of_the_ring_of_unrolled_gans():
    networks, (generator, _), (discriminator, _), latents, _ = players()
    assert latents.shape == (7, 256) and count(generator) == 256 * 128 + 128 + 128 * 128 + 128 + 128 * 2 + 2
    assert count(discriminator) == 2 * 128 + 128 + 128 + 1
    for kernel, _ in layers_of(generator) + layers_of(discriminator):
        tall = kernel if kernel.shape[0] >= kernel.shape[1] else kernel.T
        np.testing.assert_allclose(tall.T @ tall, 0.64 * np.eye(tall.shape[1]), atol=2e-6)
    assert networks.gives == {"independent_examples", "plain_weights"}


def test_a_classifier_has_a_logit_for_each_class():
    networks = load(SMALL, classes=8)
    drawn = jnp.ones((3, 2))
    said, _ = networks.discriminator.apply(*networks.discriminator.init(at(), drawn), at(), drawn)
    assert said.class_logits.shape == (3, 8) and "class_logits" in networks.gives
    np.testing.assert_allclose(said.logits, jax.nn.logsumexp(said.class_logits, axis=1))


def test_a_batch_norm_that_is_not_asked_for_is_not_there_but_can_be_put_in():
    plain = load(SMALL).generator.init(at(), jnp.ones((4, 3)))
    normed = load(SMALL, layers={"generator_norm": ShiftBatchNorm}).generator.init(at(), jnp.ones((4, 3)))
    assert "statistics" not in plain[1] and "statistics" in normed[1]


@pytest.mark.parametrize("place", ["generator_layer", "discriminator_layer"])
def test_every_weight_is_in_the_hands_of_what_fills_the_place(place: str):
    asked: list[Layer] = []

    def record(layer: Layer):
        asked.append(layer)
        return WeightLayer(layer)

    networks = load(SMALL, layers={place: record})
    networks.generator.init(at(), jnp.ones((4, 3)))
    networks.discriminator.init(at(), jnp.ones((4, 2)))
    widths = [5, 4, 2] if place == "generator_layer" else [6, 3, 1]
    assert [layer.features for layer in asked] == widths and [layer.is_last for layer in asked] == [False, False, True]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"generator_activation": "selu"}, "generator_activation is selu, expected one of relu, tanh, maxout"),
        ({"discriminator_activation": "selu"}, "discriminator_activation is selu"),
        ({"initialiser": "ones"}, "initialiser is ones, expected one of orthogonal, normal, he"),
        ({"gain": 0.0}, "gain is 0.0, expected a positive number"),
        ({"gain": float("nan")}, "gain is nan"),
        ({"input_divisor": float("inf")}, "input_divisor is inf"),
        ({"pieces": 0}, "pieces is 0, expected a whole number from 1"),
        ({"generator_layers": ()}, "generator_layers is (), expected at least one width"),
        ({"discriminator_layers": (0,)}, "discriminator_layers is (0,)"),
        ({"latent_size": 0}, "latent_size is 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, said: str):
    with pytest.raises(UserError) as error:
        load(settings)
    assert said in str(error.value) and "\n" not in str(error.value) and "--config.networks." in str(error.value)


@pytest.mark.parametrize("family", ["convolutional", "fully_connected", "imagenet"])
def test_points_with_networks_for_images_are_refused(small, family: str):
    with small.unlocked():
        small.networks = models.defaults(family)
    small.data.name, small.data.source = "ring", "auto"
    with pytest.raises(UserError, match=f"'{family}' are for images, and the data are points.*points") as error:
        experiment.build(small)
    assert "\n" not in str(error.value) and str(error.value).endswith(" --config=experiments/mixture.py:ring")


def test_images_with_networks_for_points_are_refused(small):
    with small.unlocked():
        small.networks = models.defaults("points")
    with pytest.raises(UserError, match="'points' are for points, and the data are images") as error:
        experiment.build(small)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="'points' are for points, and the data are images"):
        models.load({"name": "points"}, space.images((28, 28, 1)), None, {})


def test_bfloat16_is_near():
    exact, rough = (load(SMALL | {"precision": precision}) for precision in ("float32", "bfloat16"))
    assert_nearly_the_same(exact.generator, rough.generator, exact.sample_latents(jax.random.key(0), 40))
    assert_nearly_the_same(exact.discriminator, rough.discriminator, jax.random.normal(jax.random.key(1), (40, 2)))
