"""Gradients of any order of the convolutions, against those of XLA's plain one, and which forms a CPU is given."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.convolution import LAYOUT, conv, conv_transpose, images_gradient, kernel_gradient
from igan.types import Array

CHANNELS, FEATURES = 3, 4
# kernel, stride, padding; sides that a stride of 2 divides, and sides that it does not.
SHAPES = {
    "3 x 3": (3, 1, 1, (6, 5)),
    "without padding": (3, 1, 0, (6, 5)),
    "1 x 1": (1, 1, 0, (4, 3)),
    "stride 2": (3, 2, 1, (6, 8)),
    "stride 2, odd sides": (3, 2, 1, (5, 7)),
    "4 x 4, stride 2": (4, 2, 1, (6, 6)),
    "5 x 5, stride 2": (5, 2, 2, (7, 6)),
    "a pixel that is never seen": (1, 2, 0, (4, 4)),
}
each_shape = pytest.mark.parametrize(("kernel", "stride", "padding", "sides"), SHAPES.values(), ids=SHAPES)


def plain(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    pads = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(images, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)


def plain_transpose(images: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), [(2, 3)] * 2, lhs_dilation=(2, 2), dimension_numbers=LAYOUT
    )


def penalty(convolve: Callable[[Array, Array], Array], images: Array, kernel: Array) -> Array:
    """A gradient penalty of a critic with one convolution, through whose curvature everything depends on everything."""
    slopes = jax.grad(lambda images: jnp.sum(jnp.tanh(convolve(images, kernel))))(images)
    return jnp.mean((jnp.sqrt(jnp.sum(slopes**2, axis=(1, 2, 3))) - 1) ** 2)


def assert_same_derivatives(one: Callable[..., Array], other: Callable[..., Array], random: Any, *shape: int) -> None:
    """The second derivatives, and the third, which an unrolled discriminator with a penalty needs."""
    images = jnp.asarray(random.normal(size=(2, *shape[1:], CHANNELS)))
    kernel = jnp.asarray(random.normal(0, 0.2, (shape[0], shape[0], CHANNELS, FEATURES)))

    def derivatives(convolve: Callable[..., Array]) -> Any:
        slope = jax.grad(lambda images, kernel: penalty(convolve, images, kernel), argnums=(0, 1))
        length = lambda images, kernel: sum(jnp.sum(each**2) for each in slope(images, kernel))  # noqa: E731
        return jax.jit(lambda *at: (slope(*at), jax.grad(length, argnums=(0, 1))(*at)))(images, kernel)

    for ours, theirs in zip(*map(jax.tree.leaves, map(derivatives, (one, other))), strict=True):
        assert ours.dtype == jnp.float64 and jnp.any(theirs != 0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@each_shape
def test_derivatives_of_higher_order_are_those_of_the_plain_convolution(random, kernel, stride, padding, sides):
    with jax.enable_x64(True):
        assert_same_derivatives(
            lambda *at: conv(*at, stride, padding), lambda *at: plain(*at, stride, padding), random, kernel, *sides
        )


def test_derivatives_of_higher_order_of_the_transposed_convolution(random):
    with jax.enable_x64(True):
        assert_same_derivatives(conv_transpose, plain_transpose, random, 5, 3, 4)


@each_shape
def test_the_three_of_them_are_one_form(random, kernel, stride, padding, sides):
    """<conv(x, k), g> = <x, images_gradient(g, k)> = <k, kernel_gradient(x, g)>, which is why they are closed."""
    with jax.enable_x64(True):
        images = jnp.asarray(random.normal(size=(2, *sides, CHANNELS)))
        taps = jnp.asarray(random.normal(size=(kernel, kernel, CHANNELS, FEATURES)))
        outputs = conv(images, taps, stride, padding)
        gradient = jnp.asarray(random.normal(size=outputs.shape))
        forms = (
            jnp.vdot(outputs, gradient),
            jnp.vdot(images, images_gradient(gradient, taps, sides, stride, padding)),
            jnp.vdot(taps, kernel_gradient(images, gradient, kernel, stride, padding)),
        )
        np.testing.assert_allclose(forms, forms[0], rtol=1e-10)


def test_half_precision_stays_half_in_both_passes(random):
    images, taps = (jnp.asarray(random.normal(size=shape), jnp.bfloat16) for shape in ((2, 4, 4, 3), (3, 3, 3, 4)))
    found = jax.grad(lambda *at: penalty(lambda *each: conv(*each, 1, 1), *at), argnums=(0, 1))(images, taps)
    assert {each.dtype for each in found} == {jnp.dtype(jnp.bfloat16)}


def forms(convolve: Callable[..., Array], replicas: int) -> list[str]:
    """The convolutions of the compiled gradient of a penalty, whose critic is 3 x 3 twice, the second with stride 2."""

    def critic(images: Array, kernels: Any) -> Array:
        hidden = jax.nn.relu(convolve(images, kernels[0], 1, 1))
        return jnp.sum(jnp.tanh(convolve(hidden, kernels[1], 2, 1)))

    def loss(kernels: Any, images: Array) -> Array:
        return jnp.mean(jax.grad(critic)(images, kernels) ** 2)

    kernels = [jnp.ones((3, 3, CHANNELS, 8)), jnp.ones((3, 3, 8, 16))]
    arguments = (kernels, jnp.ones((2, 8, 8, CHANNELS)))
    slope = jax.grad(loss)
    if replicas > 1:
        arguments = jax.tree.map(lambda leaf: jnp.stack([leaf] * replicas), arguments)
        slope = jax.vmap(slope)
    program = jax.jit(slope).lower(*arguments).compile().as_text()
    return re.findall(r"convolution\(.*", program)


def is_fast(form: str) -> bool:
    """Whether XLA has its quick kernel for it: axes in their order, and a kernel of taps, not of a whole image."""
    window = re.search(r"size=(\d+)x", form)
    assert window
    is_plain = "dim_labels=b01f_01io->b01f" in form and "rhs_reversal" not in form and "rhs_dilate" not in form
    return is_plain and int(window[1]) == 3


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other processors are given XLA's own gradients")
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_backward_pass_of_a_backward_pass_has_no_slow_form(replicas):
    """Forward 2; back to the images 2; back from that 2, and 1 through the curvature. Kernels' gradients are products.

    Replicas share a convolution by groups of features.
    """
    found = forms(conv, replicas)
    assert len(found) == 7, found
    assert all(map(is_fast, found)), found


def test_the_plain_convolution_has_slow_forms():
    """So that the test above is one."""
    assert not all(map(is_fast, forms(plain, 1)))
