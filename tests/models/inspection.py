"""What is asked of every network: shapes, counts and types, without computing anything."""

import jax
import jax.numpy as jnp
import numpy as np


def shapes(network, *inputs_shape):
    """Shapes of a network's (params, variables) and of its outputs."""
    key, inputs = jax.random.key(0), jax.ShapeDtypeStruct(inputs_shape, jnp.float32)
    params, variables = jax.eval_shape(network.init, key, inputs)
    outputs, _ = jax.eval_shape(lambda *arrays: network.apply(*arrays, train=True), params, variables, key, inputs)
    return params, variables, outputs


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def assert_float32(*trees):
    assert {leaf.dtype for leaf in jax.tree.leaves(trees)} == {np.dtype(np.float32)}
