"""Residual blocks and the layers in them that change the size; whole networks of them are compared with PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.layer_norm import LayerNorm
from igan.layers.resampling import mean_pool, upsample
from igan.layers.residual import DownBlock, UpBlock
from tests.contexts import at

IMAGES = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)


def test_upsampling_repeats_pixels():
    np.testing.assert_array_equal(upsample(jnp.asarray(IMAGES)), IMAGES.repeat(2, axis=1).repeat(2, axis=2))


def test_pooling_takes_the_means_of_squares():
    expected = (IMAGES[:, ::2, ::2] + IMAGES[:, 1::2, ::2] + IMAGES[:, ::2, 1::2] + IMAGES[:, 1::2, 1::2]) / 4
    np.testing.assert_allclose(mean_pool(jnp.asarray(IMAGES)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mean_pool(upsample(jnp.asarray(IMAGES))), IMAGES)


def shapes_of(block):
    variables = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.asarray(IMAGES), at()))
    kernels = [layer["kernel"].shape for name, layer in variables["params"].items() if name.startswith("WeightLayer")]
    norms = [name for name in variables["params"] if "Norm" in name]
    outputs = jax.eval_shape(
        lambda variables: block.apply(variables, jnp.asarray(IMAGES), at(), mutable=["statistics"])[0], variables
    )
    return kernels, norms, outputs.shape


@pytest.mark.parametrize(
    ("block", "kernels", "norms", "outputs"),
    [
        (UpBlock(5), [(3, 3, 3, 5), (3, 3, 5, 5), (1, 1, 3, 5)], 2, (2, 8, 12, 5)),
        (UpBlock(3), [(3, 3, 3, 3), (3, 3, 3, 3), (1, 1, 3, 3)], 2, (2, 8, 12, 3)),
        (DownBlock(5, halves=True), [(3, 3, 3, 3), (3, 3, 3, 5), (1, 1, 3, 5)], 0, (2, 2, 3, 5)),
        (DownBlock(5, True, on_pixels=True), [(3, 3, 3, 5), (3, 3, 5, 5), (1, 1, 3, 5)], 0, (2, 2, 3, 5)),
        (DownBlock(3, halves=False), [(3, 3, 3, 3), (3, 3, 3, 3)], 0, (2, 4, 6, 3)),
        (DownBlock(5, False, norm=LayerNorm), [(3, 3, 3, 3), (3, 3, 3, 5), (1, 1, 3, 5)], 2, (2, 4, 6, 5)),
    ],
    ids=["up", "up, same width", "down", "on pixels", "same size", "same size, wider, normalised"],
)
def test_blocks_have_the_layers_of_the_papers(block, kernels, norms, outputs):
    found, normalisations, shape = shapes_of(block)
    assert (sorted(found), len(normalisations), shape) == (sorted(kernels), norms, outputs)


def silenced(block):
    """The block's output with a second convolution of zeros: its shortcut."""
    variables = block.init(jax.random.key(0), jnp.asarray(IMAGES), at())
    params = dict(variables["params"])
    params["WeightLayer_1"] = jax.tree.map(jnp.zeros_like, params["WeightLayer_1"])
    outputs = block.apply({**variables, "params": params}, jnp.asarray(IMAGES), at(), mutable=["statistics"])[0]
    return outputs, params.get("WeightLayer_2")


def test_shortcuts_see_the_inputs_as_they_are():
    """Neither a rectifier nor a normalisation stands before them, and nothing after the sum."""
    outputs, _ = silenced(DownBlock(3, halves=False))
    np.testing.assert_array_equal(outputs, IMAGES)
    for block, resize in ((UpBlock(5), upsample), (DownBlock(5, halves=True), mean_pool)):
        outputs, shortcut = silenced(block)
        # In the papers' order: the size first.
        expected = resize(jnp.asarray(IMAGES)) @ shortcut["kernel"][0, 0]
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
        assert np.any(outputs < 0)


def test_the_first_block_tells_pixels_below_zero_apart():
    """A rectifier on the pixels would not: SNGAN's released networks have none there."""
    for on_pixels in (True, False):
        block = DownBlock(5, halves=False, on_pixels=on_pixels)
        darker = -np.abs(IMAGES)
        variables = block.init(jax.random.key(0), jnp.asarray(IMAGES), at())
        params = {**variables["params"]}
        params["WeightLayer_2"] = jax.tree.map(jnp.zeros_like, params["WeightLayer_2"])  # The shortcut.
        one, other = (block.apply({"params": params}, images, at()) for images in (darker, 2 * darker))
        assert np.allclose(one, other) != on_pixels
