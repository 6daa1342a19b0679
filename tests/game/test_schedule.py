"""Schedules of images seen: R3GAN's five at their beginning, middle and end, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import gans
from igan.config import validate
from igan.errors import UserError
from igan.game import optimizer
from igan.game import step as play
from igan.game.schedule import Schedule, moved
from igan.game.stages import complete_stages
from igan.techniques import adaptive_augment
from igan.types import Batches, Examples, Stage, Turn
from tests.game.test_step import real, start, tiny_game

# 39,062 updates of 512 images: the first half ends in the middle of the cosine.
SCHEDULE = Schedule((Stage(batch_sizes=(512, 512)),), ramp_images=39_062 * 512)
# A quarter of the way (1 - cos(pi / 4)) / 2 = 0.146447 of it is done, in the middle a half.
STEPS = {0: 0.0, 39_062 // 4: 0.146432, 39_062 // 2: 0.5, 39_062: 1.0, 50_000: 1.0}


@pytest.mark.parametrize(("step", "share"), STEPS.items())
def test_the_ramp_is_half_a_cosine_of_the_images_seen(step, share):
    assert float(SCHEDULE.ramp(step)) == pytest.approx(share, abs=2e-6)
    assert float(jax.jit(SCHEDULE.ramp)(jnp.int32(step))) == pytest.approx(share, abs=2e-6)


def test_images_are_counted_through_stages_of_other_batches():
    """Two stages of 10 updates, batches of 4 and 8, two steps of the discriminator an update."""
    stages = complete_stages([Stage(images=80, batch_sizes=(4, 4)), Stage(1, batch_sizes=(8, 8))], (1, 1), (2, 1))
    schedule = Schedule(stages, 2, ramp_images=240)
    assert [int(schedule.images(step)) for step in (0, 9, 10, 11, 20)] == [0, 72, 80, 96, 240]
    assert float(schedule.ramp(20)) == 1 and float(schedule.ramp(0)) == 0
    assert float(schedule.ramp(10)) == pytest.approx((1 - np.cos(np.pi / 3)) / 2)
    assert Schedule(stages, 2).ramp(20) == 0.0  # Nothing moves.


def at(descent: optax.GradientTransformation, step: int, gradient: float = 1.0) -> float:
    """What the optimiser makes of a gradient after so many steps without any."""
    zero = {"weight": np.float32(0)}
    state = jax.tree.map(lambda leaf: leaf + step if leaf.dtype == jnp.int32 else leaf, descent.init(zero))
    return -float(descent.update({"weight": np.float32(gradient)}, state)[0]["weight"])


@pytest.mark.parametrize(("player", "steps"), [("discriminator", 1), ("generator", 2)])
def test_the_learning_rate_falls_by_updates_whatever_the_players_steps(player, steps):
    config = gans.get_config("r3gan")[player]
    descent = optimizer.make({**config, "optimizer": "sgd"}, 39_062 * steps, SCHEDULE, steps)
    found = [at(descent, step * steps) for step in STEPS]
    expected = [2e-4, 2e-4 - 1.5e-4 * 0.146432, 1.25e-4, 5e-5, 5e-5]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_adams_second_decay_rises_and_its_bias_correction_with_it():
    """NumPy in float64: v <- b v + (1 - b) g^2 and v / (1 - b^t), with the b of the step, from 0.9 to 0.99."""
    schedule = Schedule((Stage(batch_sizes=(2, 2)),), ramp_images=20)
    settings = {"optimizer": "adam", "learning_rate": 0.01, "constant_share": 1.0, "b1": 0.0, "b2": 0.9}
    settings |= {"final_b2": 0.99, "epsilon": 1e-16}
    descent, params = optimizer.make(settings, 100, schedule), {"weight": jnp.zeros(3)}
    state, weight, moment = descent.init(params), np.zeros(3), np.zeros(3)
    random = np.random.default_rng(0)
    for step in range(15):
        decay = 0.9 + 0.09 * (1 - np.cos(np.pi * min(step / 10, 1))) / 2
        gradient = random.normal(size=3) * (1 + 5 * (step % 3))
        moment = decay * moment + (1 - decay) * gradient**2
        weight = weight - 0.01 * gradient / np.sqrt(moment / (1 - decay ** (step + 1)))
        updates, state = descent.update({"weight": jnp.float32(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["weight"], weight, rtol=2e-5, atol=1e-7)


def test_the_half_life_grows_from_nothing():
    """0.5^(512 / half-life) is kept, of 5 million images at the end: 7.1e-5 moves."""
    rate = optimizer.average_rate(1.0, half_life=5e6, schedule=SCHEDULE)
    found = [float(rate(Turn(jnp.int32(step), jnp.int32(step), SCHEDULE.stages[0]))) for step in STEPS]
    expected = [1.0, 1 - 0.5 ** (512 / (5e6 * 0.146432)), 1 - 0.5 ** (512 / 2.5e6), *[1 - 0.5 ** (512 / 5e6)] * 2]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_half_life_is_of_images_whatever_the_batch_of_a_stage():
    """StyleGAN's, 10,000: 0.99778 of 32 images, 0.98241 of 256; at the beginning of a stage it is a ninth of that."""
    rate = optimizer.average_rate(1.0, half_life=10_000)
    for batch, kept in ((32, 0.99778), (256, 0.98241)):
        stage = Stage(1, start=100, batch_sizes=(batch, batch))
        assert 1 - float(rate(Turn(jnp.int32(10**6), jnp.int32(10**6), stage))) == pytest.approx(kept, abs=1e-5)
        assert float(rate(Turn(jnp.int32(100), jnp.int32(100), stage))) == pytest.approx(0.9)


