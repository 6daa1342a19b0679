"""Style mixing: where it crosses, how often, and what of which latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.game import technique
from igan.layers.style_mixing import crossed, mix

FIRST, SECOND = jnp.zeros((3, 2)), jnp.ones((3, 2))


@pytest.mark.parametrize("crossover", [1, 2, 3])
def test_layers_before_the_crossover_are_of_the_first_latents(crossover):
    found = crossed(FIRST, SECOND, crossover, layers=4)
    assert found.shape == (3, 4, 2)
    np.testing.assert_array_equal(found[:, :crossover], 0)
    np.testing.assert_array_equal(found[:, crossover:], 1)


def places(layers: int, probability: float) -> np.ndarray:
    """How many layers are of the first latents, of many batches."""
    draw = jax.jit(jax.vmap(lambda key: mix(key, FIRST, lambda key: SECOND, layers, probability)))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    assert np.all(found == found[:, :1, :, :1])  # One place for a batch.
    return np.sum(found[:, 0, :, 0] == 0, axis=1)


def test_eight_pixels_are_crossed_at_one_two_or_three_of_their_four_layers():
    found, counts = np.unique(places(4, 1.0), return_counts=True)
    np.testing.assert_array_equal(found, [1, 2, 3])
    np.testing.assert_allclose(counts / 2000, 1 / 3, atol=0.04)


def test_nine_batches_of_ten_are_mixed():
    assert np.mean(places(8, 0.9) < 8) == pytest.approx(0.9, abs=0.02)
    assert np.all(places(8, 0.0) == 8)


def test_the_other_latents_are_drawn_anew():
    """By a key of their own, not that of the crossover."""
    drawn = []
    for seed in (0, 1):
        mix(jax.random.key(seed), FIRST, lambda key: drawn.append(jax.random.normal(key, (3, 2))) or SECOND, 4, 1.0)
    assert np.all(drawn[0] != drawn[1])


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan"), "often"])
def test_another_probability_is_refused(probability):
    with pytest.raises(UserError, match=r"style_mixing\.probability") as caught:
        technique.load({"style_mixing": {"enabled": True, "probability": probability}})
    assert "\n" not in str(caught.value)
