"""The leaky rectifier of convolutional discriminators."""

import functools

import jax
import jax.numpy as jnp

from igan.types import Array

SLOPE = 0.2


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def leaky_relu(inputs: Array, slope: float = SLOPE) -> Array:
    """Returns `inputs` where they are not negative, and a fifth of them, or `slope`, elsewhere.

    It is `jax.nn.leaky_relu` with a gradient in one pass over the memory: JAX's is the sum of two, each with zeros.
    On a CPU that takes 6 % off an update without its convolutions, as tests/benchmarks/cifar10_parts.py measures it.

    >>> leaky_relu(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.2,  0. ,  2. ], dtype=float32)
    """
    return inputs * _factor(inputs, slope)


@leaky_relu.defjvp
def _leaky_relu_jvp(slope: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (inputs,), (tangent,) = primals, tangents
    return leaky_relu(inputs, slope), tangent * _factor(inputs, slope)


def _factor(inputs: Array, slope: float) -> Array:
    return jnp.where(inputs >= 0, 1.0, slope).astype(inputs.dtype)
