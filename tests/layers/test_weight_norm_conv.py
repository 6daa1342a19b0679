"""Weight-normalised convolutions, plain, strided and transposed, against sums over pixels in NumPy, and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.convolution import conv_transpose
from igan.layers.weight_norm import WeightNormConv

CHANNELS, FEATURES = 3, 4


@pytest.fixture(autouse=True)
def full_precision():
    """Some accelerators convolve in less than float32 unless asked."""
    with jax.default_matmul_precision("highest"):
        yield


def convolve(images: np.ndarray, kernel: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """out[i, j] = sum over a, b of padded[stride i + a, stride j + b] kernel[a, b]; float64, no JAX."""
    padded = np.pad(np.float64(images), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nijcab,abcf->nijf", windows[:, ::stride, ::stride], np.float64(kernel))


def scatter(images: np.ndarray, kernel: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """The transpose of `convolve` in loops: each pixel adds its kernel, mirrored as igan's is, to a larger image."""
    count, height, width, _ = images.shape
    size, features = kernel.shape[0], kernel.shape[3]
    larger = np.zeros((count, stride * height + size + stride, stride * width + size + stride, features))
    for i in range(height):
        for j in range(width):
            added = np.einsum("nc,abcf->nabf", np.float64(images[:, i, j]), np.float64(kernel[::-1, ::-1]))
            larger[:, stride * i : stride * i + size, stride * j : stride * j + size] += added
    return larger[:, padding : padding + stride * height, padding : padding + stride * width]


# (kernel, stride, padding, transposed), as the paper's networks have them.
KINDS = {
    "plain": (3, 1, 1, False),
    "strided": (3, 2, 1, False),
    "unpadded": (3, 1, 0, False),
    "1x1": (1, 1, 0, False),
    "transposed": (5, 2, 2, True),
}
each_kind = pytest.mark.parametrize(("kernel", "stride", "padding", "transposed"), KINDS.values(), ids=KINDS)


def expect(images, params, scale, stride, padding, transposed):
    """The layer's formula: kernel = scale * direction / |direction|, one norm a feature over all the rest."""
    direction = np.float64(params["direction"])
    lengths = np.sqrt((direction**2).reshape(-1, direction.shape[-1]).sum(axis=0))
    project = scatter if transposed else convolve
    return project(images, np.float64(scale) * direction / lengths, stride, padding) + np.float64(params["bias"])


@each_kind
def test_it_is_its_formula(random, kernel, stride, padding, transposed):
    images = random.normal(size=(2, 6, 5, CHANNELS)).astype(np.float32)
    params = {
        "direction": random.normal(0, 0.05, (kernel, kernel, CHANNELS, FEATURES)).astype(np.float32),
        "scale": random.uniform(0.5, 2, FEATURES).astype(np.float32),
        "bias": random.normal(size=FEATURES).astype(np.float32),
    }
    layer = WeightNormConv(FEATURES, kernel, stride, padding, transposed, train_scale=True)
    outputs = layer.apply({"params": params}, images)
    expected = expect(images, params, params["scale"], stride, padding, transposed)
    assert outputs.dtype == jnp.float32 and outputs.shape == expected.shape
    if transposed:
        assert outputs.shape == (2, stride * 6, stride * 5, FEATURES)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    longer = params | {"direction": 8 * params["direction"]}
    np.testing.assert_allclose(layer.apply({"params": longer}, images), outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(4, 3), (1, 1)])
def test_the_transposed_convolution_is_the_transpose_of_the_convolution(random, height, width):
    """<conv(x), y> = <x, conv_transpose(y)> for every x and y."""
    large = random.normal(size=(2, 2 * height, 2 * width, FEATURES)).astype(np.float32)
    weights = random.normal(size=(5, 5, FEATURES, CHANNELS)).astype(np.float32)
    small = random.normal(size=(2, height, width, CHANNELS)).astype(np.float32)
    down = convolve(large, weights, 2, 2)
    up = conv_transpose(jnp.asarray(small), jnp.asarray(weights[::-1, ::-1].swapaxes(2, 3)))
    assert down.shape == small.shape and up.shape == large.shape
    np.testing.assert_allclose(np.vdot(down, np.float64(small)), np.vdot(large, np.float64(up)), rtol=1e-4, atol=1e-3)


def test_the_transposed_convolution_is_that_of_pytorch(random):
    torch = pytest.importorskip("torch")
    images = random.normal(size=(2, 4, 3, CHANNELS)).astype(np.float32)
    weights = random.normal(size=(5, 5, CHANNELS, FEATURES)).astype(np.float32)
    # PyTorch has channels first, kernels [in, out, height, width], and does not mirror them.
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(weights[::-1, ::-1].transpose(2, 3, 0, 1).copy()),
        stride=2,
        padding=2,
        output_padding=1,
    )
    outputs = conv_transpose(jnp.asarray(images), jnp.asarray(weights))
    np.testing.assert_allclose(outputs, expected.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["strided", "unpadded", "transposed"])
