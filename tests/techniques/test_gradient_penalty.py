"""The gradient penalty by hand: lines between images, lengths of slopes, what it leaves alone, what it refuses.

Whole updates are held against PyTorch in test_penalties.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from igan import models
from igan.config import validate
from igan.data import space
from igan.errors import UserError
from igan.game import technique
from igan.run import experiment
from igan.techniques.gradient_penalty import gradient_penalty, interpolate, make, slope_norms
from igan.types import Critique, Examples, Seen
from tests.contexts import at
from tests.techniques import probes
from tests.techniques.suite import NARROW

WEIGHTS = jnp.float32([3, 4])
PENALTIES = ("gradient_penalty", "dragan", "r1", "r2")


def linear(weights):
    """D(x) = w x, of points or of images with as many pixels."""
    return lambda examples: examples.reshape(len(examples), -1) @ weights


def asking(critic, view):
    """A view whose discriminator this is, and the list of the images and labels that it is asked about."""
    asked = []

    def judge(examples: Examples, plain: bool = False) -> Seen:
        jax.debug.callback(lambda images, labels: asked.append(Examples(images, labels)), *examples[:2])
        logits = critic(examples.images)
        return Seen(*examples, examples.images, *Critique(logits, logits[:, None]))

    return view._replace(judge=judge), asked


@pytest.mark.parametrize("shape", [(1, 2), (4, 2), (4, 1, 2, 1), (4, 2, 1, 1)])
def test_the_numbers_of_a_linear_critic(random, shape):
    """10 (5 - 1)^2, not of the batch's norm (10 (10 - 1)^2) nor of the slope of the mean (10 (1.25 - 1)^2)."""
    real, fake = random.normal(size=(2, *shape)).astype(np.float32)
    points = interpolate(jax.random.key(0), real, fake)
    value, slope = jax.value_and_grad(lambda weights: 10 * gradient_penalty(linear(weights), points))(WEIGHTS)
    assert value == 160
    np.testing.assert_allclose(slope, [48, 64], rtol=1e-6)  # 2 lambda (|w| - 1) w / |w|: through the slope.


@pytest.mark.parametrize(
    ("settings", "weights", "expected", "slope"),
    [
        ({}, [0.3, 0.4], 2.5, [-6, -8]),
        ({"sides": "one"}, [0.3, 0.4], 0, [0, 0]),
        ({"sides": "one"}, [3, 4], 160, [48, 64]),
        ({"target": 0.0}, [3, 4], 250, [60, 80]),
        ({"target": 0.0, "sides": "one"}, [3, 4], 250, [60, 80]),
        ({"target": 2.0, "strength": 0.1}, [3, 4], 0.9, [0.36, 0.48]),
        ({"strength": 0.0}, [3, 4], 0, [0, 0]),
    ],
)
def test_its_settings(settings, weights, expected, slope):
    tested, images = make(**settings), np.zeros((2, 3, 1, 2, 1), np.float32)

    def loss(weights):
        view, _ = asking(linear(weights), probes.look_at(np.zeros((3, 2, 2, 1)), np.zeros((3, 2, 2, 1))))
        seen = [view.real._replace(images=each) for each in images]
        value, details = tested.discriminator_loss(None, view._replace(real=seen[0], fake=seen[1]))
        return value, details["slope"]

    (value, length), found = jax.value_and_grad(loss, has_aux=True)(jnp.float32(weights))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(found, slope, rtol=1e-5)
    np.testing.assert_allclose(length, np.linalg.norm(weights), rtol=1e-6)


def test_each_image_has_one_share(random):
    view, asked = asking(linear(jnp.ones(4)), probes.look_at(*random.normal(size=(2, 50, 2, 2, 1))))
    make().discriminator_loss(None, view)
    real, fake = view.real.images, view.fake.images
    shares = np.asarray((asked[0].images - real) / (fake - real)).reshape(50, -1)
    np.testing.assert_allclose(shares, np.broadcast_to(shares[:, :1], shares.shape), rtol=1e-2, atol=1e-4)
    assert 0 <= shares.min() < 0.1 and 0.9 < shares.max() <= 1 and np.ptp(shares, axis=0).min() > 0.8


@pytest.mark.parametrize("between", ["real", "generated"])
def test_slopes_at_the_images_themselves(random, between):
    labels = jnp.arange(3)
    view, asked = asking(linear(jnp.ones(4)), probes.look_at(*random.normal(size=(2, 3, 2, 2, 1))))
    view = view._replace(real=view.real._replace(labels=labels), fake=view.fake._replace(labels=labels[::-1]))
    make(between=between).discriminator_loss(None, view)
    expected = view.real if between == "real" else view.fake
    np.testing.assert_array_equal(asked[0].images, expected.images)
    np.testing.assert_array_equal(asked[0].labels, expected.labels)


def test_a_slope_of_zero_costs_what_it_should_and_has_a_gradient():
    points = jnp.ones((4, 2))
    value, slope = jax.value_and_grad(lambda weights: 10 * gradient_penalty(linear(weights), points))(jnp.zeros(2))
    assert value == 10
    np.testing.assert_array_equal(slope, [0, 0])


