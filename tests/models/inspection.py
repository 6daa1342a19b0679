"""What is asked of every network: shapes, counts and types, without computing anything."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.contexts import at


def shapes(network, *inputs_shape):
    """Shapes of a network's (params, variables) and of its outputs."""
    inputs = jax.ShapeDtypeStruct(inputs_shape, jnp.float32)
    params, variables = jax.eval_shape(lambda inputs: network.init(at(), inputs), inputs)
    apply = lambda params, variables, inputs: network.apply(params, variables, at(), inputs)  # noqa: E731
    outputs, _ = jax.eval_shape(apply, params, variables, inputs)
    return params, variables, outputs


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def assert_float32(*trees):
    assert {leaf.dtype for leaf in jax.tree.leaves(trees)} == {np.dtype(np.float32)}


def assert_nearly_the_same(exact, rough, inputs, context=None):
    """A network in bfloat16 has float32 parameters and outputs, and these near those of the one in float32.

    Args:
      context: where it is not as at a game's beginning.
    """
    context = context or at()
    params, variables = jax.jit(lambda inputs: exact.init(context, inputs))(inputs)
    outputs = [
        jax.jit(lambda inputs, network=network: network.apply(params, variables, context, inputs))(inputs)
        for network in (exact, rough)
    ]
    assert_float32(outputs, jax.eval_shape(lambda inputs: rough.init(context, inputs), inputs))
    differences = jax.tree.map(lambda one, other: float(np.abs(one - other).max() / np.std(one)), *outputs)
    largest = max(jax.tree.leaves(differences))
    assert 1e-4 < largest < 0.3, differences  # bfloat16 has eight bits, and did compute something.
