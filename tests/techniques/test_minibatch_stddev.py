"""Minibatch standard deviation, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.config import validate
from igan.errors import UserError
from igan.game import technique
from igan.layers.minibatch_stddev import minibatch_stddev


def by_hand(features: np.ndarray, group: int) -> np.ndarray:
    """In float64, image by image: those of its group are the images a whole number of strides away."""
    stride = len(features) // group
    numbers = []
    for image in range(len(features)):
        mates = features[image % stride :: stride]
        assert len(mates) == group
        numbers.append(np.mean(np.sqrt(np.mean((mates - mates.mean(0)) ** 2, axis=0) + 1e-8)))
    maps = np.broadcast_to(np.reshape(numbers, (-1, 1, 1, 1)), (*features.shape[:-1], 1))
    return np.concatenate([features, maps], axis=-1)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (8, 2), (6, 3), (8, 8)])
def test_groups_are_strided_and_their_variance_is_biased(count, group, random):
    features = random.normal(size=(count, 4, 4, 3))
    with jax.enable_x64(True):
        found = minibatch_stddev(jnp.asarray(features), group)
    np.testing.assert_allclose(found, by_hand(features, group), rtol=1e-12)


def test_two_groups_of_two_numbers():
    """Images 1 and 3, 2 and 4; neighbours would have 1 and 1, the unbiased variance sqrt(2) times as much."""
    found = minibatch_stddev(jnp.array([[0.0], [2.0], [10.0], [4.0]]), 2)
    np.testing.assert_allclose(found[:, 1], [5, 1, 5, 1], rtol=1e-6)


@pytest.mark.parametrize("group", [0, 8, 100])
def test_the_whole_batch_can_be_one_group(group, random):
    features = random.normal(size=(8, 2, 2, 3))
    with jax.enable_x64(True):
        np.testing.assert_allclose(minibatch_stddev(jnp.asarray(features), group), by_hand(features, 8), rtol=1e-12)


def test_images_that_are_all_alike_have_the_root_of_epsilon_and_a_finite_slope():
    alike = jnp.full((4, 4, 4, 2), 0.7)
    np.testing.assert_allclose(minibatch_stddev(alike, 4)[..., -1], 1e-4, rtol=1e-3)
    assert np.all(np.isfinite(jax.grad(lambda features: jnp.sum(minibatch_stddev(features, 4)))(alike)))


def test_a_batch_of_six_is_no_groups_of_four(small):
    with pytest.raises(UserError, match="6 images cannot be dealt out to groups of 4"):
        minibatch_stddev(jnp.zeros((6, 3)), 4)
    small.techniques.minibatch_stddev.enabled = True
    small.batch_size = 6
    with pytest.raises(UserError, match=r"batch_size is 6, and minibatch_stddev looks at 4 images together.*=8"):
        validate(small)
    small.batch_size, small.accumulate = 12, 3
    validate(small)
    small.batch_size, small.accumulate = 12, 2  # Parts of six.
    with pytest.raises(UserError, match=r"in each of 2 parts.*=16, a multiple of 8"):
        validate(small)


@pytest.mark.parametrize("penalty", ["gradient_penalty", "r1", "r2", "dragan"])
def test_it_goes_together_with_the_slopes_of_the_papers(penalty, small):
    small.techniques.minibatch_stddev.enabled = small.techniques[penalty].enabled = True
    validate(small)


@pytest.mark.parametrize("group", [1, -4, 2.5, True, float("nan")])
def test_another_group_is_refused(group):
    with pytest.raises(UserError, match=r"minibatch_stddev\.group") as caught:
        technique.load({"minibatch_stddev": {"enabled": True, "group": group}})
    assert "\n" not in str(caught.value)
