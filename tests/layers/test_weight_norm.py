"""Weight-normalised dense layers: values and gradients against float64 NumPy, and data-dependent initialisation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.weight_norm import UnitNormDense, WeightNormDense
from igan.models.fully_connected import Discriminator
from tests.contexts import at
from tests.references import mnist_numpy as reference


@pytest.fixture(autouse=True)
def full_precision():
    """Some accelerators multiply matrices in less than float32 unless asked."""
    with jax.default_matmul_precision("highest"):
        yield


def draw_layer(random, inputs, outputs, direction_std):
    """A layer at a generic point: no zero bias, no unit scale."""
    return {
        "direction": random.normal(0, direction_std, (inputs, outputs)).astype(np.float32),
        "scale": random.uniform(0.5, 2, outputs).astype(np.float32),
        "bias": random.normal(size=outputs).astype(np.float32),
    }


def assert_same_values_and_gradients(module, layer, inputs, weights, epsilon):
    """Compares with the formula and its derivative; the loss is sum(weights * outputs)."""

    def loss(params, inputs):
        outputs = module.apply({"params": params}, inputs)
        return jnp.sum(weights * outputs), outputs

    (_, outputs), (gradients, inputs_gradient) = jax.value_and_grad(loss, (0, 1), has_aux=True)(layer, inputs)
    exact = {name: value.astype(np.float64) for name, value in layer.items()}
    inputs, weights = inputs.astype(np.float64), weights.astype(np.float64)
    kernel = reference.weight_norm(exact["direction"], exact["scale"], epsilon)
    direction, scale = reference.weight_norm_gradient(exact["direction"], exact["scale"], inputs.T @ weights, epsilon)
    assert outputs.dtype == jnp.float32
    np.testing.assert_allclose(outputs, inputs @ kernel + exact["bias"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inputs_gradient, weights @ kernel.T, rtol=1e-5, atol=1e-5)
    expected = {"direction": direction, "scale": scale, "bias": weights.sum(axis=0)}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        # Gradients of small directions are large, so that the tolerance is relative to the largest.
        atol = 1e-5 * max(1, np.abs(expected[name]).max())
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-5, atol=atol, err_msg=name)


def test_weight_norm_dense_is_its_formula(random):
    layer = draw_layer(random, 7, 5, direction_std=0.1)
    inputs, weights = (random.normal(size=shape).astype(np.float32) for shape in ((11, 7), (11, 5)))
    assert_same_values_and_gradients(WeightNormDense(5, train_scale=True), layer, inputs, weights, epsilon=0)


# Directions as short as the root of epsilon, where its place in the formula shows, and of ordinary length.
@pytest.mark.parametrize("direction_std", [3e-4, 0.1])
def test_unit_norm_dense_is_its_formula(random, direction_std):
    layer = draw_layer(random, 7, 5, direction_std)
    inputs, weights = (random.normal(size=shape).astype(np.float32) for shape in ((11, 7), (11, 5)))
    assert_same_values_and_gradients(UnitNormDense(5), layer, inputs, weights, epsilon=1e-6)


def test_the_length_of_a_direction_changes_nothing(random):
    layer = draw_layer(random, 7, 5, direction_std=0.1)
    inputs = random.normal(size=(11, 7)).astype(np.float32)
    apply = functools.partial(WeightNormDense(5, train_scale=True).apply, inputs=inputs)
    longer = layer | {"direction": layer["direction"] * np.float32(8)}
    np.testing.assert_allclose(apply({"params": layer}), apply({"params": longer}), rtol=1e-6, atol=1e-6)


def test_unit_norm_dense_starts_glorot_uniform_with_scale_1_and_bias_0(random):
    params = UnitNormDense(300).init(jax.random.key(0), jnp.asarray(random.normal(size=(3, 200)) * 7 + 5))["params"]
    limit = np.sqrt(6 / (200 + 300))
    assert 0.99 * limit < np.abs(params["direction"]).max() <= limit
    np.testing.assert_allclose(np.var(params["direction"]), limit**2 / 3, rtol=0.03)
    assert np.all(params["scale"] == 1) and np.all(params["bias"] == 0)


def test_directions_start_normal_with_std_a_tenth(random):
    variables = WeightNormDense(300).init(jax.random.key(0), jnp.asarray(random.normal(size=(9, 200))))
    direction = np.asarray(variables["params"]["direction"])
    assert abs(direction.mean()) < 1e-3
    np.testing.assert_allclose(direction.std(), 0.1, rtol=0.02)
    # A uniform distribution would have a kurtosis of 1.8.
    np.testing.assert_allclose(np.mean(direction**4) / np.mean(direction**2) ** 2, 3, rtol=0.05)


@pytest.mark.parametrize("train_scale", [False, True])
def test_initialisation_gives_each_output_mean_0_and_variance_1(random, train_scale):
    inputs = jnp.asarray(random.normal(3, 5, (40, 7)), jnp.float32)
    outputs, _ = WeightNormDense(6, train_scale=train_scale).init_with_output(jax.random.key(0), inputs)
    np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(axis=0), 1, rtol=1e-5)


def test_initialisation_of_a_stack_goes_layer_by_layer_and_agrees_with_numpy(random):
    """Each layer sees what the initialised layers before it make of the batch, rectified."""
    images = random.uniform(size=(50, 12)).astype(np.float32)
    widths = (8, 7, 5)
    stack = nn.Sequential([part for width in widths for part in (WeightNormDense(width), nn.relu)])
    variables = stack.init(jax.random.key(0), images)
    params, scales = variables["params"], variables["constants"]
    names = [f"layers_{2 * index}" for index in range(len(widths))]
    start = [
        {"kernel": np.float64(params[name]["direction"]), "scale": np.ones(width), "bias": np.zeros(width)}
        for name, width in zip(names, widths, strict=True)
    ]
    expected = reference.data_dependent_initialisation(start, images.astype(np.float64))
    for name, layer in zip(names, expected, strict=True):
        np.testing.assert_allclose(scales[name]["scale"], layer["scale"], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(params[name]["bias"], layer["bias"], rtol=1e-5, atol=1e-5, err_msg=name)


def preactivations(discriminator, variables, images, noise_key, train):
    _, records = discriminator.apply(
        variables,
        images,
        at(train=train),
        rngs={"noise": noise_key},
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: isinstance(module, WeightNormDense),
    )
    return [np.asarray(record["__call__"][0]) for record in records["intermediates"].values()]


def test_the_discriminator_is_initialised_with_its_noise_on(random):
    images = jnp.asarray(random.uniform(size=(200, 5, 4, 1)), jnp.float32)
    discriminator = Discriminator((16, 12, 8), input_noise=0.3, hidden_noise=0.5, classes=10, dtype=jnp.float32)
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = discriminator.init(keys, images, at())
    layers = preactivations(discriminator, variables, images, keys["noise"], train=True)
    assert [layer.shape[1] for layer in layers] == [16, 12, 8, 10]
    for layer in layers:
        np.testing.assert_allclose(layer.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(layer.std(axis=0), 1, rtol=1e-5)
    # Without that very noise it is another batch: what is checked above comes from the noisy one.
    for layer in preactivations(discriminator, variables, images, keys["noise"], train=False):
        assert np.abs(layer.std(axis=0) - 1).max() > 0.05


def test_only_a_trained_scale_is_among_the_parameters(random):
    inputs = jnp.asarray(random.normal(size=(40, 7)), jnp.float32)
    fixed = WeightNormDense(6).init(jax.random.key(0), inputs)
    trained = WeightNormDense(6, train_scale=True).init(jax.random.key(0), inputs)
    assert fixed["params"].keys() == {"direction", "bias"}
    assert fixed["constants"].keys() == {"scale"}
    assert trained.keys() == {"params"}
    assert trained["params"].keys() == {"direction", "bias", "scale"}
    np.testing.assert_array_equal(fixed["constants"]["scale"], trained["params"]["scale"])


def test_a_fixed_scale_is_never_written_again_and_is_used(random):
    first, other = (jnp.asarray(random.normal(size=(40, 7)) * std, jnp.float32) for std in (1, 9))
    layer = WeightNormDense(6)
    variables = layer.init(jax.random.key(0), first)
    outputs, after = layer.apply(variables, other, mutable=["constants"])
    np.testing.assert_array_equal(after["constants"]["scale"], variables["constants"]["scale"])
    doubled = {"params": variables["params"], "constants": {"scale": 2 * variables["constants"]["scale"]}}
    bias = variables["params"]["bias"]
    np.testing.assert_allclose(layer.apply(doubled, other) - bias, 2 * (outputs - bias), rtol=1e-5, atol=1e-5)
