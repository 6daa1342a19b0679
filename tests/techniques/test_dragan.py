"""DRAGAN's points around real images, against the released notebook's description. What all penalties share is in
test_gradient_penalty.py, whole updates are in test_penalties.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.techniques.dragan import around, make
from tests.techniques import probes


@pytest.mark.parametrize("shape", [(64, 2), (64, 4, 3, 2)])
def test_noise_is_one_sided_in_units_of_the_whole_batch(random, shape):
    """std is one number: features with another spread of their own have the same noise."""
    real = random.normal(5, 3, shape).astype(np.float32)
    real[..., 0] *= 10
    moves = np.asarray(around(jax.random.key(0), real, radius=0.5)) - real
    largest = 0.5 * np.std(np.float64(real))
    assert moves.min() > -1e-4 and moves.max() < largest + 1e-4
    for feature in range(shape[-1]):
        assert moves[..., feature].max() > 0.6 * largest
    # Share and noise are independent, of means 1/2: a symmetric noise would have 0, no share 1/2.
    np.testing.assert_allclose(moves.mean(), largest / 4, rtol=0.25)
    np.testing.assert_allclose(around(jax.random.key(0), real, radius=1.0) - real, 2 * moves, rtol=1e-3, atol=1e-4)


def test_each_image_has_one_share_and_each_pixel_its_own_noise():
    """Along the line of an image all pixels go the same way: the largest of 400 pixels tells the image's share."""
    real = jnp.zeros((200, 20, 20, 1)).at[0].set(1.0)
    moves = np.asarray(around(jax.random.key(1), real) - real).reshape(200, -1) / (0.5 * float(jnp.std(real)))
    share = moves.max(axis=1)
    assert 0 <= share.min() < 0.05 and 0.95 < share.max() <= 1.01
    np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)
    noise = moves / share[:, None]
    np.testing.assert_allclose(noise.mean(axis=1), 0.5, atol=0.1)  # U[0, 1) within each image.
    assert np.std(noise[0] - noise[1]) > 0.3  # Another one in each.


def test_it_is_around_real_images_alone(random):
    real, fake = random.normal(size=(2, 6, 2, 2, 1))
    one, other = (make().discriminator_loss(None, probes.look_at(real, each)) for each in (fake, 100 * fake))
    assert one[0] == other[0]
    length = np.linalg.norm(probes.SLOPE)
    np.testing.assert_allclose(one[0], 10 * (length - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(one[1]["slope"], length, rtol=1e-6)
    value, _ = make(strength=2.0, target=0.25).discriminator_loss(None, probes.look_at(real, fake))
    np.testing.assert_allclose(value, 2 * (length - 0.25) ** 2, rtol=1e-5)