def test_one_flat_example_leaves_the_others_their_gradient():
    """A dead unit: the slope is zero at one point alone, and tiny at another."""
    points = jnp.float32([[-1, -1], [1, 1], [1e-15, 1e-15]])

    def norms(weights):
        return slope_norms(lambda points: jax.nn.relu(points) ** 2 @ weights, points)

    np.testing.assert_allclose(norms(WEIGHTS), [0, 10, 1e-14], rtol=1e-5)
    gradients = jax.jacrev(norms)(WEIGHTS)
    np.testing.assert_allclose(gradients, [[0, 0], [1.2, 1.6], [1.2e-15, 1.6e-15]], rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_nothing_reaches_the_generator(random, name):
    """Generated images are held constant, also where a lookahead differentiates the discriminator's loss by them."""
    tested = technique.load({name: {"enabled": True}})[name]

    def loss(fake):
        view = probes.look_at(random_real, fake)
        view, _ = asking(lambda images: jnp.sum(jnp.tanh(images) ** 3, axis=(1, 2, 3)), view)
        return tested.discriminator_loss(None, view)[0]

    random_real, fake = random.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    assert loss(fake) > 0
    np.testing.assert_array_equal(jax.grad(loss)(jnp.asarray(fake)), np.zeros_like(fake))


@pytest.mark.parametrize("name", PENALTIES)
def test_lengths_are_of_each_example(name):
    probes.assert_norm_is_per_example(technique.load({name: {"enabled": True}})[name])


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_its_points_are_others_in_every_step(name):
    tested = technique.load({name: {"enabled": True}})[name]
    probes.assert_noise_is_fresh(tested, lambda images: jnp.sum(images**3, axis=(1, 2, 3)))


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        *((name, "strength", value, "at least 0") for name in PENALTIES[:2] for value in (-1.0, np.nan, np.inf)),
        *((name, "target", -1.0, "at least 0") for name in PENALTIES[:2]),
        ("gradient_penalty", "sides", "both", "two or one"),
        ("gradient_penalty", "between", "fake", "real_and_generated or real or generated"),
        ("dragan", "radius", -0.5, "at least 0"),
        *((name, "gamma", value, "at least 0") for name in PENALTIES[2:] for value in (-1.0, np.nan, np.inf, "10")),
        *((name, "interval", value, "1 to a million") for name in PENALTIES[2:] for value in (0, -16, 1.5, 10**7)),
    ],
)
def test_what_makes_no_sense_is_refused(name, field, value, expected):
    with pytest.raises(UserError, match=rf"techniques\.{name}\.{field} is .*{value}.*{expected}") as error:
        technique.load({name: {"enabled": True, field: value}})
    assert "\n" not in str(error.value) and f"--config.techniques.{name}.{field}=" in str(error.value)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_discriminator_that_compares_images_is_refused_with_a_reason(name, small):
    small.techniques[name].enabled = True
    validate(small)
    small.techniques.minibatch_discrimination.enabled = True
    message = rf"{name}: minibatch_discrimination lets .* compare .*minibatch_discrimination\.enabled=False"
    with pytest.raises(UserError, match=message) as error:
        validate(small)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PENALTIES)
def test_packs_are_refused_and_packs_of_one_image_are_not(name, small):
    for each, enabled in ((name, True), ("packing", True), ("semi_supervised", False), ("minimax", False)):
        small.techniques[each].enabled = enabled
    small.techniques.non_saturating.enabled = True
    with pytest.raises(UserError, match=rf"{name}: packing lets the discriminator compare .*packing\.enabled=False"):
        validate(small)
    small.techniques.packing.images = 1
    validate(small)


@pytest.mark.parametrize("name", PENALTIES)
def test_batch_normalisation_in_the_discriminator_is_refused_with_a_reason(name, small, random, tmp_path):
    for number in range(24):
        path = tmp_path / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    small.data.source, small.data.name, small.labels_per_class = "auto", f"folder:{tmp_path}", 0
    small.networks = {"name": "imagenet", "generator_widths": (4, 4), "discriminator_widths": (4, 4)}
    small.networks.update(noise_channels=(2, 2), discriminator_strides=(2, 2), dense_width=4)
    small.techniques[name].enabled = True
    with pytest.raises(UserError, match=rf"{name} needs .*without batch normalisation.*'imagenet' are none"):
        experiment.build(small)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_switch_of_a_batch_normalisation_that_is_in_the_way_is_named(small, name):
    with small.unlocked():
        small.networks = models.defaults("dcgan")
    small.networks.update(generator_widths=(4, 4, 4), discriminator_widths=(4, 4, 4))
    for each, settings in small.techniques.items():
        settings.enabled = each in ("non_saturating", name)
    dataset = experiment.load(small).dataset
    with pytest.raises(UserError, match=rf"{name} needs .*: set --config\.networks\.discriminator_norm=none") as error:
        experiment.compose(small, dataset)
    assert "\n" not in str(error.value)
    small.networks.discriminator_norm = "none"
    experiment.compose(small, dataset)


@pytest.mark.parametrize("family", ["fully_connected", "convolutional"])
def test_networks_that_say_so_look_at_each_image_by_itself(random, family):
    """So that the gradient of the sum of the logits is each image's own."""
    narrow = {"latent_size": 2, "generator_widths": (2,), "discriminator_widths": (2, 3)}
    settings = {"name": family, **NARROW.get(family, narrow)}
    networks = models.load(settings, space.images((16, 16, 1)), 4, {})
    assert "independent_examples" in networks.gives
    images = jnp.asarray(random.uniform(size=(4, 16, 16, 1)), jnp.float32)
    params, variables = networks.discriminator.init(at(0), images)
    others = images.at[1:].set(0.5)
    judge = jax.jit(lambda images: networks.discriminator.apply(params, variables, at(1), images)[0].logits)
    np.testing.assert_allclose(judge(images)[0], judge(others)[0], rtol=1e-5)
    assert judge(images)[1] != judge(others)[1]
