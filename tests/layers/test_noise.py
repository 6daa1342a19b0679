"""The noise is off outside training, normal in training, and made of the same random bits as JAX's own."""

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from igan.layers.noise import GaussianNoise, standard_normal, threefry2x32, uniform

pytestmark = pytest.mark.usefixtures("optimized")  # The noise that users have.

COUNT = 200_000


def draw(seed=0, shape=(COUNT,)):
    return np.asarray(standard_normal(jax.random.key(seed), shape))


def test_noise_is_off_outside_training_and_needs_no_key(random):
    inputs = jnp.asarray(random.normal(size=(8, 3)), jnp.float32)
    np.testing.assert_array_equal(GaussianNoise(0.5).apply({}, inputs, train=False), inputs)


def test_noise_of_no_size_is_nothing_and_needs_no_key(random):
    inputs = jnp.asarray(random.normal(size=(8, 3)), jnp.float32)
    np.testing.assert_array_equal(GaussianNoise(0.0).apply({}, inputs, train=True), inputs)


@pytest.mark.parametrize("std", [0.3, 0.5])
def test_noise_in_training_is_added_with_the_standard_deviation_asked_for(random, std):
    inputs = jnp.asarray(random.normal(size=(400, 250)), jnp.float32)
    outputs = GaussianNoise(std).apply({}, inputs, train=True, rngs={"noise": jax.random.key(0)})
    assert outputs.dtype == jnp.float32 and outputs.shape == inputs.shape
    noise = np.asarray(outputs - inputs, np.float64)
    assert abs(noise.mean()) < 4 * std / np.sqrt(noise.size)
    np.testing.assert_allclose(noise.std(), std, rtol=0.01)
    assert abs(np.corrcoef(noise.ravel(), np.ravel(inputs))[0, 1]) < 4 / np.sqrt(noise.size)


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        once = GaussianNoise(1.0)(inputs, train=True)
        return once, GaussianNoise(1.0)(once, train=True) - once


def test_two_layers_of_a_network_draw_different_noise():
    zeros = jnp.zeros((100, 100))
    first, second = TwoLayers().apply({}, zeros, rngs={"noise": jax.random.key(0)})
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(zeros.size)
    again, _ = TwoLayers().apply({}, zeros, rngs={"noise": jax.random.key(0)})
    other, _ = TwoLayers().apply({}, zeros, rngs={"noise": jax.random.key(1)})
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(zeros.size)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_threefry_makes_the_same_bits_as_jax(seed, size):
    key = jax.random.fold_in(jax.random.key(seed), 5)  # Both words of this key are used.
    counter = jnp.arange(size, dtype=jnp.uint32)
    both = jnp.concatenate([jnp.zeros_like(counter), counter])
    expected = jax.extend.random.threefry_2x32(jax.random.key_data(key), both)
    found = threefry2x32(jax.random.key_data(key), counter)
    assert all(word.dtype == jnp.uint32 and word.shape == (size,) for word in found)
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert np.any(found[0] != found[1])


def test_threefry_gives_the_published_answers():
    """The known answers of the authors' library Random123 that have a high counter word of zero."""
    low, high = threefry2x32(jnp.zeros(2, jnp.uint32), jnp.zeros(1, jnp.uint32))
    assert [hex(low[0]), hex(high[0])] == ["0x6b200159", "0x99ba4efe"]


def test_threefry_counts_to_the_end():
    """The last counters there are, so that nothing overflows into something else than a wrap."""
    counter = jnp.asarray([2**31 - 1, 2**31, 2**32 - 1], jnp.uint32)
    key = jax.random.key_data(jax.random.fold_in(jax.random.key(3), 5))
    expected = jax.extend.random.threefry_2x32(key, jnp.concatenate([jnp.zeros_like(counter), counter]))
    np.testing.assert_array_equal(np.concatenate(threefry2x32(key, counter)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_standard_normal_follows_the_normal_distribution(seed):
    values = draw(seed)
    assert values.dtype == np.float32
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(values.mean()) < 4 / np.sqrt(COUNT)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / COUNT)
    assert abs(stats.skew(values)) < 4 * np.sqrt(6 / COUNT)
    assert abs(stats.kurtosis(values)) < 4 * np.sqrt(24 / COUNT)


def test_standard_normal_has_the_tails_of_the_normal_distribution():
    values = draw(shape=(5_000_000,))
    for bound, tolerance in ((3, 0.04), (4, 0.25)):
        np.testing.assert_allclose(np.mean(np.abs(values) > bound), 2 * stats.norm.sf(bound), rtol=tolerance)


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_noise_is_the_normal_quantile_of_the_random_bits_of_jax(seed):
    key = jax.random.fold_in(jax.random.key(seed), 5)
    bits = np.asarray(jax.random.bits(key, (300, 784))) >> 9
    shares = (bits + 0.5) / 2**23
    np.testing.assert_array_equal(uniform(key, (300, 784)), shares)
    np.testing.assert_allclose(standard_normal(key, (300, 784)), stats.norm.ppf(shares), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("word", "largest"), [(0, -5.294705), (2**32 - 1, 5.294705)])
def test_the_most_extreme_noise_there_is_is_finite(monkeypatch, word, largest):
    """2^-24 from the ends: a share of 0 or 1 would be infinite noise."""
    words = jnp.uint32(word), jnp.uint32(0)
    monkeypatch.setattr("igan.layers.noise.threefry2x32", lambda *_: words)
    np.testing.assert_allclose(standard_normal(jax.random.key(0), ()), largest, rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (3,), (5,), (7, 3), (3, 1, 5), (4, 4)])
def test_standard_normal_fills_any_shape(shape):
    values = draw(shape=shape)
    assert values.shape == shape and values.dtype == np.float32
    assert np.all(np.isfinite(values)) and len(np.unique(values)) == values.size


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 250, 1000])
def test_neighbours_in_a_draw_are_independent(lag):
    values = draw()
    assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / np.sqrt(COUNT)


def test_different_keys_draw_independently_and_equal_keys_the_same():
    np.testing.assert_array_equal(draw(0), draw(0))
    # Keys that differ in one word only, the first or the second.
    words = ([0, 0], [0, 1], [1, 0], [1, 1])
    draws = [standard_normal(jax.random.wrap_key_data(jnp.uint32(word)), (COUNT,)) for word in words]
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 4.5 / np.sqrt(COUNT)


def test_a_draw_does_not_depend_on_how_it_is_compiled():
    """The engine maps replicas' keys through it; each must draw what it would alone."""
    keys = jax.random.split(jax.random.key(0), 3)
    mapped = jax.jit(jax.vmap(lambda key: standard_normal(key, (5, 7))))(keys)
    for key, values in zip(keys, mapped, strict=True):
        np.testing.assert_allclose(standard_normal(key, (5, 7)), values, rtol=1e-6)
