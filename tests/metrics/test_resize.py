"""The resize of TensorFlow 1, pixel by pixel, and Pillow's beside it."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from igan.errors import UserError
from igan.metrics.resize import METHODS, resize, tf1_bilinear


def legacy_bilinear(image: np.ndarray, size: int, kind: type) -> np.ndarray:
    """The definition, one destination pixel at a time: no half-pixel centres, source = destination * in / out."""
    height, width, channels = image.shape
    result = np.empty((size, size, channels), kind)
    for row in range(size):
        y = kind(row) * (kind(height) / kind(size))
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for column in range(size):
            x = kind(column) * (kind(width) / kind(size))
            left, right = int(x), min(int(x) + 1, width - 1)
            corners = image.astype(kind)
            upper = corners[top, left] + (corners[top, right] - corners[top, left]) * (x - kind(left))
            lower = corners[bottom, left] + (corners[bottom, right] - corners[bottom, left]) * (x - kind(left))
            result[row, column] = upper + (lower - upper) * (y - kind(top))
    return result


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 75), (13, 9, 29), (40, 40, 17), (1, 2, 4), (16, 16, 16)])
def test_tf1_bilinear_is_pixel_exact(random, height, width, size):
    images = random.integers(0, 256, (2, height, width, 3), np.uint8)
    resized = np.asarray(tf1_bilinear(jnp.asarray(images), size))
    assert resized.dtype == np.float32
    single = np.stack([legacy_bilinear(image, size, np.float32) for image in images])
    double = np.stack([legacy_bilinear(image, size, np.float64) for image in images])
    # One unit in the last place of 255 is 1.5e-5: a fused multiply-add rounds once instead of twice.
    np.testing.assert_allclose(resized, single, rtol=0, atol=3.1e-5)
    # In float32 a position of 40 is off by up to 2e-6, and a pixel by 255 times as much, and a little more.
    np.testing.assert_allclose(resized, double, rtol=0, atol=2e-3)


def test_tf1_bilinear_agrees_with_torch_fidelity(random, fidelity):
    import torch

    reference = fidelity("interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    images = random.integers(0, 256, (2, 32, 32, 3), np.uint8)
    images[0] = 255 * (np.indices((32, 32)).sum(axis=0) % 2)[..., None]  # A checkerboard, the hardest pattern.
    expected = reference(torch.tensor(images).permute(0, 3, 1, 2).float(), size=(299, 299), align_corners=False)
    np.testing.assert_allclose(tf1_bilinear(images, 299), expected.permute(0, 2, 3, 1), rtol=0, atol=3.1e-5)


@pytest.mark.parametrize(("name", "kernel"), [("pil-bilinear", "BILINEAR"), ("pil-bicubic", "BICUBIC")])
@pytest.mark.parametrize("size", [11, 50])
def test_other_methods_are_pillows(random, name, kernel, size):
    image = random.integers(0, 256, (1, 24, 24, 1), np.uint8)
    expected = Image.fromarray(image[0, :, :, 0].astype(np.float32)).resize((size, size), Image.Resampling[kernel])
    np.testing.assert_allclose(resize(jnp.asarray(image), size, name)[0, :, :, 0], expected, rtol=0, atol=2e-3)


def test_methods_differ_and_unknown_ones_are_named(random):
    image = jnp.asarray(random.integers(0, 256, (1, 24, 24, 3), np.uint8))
    results = [np.asarray(resize(image, 16, name)) for name in METHODS]
    for one, other in itertools.pairwise(results):
        assert np.abs(one - other).max() > 1
    with pytest.raises(UserError, match=r"unknown resize 'pil-bicubik'\. Did you mean 'pil-bicubic'"):
        resize(image, 16, "pil-bicubik")
