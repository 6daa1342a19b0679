"""Label smoothing: targets that the objectives read, the refusals, and why only one side is smoothed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from igan.config import default, validate
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.game.view import look
from igan.techniques.minimax import divergence
from igan.types import Array, Batch, Critique, Examples, GameState, Network, Networks, Player, Seen, Targets, View
from tests.contexts import turn

LOGITS = np.float32([0, 1, -1, 7, -7, 30, -30, 1e4, -1e4])
ALPHA, BETA = 0.9, 0.2

# Four points, from where the data are to where the model is; each is in the batch as often as it is drawn.
POINTS_OF_DATA, POINTS_OF_MODEL = (np.repeat(np.arange(4), counts) for counts in ([4, 3, 2, 1], [1, 1, 2, 6]))
DATA, MODEL = np.float64([4, 3, 2, 1]) / 10, np.float64([1, 1, 2, 6]) / 10


def look_at(real: Any, fake: Any, targets: Targets) -> View:
    def seen(logits: Any) -> Seen:
        images = jnp.zeros((len(logits), 1, 1, 1))
        return Seen(images, None, None, images, *Critique(jnp.asarray(logits), images[:, 0, 0]))

    unused = {"judge": lambda examples: seen(real), "generate": lambda latents: latents}
    return View(seen(real), seen(fake), None, turn(), jax.random.key(0), **unused, targets=targets)


def make(**configs: dict[str, Any]) -> dict[str, technique.Technique]:
    return technique.load({name: {"enabled": True} | settings for name, settings in configs.items()})


def bernoulli_divergence(target: float, logits: np.ndarray) -> np.ndarray:
    """KL(Bernoulli(target) || Bernoulli(sigmoid(logits))) in float64; 0 log 0 = 0."""
    log_real, log_fake = -np.logaddexp(0, -np.float64(logits)), -np.logaddexp(0, np.float64(logits))
    parts = [share * (np.log(share) - log) for share, log in ((target, log_real), (1 - target, log_fake)) if share > 0]
    return np.sum(parts, axis=0)


@pytest.mark.parametrize("target", [0.0, 0.1, 0.375, 0.5, 0.75, 0.9, 1.0])
def test_the_divergence_is_that_of_two_coins(target):
    for logit in LOGITS:
        expected = bernoulli_divergence(target, logit)
        np.testing.assert_allclose(divergence(jnp.asarray([logit]), target), expected, rtol=1e-6, atol=2e-7)
    value, gradient = jax.value_and_grad(divergence)(jnp.asarray(LOGITS), target)
    np.testing.assert_allclose(value, bernoulli_divergence(target, LOGITS).mean(), rtol=1e-6)
    slopes = (1 / (1 + np.exp(-np.float64(np.clip(LOGITS, -500, 500)))) - target) / len(LOGITS)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
def test_the_divergence_is_zero_where_the_target_is_met(target):
    logit = np.float32(np.log(target / (1 - target)))
    value, slope = jax.value_and_grad(lambda logit: divergence(logit[None], target))(jnp.asarray(logit))
    np.testing.assert_allclose([value, slope], [0, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_the_discriminator_aims_at_the_target_for_real_images_and_at_0_for_generated_ones(name):
    real, fake = LOGITS[:7], LOGITS[2:] + 0.5
    loss = make(**{name: {}})[name].discriminator_loss
    value, details = loss(None, look_at(real, fake, Targets(real=0.75, generator=0.375)))
    parts = bernoulli_divergence(0.75, real).mean(), bernoulli_divergence(0.0, fake).mean()
    np.testing.assert_allclose([value, details["real"], details["fake"]], [sum(parts), *parts], rtol=1e-6)


def test_the_generator_of_non_saturating_aims_at_its_target_and_that_of_minimax_has_none():
    targets = Targets(real=0.75, generator=0.375)
    losses = {name: each.generator_loss for name, each in make(minimax={}, non_saturating={}).items()}
    value, _ = losses["non_saturating"](None, look_at(-LOGITS, LOGITS, targets))
    np.testing.assert_allclose(value, bernoulli_divergence(0.375, LOGITS).mean(), rtol=1e-6)
    aimed, plain = (losses["minimax"](None, look_at(-LOGITS, LOGITS, each))[0] for each in (targets, Targets()))
    assert aimed == plain


def best_discriminator(loss: Callable[[Array], Array]) -> np.ndarray:
    """D at each point, where the loss of the logits at the points is least."""
    with jax.enable_x64(True):
        value_and_slope = jax.jit(jax.value_and_grad(loss))
        found = minimize(lambda logits: jax.device_get(value_and_slope(logits)), np.zeros(4), jac=True, tol=1e-10)
    return 1 / (1 + np.exp(-found.x))


def test_one_sided_targets_leave_the_model_out_of_the_numerator():
    """The best D is alpha p_data / (p_data + p_model): it falls to zero where there are generated images only."""
    techniques = make(label_smoothing={"real_target": ALPHA}, minimax={})
    targets = technique.targets(techniques)

    def loss(logits: Array) -> Array:
        view = look_at(logits[POINTS_OF_DATA], logits[POINTS_OF_MODEL], targets)
        return techniques["minimax"].discriminator_loss(None, view)[0]

    np.testing.assert_allclose(best_discriminator(loss), ALPHA * DATA / (DATA + MODEL), rtol=1e-4)


def test_two_sided_targets_would_put_the_model_into_the_numerator():
    """The reason for one side: D then rewards generated images for being where generated images are."""

    def loss(logits: Array) -> Array:
        return divergence(logits[POINTS_OF_DATA], ALPHA) + divergence(logits[POINTS_OF_MODEL], BETA)

    best = best_discriminator(loss)
    np.testing.assert_allclose(best, (ALPHA * DATA + BETA * MODEL) / (DATA + MODEL), rtol=1e-4)
    one_sided = ALPHA * DATA / (DATA + MODEL)
    np.testing.assert_allclose(best - one_sided, BETA * MODEL / (DATA + MODEL), rtol=1e-3)


def test_an_update_passes_the_targets_on():
    """What the step shows to objectives is what the enabled techniques say, and 1 without any."""

    def apply(params, variables, context, images):
        brightness = images.mean(axis=(1, 2, 3))
        return Critique(params * brightness, brightness[:, None]), variables

    network = Network(lambda context, images: (None, None), apply, lambda context, images: "")
    networks = Networks(network, network, lambda key, count: jnp.zeros((count, 1)), (0.0, 1.0))
    real, fake = Examples(jnp.ones((2, 1, 1, 1))), Examples(jnp.ones((2, 1, 1, 1)) / 3)
    player = Player(jnp.float32(3), {}, (), None)
    for techniques, expected in (
        (make(minimax={}), Targets(1.0, 1.0)),
        (make(minimax={}, label_smoothing={}), Targets(0.9, 1.0)),
        (make(label_smoothing={"real_target": 0.75, "generator_target": 0.375}, minimax={}), Targets(0.75, 0.375)),
    ):
        game = step.Game(networks, techniques, optax.sgd(0.1), optax.sgd(0.1), optimizer.average_rate(0.1))
        state = GameState(jnp.int32(0), jax.random.key(0), player, player, dict.fromkeys(techniques))
        for together in (True, False):
            view, _ = look(game, state, turn(), jax.random.key(1), Batch(real), fake, together)
            assert view.targets == expected
        _, metrics = step.add_losses("d", step.discriminator_losses(game), state, view)
        np.testing.assert_allclose(metrics["d/minimax/real"], bernoulli_divergence(expected.real, 3.0), rtol=1e-5)


@pytest.mark.parametrize("field", ["real_target", "generator_target"])
@pytest.mark.parametrize("target", [0.0, -0.5, 1.1, float("nan")])
def test_a_target_that_is_no_probability_is_refused(field, target):
    with pytest.raises(UserError, match=rf"label_smoothing\.{field} is {target}, expected a probability") as error:
        make(label_smoothing={field: target})
    assert "\n" not in str(error.value)


REAL = "no enabled objective has targets for real images"
GENERATOR = "generator_target=0.375 but no enabled objective has a target for the generator"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"semi_supervised": {}, "feature_matching": {}}, REAL),
        ({"semi_supervised": {}, "minimax": {"discriminator_weight": 0.0}}, REAL),
        ({"minimax": {}, "label_smoothing": {"generator_target": 0.375}}, GENERATOR),
        (
            {
                "minimax": {},
                "non_saturating": {"discriminator_weight": 0.0, "generator_weight": 0.0},
                "label_smoothing": {"generator_target": 0.375},
            },
            GENERATOR,
        ),
    ],
)
def test_smoothing_that_nobody_reads_is_refused_with_the_reason(settings, reason):
    config = default()
    for name, changes in ({"label_smoothing": {}} | settings).items():
        config.techniques[name].update(changes, enabled=True)
    with pytest.raises(UserError, match=rf"^label_smoothing: {reason}") as error:
        validate(config)
    assert "\n" not in str(error.value)
    assert "--config.techniques.label_smoothing.enabled=False" in str(error.value)
    config.techniques.label_smoothing.enabled = False
    validate(config)


@pytest.mark.parametrize(
    "settings",
    [
        {"minimax": {}},
        {"non_saturating": {}, "label_smoothing": {"generator_target": 0.375}},
        # Feature matching drives the generator, so only the discriminator's half of the objective is left.
        {"minimax": {"generator_weight": 0.0}, "feature_matching": {}},
    ],
)
def test_smoothing_that_is_read_is_accepted(settings):
    config = default()
    for name, changes in ({"label_smoothing": {}} | settings).items():
        config.techniques[name].update(changes, enabled=True)
    validate(config)
