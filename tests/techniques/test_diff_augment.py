"""DiffAugment against NumPy in float64, its draws, and that both players learn through it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.game import step, technique
from igan.run import experiment
from igan.techniques import diff_augment
from igan.techniques.diff_augment import OPERATIONS, augment, brighten, contrast, cut_out, saturate, translate
from igan.types import Batch, Examples
from tests.contexts import turn
from tests.game.smallest import NETWORKS, game_of
from tests.plane import PLANE

MANY = 4000  # Draws, for their statistics.


@pytest.fixture
def images(random) -> np.ndarray:
    return random.uniform(-1, 1, (5, 8, 6, 3))


def close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_colours_against_numpy(images, random):
    drawn, given = random.uniform(0.2, 2, 5), jnp.float32(images)
    for found, expected in (
        (brighten, [image + number for image, number in zip(images, drawn, strict=True)]),
        (saturate, [(i - i.mean(2, keepdims=True)) * f + i.mean(2, keepdims=True) for i, f in zip(images, drawn)]),  # noqa: B905
        (contrast, [(image - image.mean()) * factor + image.mean() for image, factor in zip(images, drawn)]),  # noqa: B905
    ):
        close(found(given, jnp.float32(drawn)), np.stack(expected))


def test_colours_leave_images_alone_at_strength_zero_and_grey_ones_have_no_saturation(images):
    given, nothing, one = jnp.float32(images), jnp.zeros(5), jnp.ones(5)
    np.testing.assert_array_equal(brighten(given, nothing), given)
    close(saturate(given, one), images)
    close(contrast(given, one), images)
    np.testing.assert_array_equal(saturate(given[..., :1], 2 * one), given[..., :1])


def test_translation_against_numpy(images):
    down, right = np.array([0, 2, -3, 0, 9]), np.array([0, -1, 4, 5, 0])
    expected = np.zeros_like(images)
    for image, dy, dx, moved in zip(images, down, right, expected, strict=True):
        for y in range(8):
            for x in range(6):
                if 0 <= y - dy < 8 and 0 <= x - dx < 6:
                    moved[y, x] = image[y - dy, x - dx]
    found = translate(jnp.float32(images), jnp.asarray(down), jnp.asarray(right))
    np.testing.assert_array_equal(found, np.float32(expected))
    assert np.all(found[4] == 0)  # Moved out of sight.


@pytest.mark.parametrize(("shape", "sides"), [((8, 6), (4, 3)), ((3, 5), (2, 3)), ((1, 1), (1, 1))])
def test_a_hole_has_half_the_side_wherever_its_centre_is(shape, sides):
    for row in range(shape[0] + 1):
        for column in range(shape[1] + 1):
            found = cut_out(jnp.ones((1, *shape, 2)), jnp.array([row]), jnp.array([column]))[0]
            expected = np.ones((*shape, 2))
            top, left = row - sides[0] // 2, column - sides[1] // 2
            expected[max(top, 0) : max(top + sides[0], 0), max(left, 0) : max(left + sides[1], 0)] = 0
            np.testing.assert_array_equal(found, expected)


@functools.cache
def shifts(size: int) -> np.ndarray:
    """Down and right, as far as images were moved in many draws: int [n, 2]."""
    lone = jnp.zeros((MANY, size, size, 1)).at[:, size // 2, size // 2].set(1)
    found = np.asarray(jax.jit(OPERATIONS["translation"])(jax.random.key(3), lone))[..., 0]
    places = np.argwhere(found)
    assert len(places) == MANY  # Nobody is lost.
    return places[:, 1:] - size // 2


@pytest.mark.parametrize(("size", "farthest"), [(32, 4), (28, 4), (20, 3), (16, 2), (3, 0)])
def test_shifts_reach_an_eighth_of_the_side_on_both_sides_evenly(size, farthest):
    for along in shifts(size).T:
        values, counts = np.unique(along, return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-farthest, farthest + 1))
        expected = MANY / len(values)
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_both_axes_and_all_images_are_shifted_on_their_own():
    down, right = shifts(32).T
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.08
    assert abs(np.corrcoef(down[:-1], down[1:])[0, 1]) < 0.08


def test_the_draws_of_colours_are_uniform():
    """Told from images of two pixels and two channels."""
    images = jnp.broadcast_to(jnp.float32([[[0.1, 0.3], [0.5, 0.9]]]), (MANY, 1, 2, 2))
    found = np.asarray(jax.jit(OPERATIONS["color"])(jax.random.key(1), images), np.float64)
    means = found.mean((1, 2, 3)) - 0.45  # Neither saturation nor contrast moves the mean.
    by_pixel = found.mean(3)
    contrasts = (by_pixel[:, 0, 1] - by_pixel[:, 0, 0]) / 0.5  # Saturation leaves the mean of a pixel alone.
    saturations = (found[:, 0, 0, 1] - found[:, 0, 0, 0]) / 0.2 / contrasts
    for drawn, low, high in ((means, -0.5, 0.5), (contrasts, 0.5, 1.5), (saturations, 0.0, 2.0)):
        assert low - 1e-5 <= drawn.min() < low + 0.01 and high - 0.01 < drawn.max() <= high + 1e-5
        quarters = (np.quantile(drawn, [0.25, 0.5, 0.75]) - low) / (high - low)
        np.testing.assert_allclose(quarters, [0.25, 0.5, 0.75], atol=0.05)
    assert abs(np.corrcoef(means, contrasts)[0, 1]) < 0.08 and abs(np.corrcoef(contrasts, saturations)[0, 1]) < 0.08


def test_a_hole_is_in_every_image_and_may_leave_it():
    holes = np.asarray(jax.jit(OPERATIONS["cutout"])(jax.random.key(1), jnp.ones((MANY, 8, 8, 1)))) == 0
    areas = holes.sum((1, 2, 3))
    assert areas.min() == 4 and areas.max() == 16  # A quarter of it at the corners.
    rows = holes.any(axis=(2, 3)).mean(axis=0)
    np.testing.assert_allclose(rows, np.array([3, 4, 4, 4, 4, 4, 4, 3]) / 9, atol=0.04)  # Nine centres, four rows each.


def test_every_image_is_changed_in_every_call_in_another_way():
    images = jnp.broadcast_to(jnp.linspace(-1, 1, 192).reshape(8, 8, 3), (6, 8, 8, 3))
    first, again, other = (augment(jax.random.key(seed), images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.any(first != images, axis=(1, 2, 3))) and np.all(np.any(first != other, axis=(1, 2, 3)))
    assert len(np.unique(np.asarray(first).reshape(6, -1), axis=0)) == 6


def test_the_policy_says_which_and_in_which_order(images):
    given, key = jnp.float32(images), jax.random.key(0)
    assert augment(key, given, ()) is given
    one_way, other_way = (augment(key, given, policy) for policy in (("cutout", "color"), ("color", "cutout")))
    assert np.any(one_way != other_way)
    only = augment(key, given, ("cutout",))
    holes = np.all(np.asarray(only) == 0, axis=3)
    np.testing.assert_array_equal(np.all(np.asarray(other_way) == 0, axis=3), holes)  # The same one, whatever precedes.


def test_it_is_linear_in_the_images_so_that_slopes_are_exact(images):
    """But for the brightness, which is added: so differences of two images are augmented as images are."""
    one, other, key = jnp.float32(images), jnp.float32(images[::-1].copy()), jax.random.key(5)
    through = lambda given: augment(key, given)  # noqa: E731
    _, slope = jax.jvp(through, (one,), (other - one,))
    close(slope, through(other) - through(one))
    _, pulled = jax.vjp(through, one)
    weights = jnp.cos(jnp.arange(one.size, dtype=jnp.float32)).reshape(one.shape)
    np.testing.assert_allclose(jnp.vdot(pulled(weights)[0], other - one), jnp.vdot(weights, slope), rtol=1e-4)


def test_the_generator_learns_through_it_and_both_players_see_it():
    networks = NETWORKS._replace(sample_latents=lambda key, count: jax.random.normal(jax.random.key(1), (count, 3)))
    batch = Batch(Examples(jax.random.uniform(jax.random.key(0), (6, 2, 2, 1))))
    augmented = diff_augment.make(("color",))
    games = [game_of(networks), game_of(networks, diff_augment=augmented)]
    state = step.initialize(games[0], jax.random.key(0), batch.real)
    state = state._replace(techniques={"diff_augment": None, "objective": None})
    slopes = [
        [slope(game, state, turn(), jax.random.key(2), batch) for game in games]
        for slope in (step.discriminator_slope, step.generator_slope)
    ]
    for plain, other in slopes:
        for one, two in zip(*map(jax.tree.leaves, (plain.gradients, other.gradients)), strict=True):
            assert np.all(np.isfinite(two)) and np.any(np.abs(two) > 1e-4) and np.any(one != two)


def test_the_range_of_the_networks_changes_nothing():
    """Images in (0, 1) are augmented as the same ones in [-1, 1]: a brightness of 0.5 is a quarter there."""
    given = jax.random.uniform(jax.random.key(0), (6, 8, 8, 1), minval=-1, maxval=1)
    shown = []
    for networks, images in ((NETWORKS, given), (NETWORKS._replace(image_range=(0.0, 1.0)), (given + 1) / 2)):
        game = game_of(networks, diff_augment=diff_augment.make())
        shown.append(step.show(game, {"diff_augment": None, "objective": None}, jax.random.key(1), images))
    np.testing.assert_allclose(shown[1], (shown[0] + 1) / 2, atol=1e-6)
    assert np.any(np.abs(shown[0] - given) > 0.3)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (("colour",), r"techniques\.diff_augment\.policy has an unknown operation 'colour'\. Did you mean 'color'"),
        (("color", "color"), "expected each operation once at most"),
        ("color", r"policy is color, expected names in brackets, like \('color',\)"),
        ((1,), "expected names in brackets"),
        (
            (),
            r"policy is empty, .*diff_augment\.enabled=False, or .* --config\.techniques\.diff_augment\.policy=",
        ),
    ],
)
def test_a_policy_that_is_none_is_refused(policy, said):
    with pytest.raises(UserError, match=said) as error:
        diff_augment.make(policy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["diff_augment", "adaptive_augment"])
def test_points_are_refused(name, small, monkeypatch):
    built = experiment.data.load("mnist", "embedded", "", 0, "none", "error")
    points = built.train_images.reshape(-1, 784)[:, :2].astype(np.float32)
    dataset = built._replace(name="ring", train_images=points, test_images=points[:0], no_images=PLANE)
    monkeypatch.setattr(experiment.data, "load", lambda *arguments: dataset)
    small.techniques[name].enabled = True
    with pytest.raises(UserError, match=rf"{name} needs data that are images, and those of ring are points: ") as error:
        experiment.build(small)
    assert f"{name}.enabled=False" in str(error.value) and "\n" not in str(error.value)
    assert technique.NEEDS["images"]