def test_its_gradients_are_those_of_the_formula(random, kind):
    """Against central differences of the NumPy formula, along random directions."""
    kernel, stride, padding, transposed = KINDS[kind]
    images = random.normal(size=(2, 4, 3, CHANNELS))
    params = {
        "direction": random.normal(0, 0.05, (kernel, kernel, CHANNELS, FEATURES)),
        "scale": random.uniform(0.5, 2, FEATURES),
        "bias": random.normal(size=FEATURES),
    }
    weights = random.normal(size=expect(images, params, params["scale"], stride, padding, transposed).shape)
    with jax.enable_x64(True):
        layer = WeightNormConv(FEATURES, kernel, stride, padding, transposed, train_scale=True, dtype=jnp.float64)

        def loss(params, images):
            return jnp.sum(weights * layer.apply({"params": params}, images))

        gradients = jax.device_get(jax.jit(jax.grad(loss, (0, 1)))(params, images))
    for name in ("direction", "scale", "bias", "images"):
        along = jax.tree.map(np.zeros_like, (params, images))
        for leaf in [along[1]] if name == "images" else [along[0][name]]:
            leaf[...] = random.normal(size=leaf.shape)
        ends = []
        for size in (1e-5, -1e-5):
            moved, inputs = jax.tree.map(lambda leaf, slope, size=size: leaf + size * slope, (params, images), along)
            ends.append(np.sum(weights * expect(inputs, moved, moved["scale"], stride, padding, transposed)))
        pairs = zip(*map(jax.tree.leaves, (gradients, along)), strict=True)
        slope = sum(np.sum(gradient * move) for gradient, move in pairs)
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, err_msg=name)
    # Moving a direction along itself changes nothing.
    products = (gradients[0]["direction"] * params["direction"]).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(products, 0, atol=1e-10)


@pytest.mark.parametrize("train_scale", [False, True], ids=["kept scale", "trained scale"])
@pytest.mark.parametrize(("transposed", "initial_std"), [(False, 1.0), (True, 0.1)])
def test_initialisation_standardises_each_feature_over_the_batch_and_all_pixels(
    random, transposed, initial_std, train_scale
):
    kernel, stride, padding = (5, 2, 2) if transposed else (3, 2, 1)
    images = jnp.asarray(random.normal(3, 5, (8, 6, 6, CHANNELS)), jnp.float32)
    layer = WeightNormConv(FEATURES, kernel, stride, padding, transposed, train_scale, initial_std)
    outputs, variables = layer.init_with_output(jax.random.key(0), images)
    np.testing.assert_allclose(outputs.mean(axis=(0, 1, 2)), 0, atol=1e-5 * initial_std)
    np.testing.assert_allclose(outputs.std(axis=(0, 1, 2)), initial_std, rtol=1e-4)
    if train_scale:
        assert variables.keys() == {"params"}
        assert variables["params"].keys() == {"direction", "scale", "bias"}
        return
    assert variables["params"].keys() == {"direction", "bias"}
    assert variables["constants"].keys() == {"scale"}
    # A kept scale is used, and never written again.
    again, after = layer.apply(variables, images * 7, mutable=["constants"])
    np.testing.assert_array_equal(after["constants"]["scale"], variables["constants"]["scale"])
    bias = variables["params"]["bias"]
    np.testing.assert_allclose(again - bias, 7 * (outputs - bias), rtol=1e-3, atol=1e-3 * initial_std)


def test_directions_start_normal(random):
    images = jnp.asarray(random.normal(size=(2, 6, 6, 16)), jnp.float32)
    params = WeightNormConv(32, 5, padding=2).init(jax.random.key(0), images)["params"]
    np.testing.assert_allclose([np.mean(params["direction"]), np.std(params["direction"])], [0, 0.05], atol=1.5e-3)


def test_half_precision_computes_in_it_and_keeps_its_parameters_in_float32(random):
    images = jnp.asarray(random.normal(size=(4, 6, 6, CHANNELS)), jnp.float32)
    half = WeightNormConv(FEATURES, 3, padding=1, dtype=jnp.bfloat16)
    outputs, variables = half.init_with_output(jax.random.key(0), images)
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    exact = WeightNormConv(FEATURES, 3, padding=1).apply(variables, images)
    np.testing.assert_allclose(np.float32(outputs), exact, rtol=0.03, atol=0.03)
