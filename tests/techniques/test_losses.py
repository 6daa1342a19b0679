"""What each technique computes, against NumPy and by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import step, technique
from igan.game.technique import Technique
from igan.types import Array, Critique, Seen, View
from tests.contexts import at, turn

CLASSES, BATCH_SIZE = 5, 6
EXTREME = np.float32([0, 1, -1, 30, -30, 1e4, -1e4])


def look_at(real: Critique, fake: Critique, labeled: Critique | None = None, labels: Any = None) -> View:
    def seen(critique: Critique, labels: Any = None) -> Seen:
        images = jnp.zeros((len(critique.logits), 1, 1, 1))
        return Seen(images, None if labels is None else jnp.asarray(labels), None, images, *critique)

    known = None if labeled is None else seen(labeled, labels)
    key, judge = jax.random.key(0), lambda examples: seen(real)
    return View(seen(real), seen(fake), known, turn(), key, judge, generate=lambda latents: latents)


def classify(class_logits: np.ndarray) -> Critique:
    logits = jnp.asarray(class_logits, jnp.float32)
    return Critique(jax.nn.logsumexp(logits, axis=1), jnp.zeros((len(logits), 1)), logits)


def judge(logits: Any) -> Critique:
    return Critique(jnp.asarray(logits), jnp.zeros((len(logits), 1)))


def feature(features: Any) -> Critique:
    return Critique(jnp.zeros(len(features)), jnp.asarray(features, jnp.float32))


def make(name: str, **settings: Any) -> Technique:
    return technique.load({name: technique.defaults(name) | settings | {"enabled": True}})[name]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_the_discriminator_tells_real_from_fake(name):
    real, fake = EXTREME, EXTREME[::-1] + 2
    loss = make(name).discriminator_loss
    value, details = loss(None, look_at(judge(real), judge(fake)))
    on_real = np.mean(np.logaddexp(0, -real.astype(np.float64)))
    on_fake = np.mean(np.logaddexp(0, fake.astype(np.float64)))
    np.testing.assert_allclose(value, on_real + on_fake, rtol=1e-6)
    np.testing.assert_allclose([details["real"], details["fake"]], [on_real, on_fake], rtol=1e-6)
    gradients = jax.grad(lambda logits: loss(None, look_at(*map(judge, logits)))[0])((real, fake))
    np.testing.assert_allclose(gradients[0], -sigmoid(-real) / len(real), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(gradients[1], sigmoid(fake) / len(fake), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("minimax", lambda logits: -np.mean(np.logaddexp(0, logits)), lambda logits: -sigmoid(logits)),
        ("non_saturating", lambda logits: np.mean(np.logaddexp(0, -logits)), lambda logits: -sigmoid(-logits)),
    ],
)
def test_the_generator_plays_against_the_discriminator(name, value, slope):
    def loss(fake: Array) -> Array:
        return make(name).generator_loss(None, look_at(judge(-EXTREME), judge(fake)))[0]

    np.testing.assert_allclose(loss(jnp.asarray(EXTREME)), value(EXTREME.astype(np.float64)), rtol=1e-6)
    gradient = jax.grad(loss)(jnp.asarray(EXTREME))
    np.testing.assert_allclose(gradient, slope(EXTREME) / len(EXTREME), rtol=1e-5, atol=1e-12)


def test_the_labelled_loss_is_the_cross_entropy_of_the_true_class(random):
    logits = random.normal(0, 3, (40, CLASSES))
    labels = random.integers(0, CLASSES, 40, dtype=np.int32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    view = look_at(judge(EXTREME), judge(EXTREME), classify(logits), labels)
    value, details = make("semi_supervised").discriminator_loss(None, view)
    np.testing.assert_allclose(value, -np.mean(np.log(probabilities[np.arange(40), labels])), rtol=1e-5)
    np.testing.assert_allclose(details["error"], np.mean(logits.argmax(axis=1) != labels), rtol=1e-6)


def test_the_labelled_loss_of_extreme_logits_is_finite():
    logits = np.float32([[1e4, -1e4, 0], [1e4, -1e4, 0]])
    loss = make("semi_supervised").discriminator_loss

    def value(logits: Array) -> Array:
        return loss(None, look_at(judge(EXTREME), judge(EXTREME), classify(logits), np.int32([0, 1])))[0]

    np.testing.assert_allclose(value(logits), 1e4)
    np.testing.assert_allclose(jax.grad(value)(jnp.asarray(logits)), [[0, 0, 0], [0.5, -0.5, 0]], atol=1e-6)


def test_k_logits_are_a_softmax_over_k_plus_one_classes(random):
    """The discriminator's loss is that of K + 1 explicit classes, the logit of the last, "generated", fixed at zero."""
    configs = {name: technique.defaults(name) | {"enabled": True} for name in ("semi_supervised", "minimax")}
    configs["minimax"] |= {"discriminator_weight": 0.5, "generator_weight": 0.0}
    techniques = technique.load(configs)
    networks = models.load(
        models.defaults("fully_connected") | {"discriminator_layers": (8,)}, space.images((3, 3, 1)), CLASSES, {}
    )
    images = jnp.asarray(random.uniform(size=(3, BATCH_SIZE, 3, 3, 1)), jnp.float32)
    labels = jnp.asarray(random.integers(0, CLASSES, BATCH_SIZE), jnp.int32)
    params, variables = networks.discriminator.init(at(), images[0])
    critiques = [networks.discriminator.apply(params, variables, at(train=False), each)[0] for each in images]
    view = look_at(critiques[0], critiques[1], critiques[2], labels)
    losses = {name: each.discriminator_loss for name, each in techniques.items()}
    state = step.GameState(jnp.int32(0), jax.random.key(0), None, None, dict.fromkeys(techniques))
    loss, metrics = step.add_losses("d", losses, state, view)

    def log_probabilities(critique: Critique) -> np.ndarray:
        logits = np.asarray(critique.class_logits, np.float64)
        logits = np.concatenate([logits, np.zeros((len(logits), 1))], axis=1)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    assert view.labeled is not None
    labeled, real, fake = map(log_probabilities, (view.labeled, view.real, view.fake))
    given_real = labeled[np.arange(BATCH_SIZE), labels] - np.log1p(-np.exp(labeled[:, -1]))
    supervised = -np.mean(given_real)
    unsupervised = -np.mean(np.log1p(-np.exp(real[:, -1]))) - np.mean(fake[:, -1])
    np.testing.assert_allclose(loss, supervised + 0.5 * unsupervised, rtol=1e-5)
    np.testing.assert_allclose(metrics["d/semi_supervised"], supervised, rtol=1e-5)
    np.testing.assert_allclose(metrics["d/minimax"], 0.5 * unsupervised, rtol=1e-5)