def test_a_half_life_is_of_the_images_that_the_discriminator_is_shown():
    """Of batches of 2, it sees 6 from one step of the generator to the next, and 2 from one of its own to the next."""
    schedule = Schedule((stage := Stage(batch_sizes=(2, 2)),), discriminator_steps=3)
    rate = optimizer.average_rate(1.0, half_life=12, schedule=schedule)
    game, late = tiny_game()._replace(average_rate=rate), jnp.int32(1000)
    state = start(game)._replace(step=late)
    after = play.update(game, state, Batches((real(0.2, 0.4),) * 3, (real(0.3, 0.5),)), stage)[0]
    before, found, kept = state.generator.average["scale"], after.generator, 0.5 ** (6 / 12)
    np.testing.assert_allclose(found.average["scale"], kept * before + (1 - kept) * found.params["scale"], rtol=1e-5)
    for steps, images in ((1, 6), (3, 2), (2, 3)):
        assert 1 - float(rate(Turn(late, late, stage, steps))) == pytest.approx(0.5 ** (images / 12), rel=1e-5)


def test_the_probability_of_augmentations_rises_to_that_of_cifar10():
    from tests.techniques import probes

    settings = {**gans.get_config("r3gan").techniques.adaptive_augment}
    assert settings.pop("enabled")
    technique, view = adaptive_augment.make(**settings), probes.look_at(*probes.draw())
    memory = technique.init(jax.random.key(0), Examples(view.real.images))
    for ramp, expected in ((0.0, 0.0), (0.5, 0.275), (1.0, 0.55)):
        memory = technique.update(memory, view._replace(ramp=jnp.float32(ramp)))
        assert float(technique.report(memory, view)["probability"]) == pytest.approx(expected)


def test_gamma_of_both_penalties_falls_to_a_tenth():
    config = gans.get_config("r3gan")
    for name in ("r1", "r2"):  # And `test_r1.py` has what they make of it.
        settings = config.techniques[name]
        found = [float(moved(settings.gamma, settings.final_gamma, ramp)) for ramp in (0.0, 0.5, 1.0)]
        np.testing.assert_allclose(found, [0.05, 0.0275, 0.005])
    assert config.ramp_share == 1.0 and config.average_half_life == 5e6
    assert [config[player].final_b2 for player in ("discriminator", "generator")] == [0.99, 0.99]


REFUSED = {
    "nothing moves": ({"ramp_share": 0.0}, r"final_b2 is 0\.99, and nothing moves: set --config\.ramp_share"),
    "more than the run": ({"ramp_share": 1.5}, r"ramp_share is 1.5"),
    "two schedules": ({"generator.constant_share": 0.5}, r"generator.final_learning_rate is .* 0 beside a const"),
    "a decay of one": ({"discriminator.final_b2": 1.0}, r"discriminator.final_b2 is 1.0"),
    "a decay of no moment": (
        {"generator.optimizer": "sgd"},
        r"generator.final_b2 is 0.99, .* 0 with another optimizer",
    ),
    "two averages": ({"average_start": 5}, r"average_half_life is .* 0 beside an average_start"),
    "no probability": ({"techniques.adaptive_augment.final_probability": 1.5}, r"final_probability is 1.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    changes, expected = REFUSED[case]
    config = gans.get_config("r3gan")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=expected) as caught:
        validate(config)
    assert "\n" not in str(caught.value)
