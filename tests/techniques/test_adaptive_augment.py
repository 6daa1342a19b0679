"""Adaptive augmentation: how p moves, what it does at 0 and at 1, and that a run goes on with it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.config import validate
from igan.errors import UserError
from igan.game import step, technique
from igan.game.technique import Technique
from igan.techniques import adaptive_augment
from igan.techniques.adaptive_augment import GROUPS, Draws, Memory, augment, moved
from igan.types import Examples
from tests.contexts import turn
from tests.game.smallest import NETWORKS, Row, game_of, play
from tests.techniques.probes import look_at

ALL = tuple(GROUPS)
MANY = 4000


def memory(probability: float = 0.0, signs: float = 0.0, count: int = 256) -> Memory:
    return Memory(*map(jnp.float32, (probability, 0, signs, count, count)), jnp.int32(-1))


@pytest.mark.parametrize(
    ("probability", "share", "expected"),
    [
        (0.0, 0.8, 5.12e-4),  # 64 images in each of 4 steps, of 500,000.
        (0.3, 0.8, 0.3 + 5.12e-4),
        (0.3, 0.5, 0.3 - 5.12e-4),
        (0.3, -1.0, 0.3 - 5.12e-4),  # By its sign alone.
        (0.0, 0.5, 0.0),
        (1e-4, 0.5, 0.0),
        (0.9999, 0.9, 1.0),
    ],
)
def test_p_moves_by_the_images_seen_and_stays_a_probability(probability, share, expected):
    after = moved(memory(probability, share * 256), 3)
    np.testing.assert_allclose(after.probability, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(after.overfitting, share, rtol=1e-6)
    assert (after.signs, after.logits, after.images, after.moved) == (0, 0, 0, 3)


def view_of(logits: Any, count: int) -> Any:
    images = np.zeros((6, 2, 2, 1), np.float32)
    view = look_at(images, images)
    return view._replace(real=view.real._replace(logits=jnp.float32(logits)), turn=turn(count, count))


def follow(technique: Technique, logits: list[Any], parts: int = 1) -> list[Memory]:
    """The memory after each step of the discriminator, each of which is looked at in so many parts."""
    state = technique.init(jax.random.key(0), Examples(jnp.zeros((6, 2, 2, 1))))
    after = []
    for count, each in enumerate(logits):
        for part in np.split(np.asarray(each), parts):
            view = view_of(part, count)
            view = view._replace(real=view.real._replace(images=view.real.images[: 6 // parts]))
            state = technique.update(state, view)
        after.append(state)
    return after


def test_p_is_moved_every_fourth_step_by_the_mean_of_the_signs():
    """Of the logits of all four steps, whose sizes say nothing; of its own logits alone the last step would lower p."""
    high, low = [0.1, 3, 1, 1, 2, 1], [9, 1, 1, 1, -100, 1]
    after = follow(adaptive_augment.make(), [high, high, high, low, high, low, low])
    found = [float(each.probability) for each in after]
    np.testing.assert_allclose(found, [0, 0, 0, *[24 / 500_000] * 4], rtol=1e-6)
    np.testing.assert_allclose(after[3].overfitting, (18 + 4) / 24, rtol=1e-6)
    assert after[6].images == 18
    report = adaptive_augment.make().report(after[3], view_of(high, 3))
    assert report == {"probability": after[3].probability, "overfitting": after[3].overfitting}


def test_target_interval_and_speed_are_settings():
    settings = {"target": -0.5, "interval": 2, "ramp_images": 1200.0, "initial": 0.5}
    after = follow(adaptive_augment.make(**settings), [[-1.0] * 6, [-1, -1, -1, -1, -1, 1], [1.0] * 6, [1.0] * 6])
    np.testing.assert_allclose([each.probability for each in after], [0.5, 0.49, 0.49, 0.5], rtol=1e-6)


def test_parts_of_a_batch_move_p_as_often_and_as_far_as_the_whole():
    steps = [[1.0, 1, 1, 1, 1, 1]] * 12
    whole, parts = (follow(adaptive_augment.make(), steps, count) for count in (1, 3))
    for number in (3, 7, 11):
        seen = 6 * (number + 1) - 4  # The last two parts of a step are of the next move.
        np.testing.assert_allclose(whole[number].probability, 6 * (number + 1) / 500_000, rtol=1e-5)
        np.testing.assert_allclose(parts[number].probability, seen / 500_000, rtol=1e-5)
    assert parts[10].probability == parts[7].probability and parts[11].moved == 11


def test_packs_count_as_the_images_that_are_in_them():
    state = adaptive_augment.make(interval=1).update(memory(count=0), view_of([1.0, 1.0, 1.0], 0))
    np.testing.assert_allclose(state.probability, 6 / 500_000, rtol=1e-6)
    assert state.overfitting == 1


@functools.partial(jax.jit, static_argnames="policy")
def augmented(images: jax.Array, probability: float, policy: tuple[str, ...]) -> jax.Array:
    return augment(jax.random.key(0), images, probability, policy)


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3)])
def test_with_p_zero_nothing_changes_not_a_bit(shape, random):
    images = jnp.float32(random.uniform(-1, 1, (6, *shape)))
    for policy in (ALL, ("color", "geometry", "cutout", "pixel_blitting"), ()):
        np.testing.assert_array_equal(augmented(images, 0.0, policy), images)


@pytest.mark.parametrize("name", ALL)
def test_each_group_changes_most_images_at_p_one_and_each_in_its_own_way(name):
    image = jax.random.uniform(jax.random.key(1), (1, 8, 8, 3), minval=-1, maxval=1)
    images = jnp.broadcast_to(image, (40, 8, 8, 3))
    shown = np.asarray(augmented(images, 1.0, (name,))).reshape(40, -1)
    changed = np.any(shown != images.reshape(40, -1), axis=1)
    assert changed.mean() > 0.9  # Blitting may be by nothing.
    assert len(np.unique(shown, axis=0)) > 20
    half = np.asarray(augmented(images, 0.5, (name,))).reshape(40, -1)
    assert np.any(half != shown)


def test_colours_may_change_more_seldom_than_the_rest():
    """At p = 0.2, a half of it for colours, 0.41 of the images have one or more of five changed, and 0.2 a hole."""
    images = jax.random.uniform(jax.random.key(1), (200, 4, 4, 3), minval=-1, maxval=1)

    def changed(name: str) -> float:
        shown = augment(jax.random.key(2), images, 0.2, (name,), color_share=0.5)
        return float(jnp.mean(jnp.any(shown != images, axis=(1, 2, 3))))

    assert abs(changed("color") - (1 - 0.9**5)) < 0.1 and abs(changed("cutout") - 0.2) < 0.1


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_transformation_is_applied_with_p_on_its_own(probability):
    draws = Draws(jax.random.key(2), MANY, jnp.float32(probability))
    one, other = (np.asarray(draws.normal(name, 1.0)) != 0 for name in ("one", "other"))
    for applied in (one, other):
        assert abs(applied.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / MANY) + 1e-9
    assert abs((one & other).mean() - probability**2) < 0.03
    turned = np.asarray(draws.uniform("turn", 1.0, 1 - jnp.sqrt(1 - draws.probability))) != 0
    again = np.asarray(draws.uniform("again", 1.0, 1 - jnp.sqrt(1 - draws.probability))) != 0
    assert abs((turned | again).mean() - probability) < 0.03


def test_the_draws_have_the_papers_spreads():
    draws = Draws(jax.random.key(2), MANY, jnp.float32(1.0))
    np.testing.assert_allclose(np.std(draws.normal("scale", 0.2)), 0.2, rtol=0.05)
    angles = np.asarray(draws.uniform("hue", np.pi))
    assert -np.pi <= angles.min() < -3.1 and 3.1 < angles.max() <= np.pi
    values, counts = np.unique(draws.one_of("quarter_turns", 4), return_counts=True)
    np.testing.assert_array_equal(values, range(4))
    assert np.all(np.abs(counts - MANY / 4) < 150)


def test_blitting_moves_pixels_to_pixels():
    """Told from one pixel beside the middle and its neighbour, in images of 16 pixels a side: shifts by up to two."""
    images = jnp.zeros((400, 16, 16, 1)).at[:, 7, 7].set(1.0).at[:, 7, 8].set(2.0)
    shown = np.asarray(augmented(images, 1.0, ("pixel_blitting",)))[..., 0]
    assert np.all((shown == 0) | (shown == 1) | (shown == 2)) and np.all(shown.sum((1, 2)) == 3)
    ones, twos = (np.argwhere(shown == value)[:, 1:] for value in (1, 2))
    kinds, counts = np.unique(twos - ones, axis=0, return_counts=True)
    assert len(kinds) == 4 and counts.min() > 60  # The two lie in any of four directions.
    middles = (ones + twos) / 2 - 7.5
    assert 2 <= np.abs(middles).max() <= 2.5 + 1e-6


def test_slopes_go_through_it_and_can_be_taken_twice():
    images = jax.random.normal(jax.random.key(0), (3, 6, 6, 3))

    def penalty(images: jax.Array) -> jax.Array:
        through = lambda given: jnp.sum(jnp.sin(augment(jax.random.key(1), given, 0.9, ALL)))  # noqa: E731
        return jnp.sum(jax.grad(through)(images) ** 2)

    slopes = jax.jit(jax.grad(penalty))(images)
    assert np.all(np.isfinite(slopes)) and np.all(np.any(np.abs(slopes) > 1e-4, axis=(1, 2, 3)))


def test_a_run_moves_p_in_each_replica_and_goes_on_with_it(tmp_path):
    settings = {"interval": 2, "ramp_images": 100.0, "initial": 0.5, "target": 0.01}
    technique = adaptive_augment.make(policy=("cutout",), **settings)

    def check(played: Any) -> None:
        found = np.stack([np.asarray(each.techniques["adaptive_augment"].probability) for each in played.states])
        assert found.shape == (3, 2) and np.all(found[0] == 0.5)
        # Two steps of eight images an update: up or down by 0.16, as the signs of this replica say.
        np.testing.assert_allclose(np.abs(np.diff(found, axis=0)), 0.16, rtol=1e-5)
        assert len({tuple(column) for column in found.T}) == 2  # Two games, two memories.
        for number, metrics in enumerate(played.metrics):
            np.testing.assert_array_equal(metrics["d/adaptive_augment/probability"][:, 0], found[number + 1])
            overfitting = metrics["d/adaptive_augment/overfitting"][:, 0]
            np.testing.assert_array_equal(np.sign(overfitting - 0.01), np.sign(found[number + 1] - found[number]))

    row = Row(game_of(adaptive_augment=technique), check)
    row.check(play(row, 2, tmp_path))  # Which is stopped, saved and resumed, bit for bit.


def test_with_p_at_zero_a_game_is_the_game_without_it():
    """In networks with the paper's range; those with another are off by the rounding of the way there and back."""
    technique = adaptive_augment.make(target=1.0)
    plain, augmented = game_of(), game_of(adaptive_augment=technique)
    real = Examples(jax.random.uniform(jax.random.key(0), (6, 2, 2, 1)))
    state = technique.init(jax.random.key(0), real)
    shown = step.show(augmented, {"adaptive_augment": state, "objective": None}, jax.random.key(1), real.images)
    np.testing.assert_array_equal(shown, step.show(plain, {"objective": None}, jax.random.key(1), real.images))
    assert NETWORKS.image_range == technique.input_range


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": 1.5}, r"adaptive_augment\.target is 1\.5, expected a number from -1 to 1"),
        ({"target": float("nan")}, r"target is nan, expected a number from -1 to 1"),
        ({"initial": -0.1}, r"initial is -0\.1, expected a probability, 0 to 1"),
        ({"interval": 0}, r"interval is 0, expected a whole number of steps, 1 to 10,000"),
        ({"interval": 2.0}, r"interval is 2\.0, expected a whole number"),
        ({"ramp_images": 0}, r"ramp_images is 0, expected a finite number of images, at least 1"),
        ({"final_probability": 1.1}, r"final_probability is 1\.1, expected a probability"),
        ({"color_share": -1}, r"color_share is -1, expected a share, 0 to 1"),
        ({"ramp_images": float("inf")}, "ramp_images is inf, expected a finite"),
        ({"policy": ("pixel_bliting",)}, "unknown operation 'pixel_bliting'. Did you mean 'pixel_blitting'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(UserError, match=said) as error:
        adaptive_augment.make(**settings)
    assert "\n" not in str(error.value)


def test_images_of_two_channels_are_refused():
    with pytest.raises(UserError, match=r"for images of 1 or 3 channels, and these have 2: .*enabled=False"):
        adaptive_augment.make().init(jax.random.key(0), Examples(jnp.zeros((2, 4, 4, 2))))


def test_an_objective_whose_logits_have_no_sign_is_refused(small):
    """All logits of wasserstein may be shifted by one number, so that their signs say nothing about overfitting."""
    small.techniques.adaptive_augment.enabled = True
    validate(small)
    tested, scheduled = adaptive_augment.make(), adaptive_augment.make(final_probability=0.5)

    def reason(name, tested=tested, **settings):
        return tested.conflict(technique.load({name: {"enabled": True} | settings}) | {"adaptive_augment": tested})

    for name in ("wasserstein", "relativistic", "boundary_equilibrium", "least_squares"):  # Labels 0 and 1: 1/2.
        assert f"the sign of a logit says nothing with {name}" in (reason(name) or "")
        assert reason(name, scheduled) is None  # Asks no logit.
    assert reason("least_squares", generated_label=-1.0, generator_label=0.0) is None  # Labels -1 and 1.
    assert reason("wasserstein", discriminator_weight=0.0) is None  # Without its loss.
    assert reason("hinge") is None is reason("r1")
    another = Technique(discriminator_loss=comparing, objective=True, boundary=0.5)  # Of whatever name.
    assert tested.conflict({"mine": another, "adaptive_augment": tested}) is not None


def comparing(state, view):
    return jnp.zeros(()), {}
