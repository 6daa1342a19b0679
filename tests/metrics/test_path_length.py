"""The length of paths against NumPy in float64: a generator and features in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.layers.interpolation import lerp, slerp
from igan.metrics import path_length
from igan.metrics.extract import FeatureNetwork
from igan.metrics.images import Images

EPSILON = 1e-4
MIX = np.random.default_rng(3).normal(size=(3, 2 * 2 * 3))  # Latents -> images.
LOOK = np.random.default_rng(4).normal(size=(2 * 2 * 3, 5)) / 100  # Images -> features.


def on_sphere(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Shoemake's formula for directions; lengths go linearly."""
    sizes = np.linalg.norm(one), np.linalg.norm(other)
    angle = np.arccos(one @ other / (sizes[0] * sizes[1]))
    direction = np.sin((1 - share) * angle) * one / sizes[0] + np.sin(share * angle) * other / sizes[1]
    return direction / np.sin(angle) * ((1 - share) * sizes[0] + share * sizes[1])


def test_latents_on_the_way_are_those_of_the_textbook(random):
    one, other = random.normal(size=(2, 6, 4))
    shares = np.array([0.0, 0.1, 0.5, 0.9, 1.0, 0.3])
    expected = np.stack([on_sphere(*each) for each in zip(one, other, shares, strict=True)])
    np.testing.assert_allclose(slerp(*map(jnp.float32, (one, other, shares))), expected, rtol=1e-5, atol=1e-6)
    expected = one + shares[:, None] * (other - one)
    np.testing.assert_allclose(lerp(*map(jnp.float32, (one, other, shares))), expected, rtol=1e-5, atol=1e-6)


def test_latents_that_are_the_same_stay_where_they_are():
    same = jnp.float32([[3.0, 4.0]])
    np.testing.assert_allclose(slerp(same, same, jnp.float32([0.3])), same, rtol=1e-6)


def picture(latents: np.ndarray) -> np.ndarray:
    """A generator that is curved, whose images are in 0..255."""
    return (127 + 20 * np.tanh(latents @ MIX / 3)).reshape(len(latents), 2, 2, 3)


@pytest.mark.parametrize("batch_size", [0, 16, 24])  # Of eight devices; 24 ends within a pair of no path, 16 of none.
@pytest.mark.parametrize("way", ["lerp", "slerp"])
def test_paths_of_a_generator_and_features_in_closed_form(random, way, batch_size):
    one, other = random.normal(size=(2, 60, 3))
    shares = random.uniform(size=60)
    between = {"slerp": on_sphere, "lerp": lambda one, other, share: one + share * (other - one)}[way]

    def features(offset: float) -> np.ndarray:
        latents = np.stack([between(*each) for each in zip(one, other, shares + offset, strict=True)])
        return picture(latents).reshape(60, -1) @ LOOK

    values = np.sum((features(0) - features(EPSILON)) ** 2, axis=1) / EPSILON**2
    # The first and the 99th percentile of sixty numbers, outwards, are the first and the last of them.
    expected = np.mean(np.sort(values))

    ways = {"slerp": slerp, "lerp": lerp}

    def read(start: int, stop: int) -> np.ndarray:
        numbers = np.arange(start, stop)
        with jax.enable_x64(True):  # As a generator in float32 would leave 2 digits of so small a network's moves.
            ends = [jnp.asarray(each[numbers // 2]) for each in (one, other)]
            latents = np.asarray(ways[way](*ends, jnp.asarray(shares[numbers // 2] + EPSILON * (numbers % 2))))
        return picture(latents).astype(np.float32)

    network = FeatureNetwork(
        "a matrix",
        ("5",),
        {},
        lambda params, images, levels: {"5": images.reshape(len(images), -1) @ jnp.float32(LOOK)},
    )
    pairs = Images("closed form", 120, read, content_hash=lambda: "")
    score = path_length.path_length(pairs, network, "5", f"{way} in z", batch_size)
    assert score.value == pytest.approx(expected, rel=0.03)
    assert score.protocol == (
        f"60 whole paths, {way} in z, epsilon 0.0001, percentiles 1 to 99; square distances (not LPIPS) of a matrix,"
        " features 5"
    )


def test_lengths_by_hand():
    """Neighbours make a path: (3, 4) apart is 25 / 1e-8."""
    features = np.float32([[0, 0], [3, 4], [1, 1], [1, 2]])
    np.testing.assert_allclose(path_length.lengths(features), [25e8, 1e8])


def test_what_is_outside_of_the_percentiles_is_left_out():
    """Of 0, 1, ..., 1000 those from 10 to 990: the quantiles are values, and count."""
    values = np.random.default_rng(0).permutation(1001).astype(float)
    values[values == 1000] = 1e9
    assert path_length.mean_within(values) == 500.0
    assert path_length.mean_within(np.array([1.0, 2.0, 9.0])) == 4.0  # Of few nothing is.


def test_features_that_are_not_finite_are_refused():
    network = FeatureNetwork("none", ("5",), {}, lambda params, images, levels: {"5": images[:, 0, 0] * jnp.nan})
    pairs = Images("none", 8, lambda start, stop: np.zeros((stop - start, 2, 2, 3), np.float32), lambda: "")
    with pytest.raises(UserError, match="not finite"):
        path_length.path_length(pairs, network, "5", "lerp in w")
