"""Transposed convolutions with kernels of side 3, 4 and 5, against PyTorch and the convolution that they transpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.convolution import conv, conv_transpose

CHANNELS, FEATURES = 3, 4
# Side of the kernel, zeros around, and what PyTorch adds at the end.
KINDS = [(3, 1, 1), (4, 1, 0), (5, 2, 1)]
each_kind = pytest.mark.parametrize(("kernel", "padding", "added"), KINDS, ids=["3 x 3", "4 x 4", "5 x 5"])


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def draw(random, kernel, height, width):
    images = random.normal(size=(2, height, width, CHANNELS)).astype(np.float32)
    return images, random.normal(size=(kernel, kernel, CHANNELS, FEATURES)).astype(np.float32)


@each_kind
@pytest.mark.parametrize(("height", "width"), [(4, 3), (1, 1), (7, 2)])
def test_it_is_the_transpose_of_the_convolution(random, kernel, padding, added, height, width):
    """<conv(x), y> = <x, conv_transpose(y)> for every x and y; of a kernel that is mirrored."""
    small, weights = draw(random, kernel, height, width)
    large = random.normal(size=(2, 2 * height, 2 * width, FEATURES)).astype(np.float32)
    up = conv_transpose(jnp.asarray(small), jnp.asarray(weights))
    down = conv(jnp.asarray(large), jnp.asarray(weights[::-1, ::-1].swapaxes(2, 3)), 2, padding)
    assert up.shape == large.shape and down.shape == small.shape
    np.testing.assert_allclose(np.vdot(down, small), np.vdot(large, up), rtol=1e-4, atol=1e-3)


@each_kind
def test_values_and_gradients_are_pytorchs(random, kernel, padding, added):
    torch = pytest.importorskip("torch")
    images, weights = draw(random, kernel, 4, 3)
    target = random.normal(size=(2, 8, 6, FEATURES)).astype(np.float32)

    def loss(images, weights):
        outputs = conv_transpose(images, weights)
        return jnp.sum(jnp.tanh(outputs) * target), outputs

    gradients, outputs = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(images, weights)
    # PyTorch has channels first, kernels [in, out, height, width], and does not mirror them.
    theirs = torch.tensor(np.float64(images).transpose(0, 3, 1, 2), requires_grad=True)
    taps = torch.tensor(np.float64(weights[::-1, ::-1]).transpose(2, 3, 0, 1).copy(), requires_grad=True)
    expected = torch.nn.functional.conv_transpose2d(theirs, taps, None, 2, padding, added)
    (torch.tanh(expected) * torch.tensor(np.float64(target).transpose(0, 3, 1, 2))).sum().backward()
    for found, wanted, order in (
        (outputs, expected.detach(), (0, 2, 3, 1)),
        (gradients[0], theirs.grad, (0, 2, 3, 1)),
        (gradients[1][::-1, ::-1], taps.grad, (2, 3, 0, 1)),
    ):
        np.testing.assert_allclose(found, wanted.numpy().transpose(order), rtol=1e-4, atol=1e-4)


def test_half_precision_stays_half(random):
    images, weights = (jnp.asarray(each, jnp.bfloat16) for each in draw(random, 4, 4, 3))
    assert conv_transpose(images, weights).dtype == jnp.bfloat16


def test_a_kernel_of_another_side_is_a_mistake_in_the_program(random):
    images, weights = draw(random, 2, 4, 3)
    with pytest.raises(AssertionError):
        conv_transpose(jnp.asarray(images), jnp.asarray(weights))
