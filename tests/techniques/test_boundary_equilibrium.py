"""Boundary equilibrium: its rule by hand, its losses in NumPy, and who may move what."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.errors import UserError
from igan.game import optimizer, step
from igan.game.technique import Game
from igan.techniques import boundary_equilibrium
from igan.types import Batch, Critique, Examples, GameState, Player
from tests.contexts import turn
from tests.techniques.probes import draw, look_at, scalar_networks


def test_one_step_of_k_and_the_measure_of_convergence_by_hand():
    real, low, high = jnp.float32(0.2), jnp.float32(0.05), jnp.float32(0.2)
    assert float(boundary_equilibrium.next_share(jnp.zeros(()), real, low)) == pytest.approx(5e-5)
    assert float(boundary_equilibrium.convergence(real, low)) == pytest.approx(0.25)
    assert float(boundary_equilibrium.next_share(jnp.zeros(()), real, high)) == 0.0  # Held at its bound.


def test_k_stays_a_share_whatever_the_errors():
    """A million steps: a thousand games of a thousand."""
    random = np.random.default_rng(0)
    errors = random.exponential(size=(1000, 2, 1000)) * 10.0 ** random.uniform(-6, 6, (1000, 1, 1000))

    def step(share, both):
        share = boundary_equilibrium.next_share(share, *both, gain=1.0)
        return share, share

    shares = jax.lax.scan(step, jnp.zeros(1000), jnp.asarray(errors, jnp.float32))[1]
    assert shares.min() == 0 and shares.max() == 1 and jnp.mean((shares > 0) & (shares < 1)) > 0.1


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (3, 64, 64, 3), (1, 7)])
def test_the_error_is_a_mean_over_all_numbers_of_an_image(shape):
    found = boundary_equilibrium.errors(jnp.zeros(shape), jnp.full(shape, 0.1))
    np.testing.assert_allclose(found, np.full(shape[0], 0.1), rtol=1e-6)


def test_losses_are_those_of_numpy_and_compare_with_what_was_shown():
    view = look_at(*draw())
    shown = [each.images + 0.3 for each in (view.real, view.fake)]  # As after an augmentation.
    answers = [0.5 * each for each in shown]
    view = view._replace(
        real=view.real._replace(inputs=shown[0], reconstruction=answers[0]),
        fake=view.fake._replace(inputs=shown[1], reconstruction=answers[1]),
    )
    technique, share = boundary_equilibrium.make(diversity=0.7, gain=0.01), jnp.float32(0.4)
    real, fake = (np.abs(0.5 * np.float64(each)).mean() for each in shown)
    np.testing.assert_allclose(technique.discriminator_loss(share, view)[0], real - np.float32(0.4) * fake, rtol=1e-5)
    np.testing.assert_allclose(technique.generator_loss(share, view)[0], fake, rtol=1e-6)
    moved = np.clip(np.float32(0.4) + 0.01 * (0.7 * real - fake), 0, 1)
    np.testing.assert_allclose(technique.update(share, view), moved, rtol=1e-6)
    report = technique.report(share, view)
    np.testing.assert_allclose(report["convergence"], real + abs(0.7 * real - fake), rtol=1e-6)


def test_k_is_a_constant_of_both_players_of_whom_none_moves_the_other():
    """D(x) = psi x and G(z) = theta, real images are 1: L(x) = 1 - psi and L(G(z)) = (1 - psi) theta."""

    def generate(theta, variables, context, latents):
        return theta * jnp.ones((len(latents), 2)), variables

    def judge(psi, variables, context, images):
        return Critique(jnp.zeros(len(images)), images, reconstruction=psi * images), variables

    tx, theta, psi, share = optax.sgd(0.1), jnp.float32(0.8), jnp.float32(0.5), jnp.float32(0.3)
    game = Game(
        scalar_networks(generate, judge),
        {"boundary_equilibrium": boundary_equilibrium.make(diversity=0.7, gain=0.2)},
        tx,
        tx,
        optimizer.average_rate(1.0),
    )
    players = [Player(each, {}, tx.init(each), each) for each in (theta, psi)]
    before = GameState(jnp.int32(0), jax.random.key(0), *players, {"boundary_equilibrium": share})
    given = turn(), jax.random.key(1), Batch(Examples(jnp.ones((3, 2))))
    after, _ = step.update_discriminator(game, before, *given)
    # The slope of (1 - psi) - k (1 - psi) theta; then k by its rule, of the errors before the step.
    np.testing.assert_allclose(after.discriminator.params, 0.5 + 0.1 * (1 - 0.3 * 0.8), rtol=1e-6)
    np.testing.assert_allclose(after.techniques["boundary_equilibrium"], 0.3 + 0.2 * (0.7 * 0.5 - 0.4), rtol=1e-6)
    assert after.generator.params == theta
    last, _ = step.update_generator(game, before, *given)
    np.testing.assert_allclose(last.generator.params, 0.8 - 0.1 * 0.5, rtol=1e-6)
    assert last.discriminator.params == psi and last.techniques["boundary_equilibrium"] == share


@pytest.mark.parametrize(
    ("field", "value"), [("diversity", 0.0), ("diversity", 1.1), ("diversity", float("nan")), ("gain", 0.0)]
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(UserError, match=rf"boundary_equilibrium\.{field} is .*, expected a number above 0, at most 1"):
        boundary_equilibrium.make(**{field: value})
