"""Batch norm with a scale and layer norm of feature maps, against PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.batch_norm import BatchNorm
from igan.layers.layer_norm import LayerNorm
from igan.layers.norms import NORMS
from tests.contexts import at

SHAPE = (4, 3, 2, 5)


def variables_of(module, random, shape=SHAPE):
    found = jax.tree.map(np.asarray, module.init(jax.random.key(0), jnp.zeros(shape), at()))
    assert found["params"].keys() == {"scale", "shift"}
    np.testing.assert_array_equal(found["params"]["scale"], np.ones(5))
    np.testing.assert_array_equal(found["params"]["shift"], np.zeros(5))
    params = {name: random.normal(1, 0.5, 5).astype(np.float32) for name in ("scale", "shift")}
    return {**found, "params": params}


def in_torch(name, inputs, params):
    torch = pytest.importorskip("torch")
    values = torch.tensor(np.float64(inputs), requires_grad=True)
    scale, shift = (torch.tensor(np.float64(params[each]), requires_grad=True) for each in ("scale", "shift"))
    axes = tuple(range(1, inputs.ndim)) if name == "layer" else tuple(range(inputs.ndim - 1))
    variance, mean = torch.var_mean(values, dim=axes, correction=0, keepdim=True)
    outputs = (values - mean) / torch.sqrt(variance + 1e-5) * scale + shift
    if name == "layer" and inputs.ndim == 4:  # So that the formula here is the library's.
        theirs = torch.nn.functional.layer_norm(values.movedim(-1, 1), [5, 3, 2], eps=1e-5).movedim(1, -1)
        np.testing.assert_allclose(outputs.detach(), (theirs * scale + shift).detach(), atol=1e-12)
    if name == "batch" and inputs.ndim == 4:
        theirs = torch.nn.functional.batch_norm(values.movedim(-1, 1), None, None, scale, shift, True, eps=1e-5)
        np.testing.assert_allclose(outputs.detach(), theirs.movedim(1, -1).detach(), atol=1e-12)
    return outputs, (values, scale, shift)


@pytest.mark.parametrize("shape", [SHAPE, (9, 5)], ids=["maps", "dense"])
@pytest.mark.parametrize("name", ["batch", "layer"])
@pytest.mark.parametrize("std", [2.0, 3e-3], ids=["ordinary", "as small as epsilon"])
def test_values_and_gradients_in_training(random, name, shape, std):
    inputs = random.normal(0.5, std, shape).astype(np.float32)
    target = random.normal(size=shape).astype(np.float32)
    variables = variables_of(NORMS[name](), random, shape)

    def loss(inputs, params):
        outputs, _ = NORMS[name]().apply({**variables, "params": params}, inputs, at(), mutable=["statistics"])
        return jnp.sum(outputs * target), outputs

    (of_inputs, of_params), outputs = jax.grad(loss, (0, 1), has_aux=True)(inputs, variables["params"])
    expected, leaves = in_torch(name, inputs, variables["params"])
    (expected * pytest.importorskip("torch").tensor(np.float64(target))).sum().backward()
    np.testing.assert_allclose(outputs, expected.detach(), rtol=1e-4, atol=2e-4)
    for found, leaf in zip((of_inputs, of_params["scale"], of_params["shift"]), leaves, strict=True):
        np.testing.assert_allclose(found, leaf.grad, rtol=2e-3, atol=1e-4 * max(1, float(leaf.grad.abs().max())))


def test_batch_norm_leaves_its_statistics_and_samples_with_them(random):
    inputs, variables = random.normal(3, 2, SHAPE).astype(np.float32), variables_of(BatchNorm(), random)
    outputs, left = BatchNorm().apply(variables, inputs, at(), mutable=["statistics"])
    again = BatchNorm().apply({**variables, **left}, inputs[:1], at(train=False))
    np.testing.assert_allclose(again, outputs[:1], rtol=1e-5, atol=1e-5)


def test_layer_norm_looks_at_each_example_by_itself_and_keeps_nothing(random):
    inputs, variables = random.normal(3, 2, SHAPE).astype(np.float32), variables_of(LayerNorm(), random)
    assert variables.keys() == {"params"}
    outputs = LayerNorm().apply(variables, inputs, at())
    for train in (True, False):
        alone = LayerNorm().apply(variables, inputs[:1], at(train=train))
        np.testing.assert_array_equal(alone, outputs[:1])


@pytest.mark.parametrize("name", NORMS)
def test_half_precision_comes_out_as_it_went_in(random, name):
    inputs = jnp.asarray(random.normal(size=SHAPE), jnp.bfloat16)
    module = NORMS[name]()
    if name == "none":
        assert module(inputs, at()) is inputs
        return
    outputs, variables = module.init_with_output(jax.random.key(0), inputs, at())
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