@pytest.mark.parametrize(("distance", "expected"), [("squared", (9 + 0.25) / 2), ("absolute", (3 + 0.5) / 2)])
def test_feature_matching_by_hand(distance, expected):
    # Means (2, 1) and (-1, 1.5), over batches of different sizes.
    view = look_at(feature([[1, 1], [3, 1]]), feature([[0, 0], [0, 0], [-3, 4.5]]))
    value, _ = make("feature_matching", distance=distance).generator_loss(None, view)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_feature_matching_matches_means_not_samples(distance, random):
    real, fake = random.normal(size=(2, 8, 3)).astype(np.float32)

    def loss(fake: Array) -> Array:
        view = look_at(feature(real), feature(fake))
        return make("feature_matching", distance=distance).generator_loss(None, view)[0]

    shuffled = random.permutation(8)
    np.testing.assert_allclose(loss(fake[shuffled]), loss(fake), rtol=1e-5)
    gradient = jax.grad(loss)(jnp.asarray(fake))
    assert np.abs(gradient).min() > 1e-4
    np.testing.assert_allclose(gradient, np.tile(gradient[:1], (8, 1)), rtol=1e-5)  # All samples are pushed one way.
    # Quite other samples of the same mean are a perfect match.
    same_mean = 2 * real.mean(axis=0) - real[shuffled]
    assert np.abs(same_mean - real).max() > 0.5
    np.testing.assert_allclose(loss(same_mean), 0, atol=1e-6)


def test_an_unknown_distance_is_refused():
    with pytest.raises(UserError, match=r"feature_matching: unknown distance 'square'\. Did you mean 'squared'"):
        make("feature_matching", distance="square")
