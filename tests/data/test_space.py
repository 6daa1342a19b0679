"""Images as they are stored, as networks see them, and as people do."""

import jax.numpy as jnp
import numpy as np
import pytest

from igan.data.dataset import Dataset
from igan.data.space import grid, images, quantize, rescale
from tests.plane import PLANE


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_rescaling_is_exact(image_range):
    low, high = image_range
    levels = np.arange(256, dtype=np.uint8)
    rescaled = np.asarray(rescale(jnp.asarray(levels), image_range))
    assert rescaled.dtype == np.float32
    assert (rescaled[0], rescaled[255]) == (low, high)
    # To within two roundings of float32 at 1.
    np.testing.assert_allclose(rescaled, low + levels * (high - low) / 255, rtol=0, atol=2.4e-7)


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_quantize_rounds_and_clips(image_range):
    low, high = image_range
    values = low + (high - low) * np.linspace(-0.1, 1.1, 1201)
    expected = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    found = np.asarray(quantize(jnp.float32(values), image_range))
    assert found.dtype == np.uint8 and found.min() == 0 and found.max() == 255
    assert (found != expected).mean() < 0.01 and np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("replicas, count", [(1, 1), (1, 2), (1, 3), (1, 100), (2, 1), (3, 7), (10, 100), (10, 1)])
def test_a_grid_of_any_number_of_samples(replicas: int, count: int) -> None:
    picture = grid(np.zeros((replicas, count, 4, 4, 1), np.float32), (0.0, 1.0))
    assert picture.dtype == np.uint8 and picture.shape[0] >= 4 * replicas * (count == 1)


def test_a_data_set_is_of_images_unless_it_says_otherwise():
    pixels, labels = np.zeros((2, 4, 3, 1), np.uint8), np.zeros(2, np.int32)
    dataset = Dataset("black", pixels, labels, pixels, labels, 1, "nowhere")
    assert (dataset.space.kind, dataset.space.shape, dataset.space.storage) == ("images", (4, 3, 1), np.uint8)


def test_points_are_the_same_data_only_if_all_numbers_are():
    """Their shapes and labels do not tell one mixture from another."""
    points, labels = np.float32([[0, 1], [2, 3]]), np.zeros(2, np.int32)
    prints = {
        Dataset("ring", each, labels, points[:0], labels[:0], 1, "drawn", no_images=PLANE).fingerprint()
        for each in (points, points.copy(), points + 0.1)
    }
    assert len(prints) == 2


def test_images_take_the_way_there_and_back():
    space, stored = images((2, 2, 1)), np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(space.decode(space.encode(stored, (-1.0, 1.0)), (-1.0, 1.0)), stored)
