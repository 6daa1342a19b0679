"""Noise that regularises the paper's discriminators: additive Gaussian noise and dropout."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.types import Array, Key


class GaussianNoise(nn.Module):
    """inputs + N(0, std^2) in training, inputs otherwise.

    Example: `GaussianNoise(0.3)(images, train=True)`, with a key for the stream "noise".
    """

    std: float

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        if not train or self.std == 0:
            return inputs
        return inputs + self.std * standard_normal(self.make_rng("noise"), inputs.shape)


class Dropout(nn.Module):
    """Sets inputs to zero with probability `rate` in training and scales the others by 1 / (1 - rate); else the inputs.

    Example: `Dropout(0.2)(images, train=True)`, with a key for the stream "noise".
    """

    rate: float

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        if not train or self.rate == 0:
            return inputs
        kept = uniform(self.make_rng("noise"), inputs.shape) >= self.rate
        return jnp.where(kept, inputs / (1 - self.rate), 0)


def standard_normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Returns float32 samples of N(0, 1), |x| < 5.3, from the random bits behind `jax.random.normal`; see `uniform`.

    >>> standard_normal(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    return math.sqrt(2) * jax.lax.erf_inv(2 * uniform(key, shape) - 1)


def uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Returns float32 samples of U(0, 1), ends excluded, from the random bits of `jax.random.bits`.

    JAX computes these in a loop on a CPU. Here every element is an expression of its place, so that XLA fuses noise
    into what it is added to; what reads it twice, a forward and a backward pass, may compute it twice, which costs less
    than memory does. tests/benchmarks/mnist.py measures the difference.

    >>> uniform(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    # An element's place, written out: XLA makes divisions of a reshaped `arange`, and noise takes a third longer.
    counter = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]))
        counter += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    low, high = threefry2x32(jax.random.key_data(key), counter)
    return (((low ^ high) >> 9).astype(jnp.float32) + 0.5) / 2**23


def threefry2x32(key: Array, counter: Array) -> tuple[Array, Array]:
    """The Threefry-2x32 block cipher with 20 rounds (Salmon et al. 2011, section 3.2), the one behind JAX's keys.

    Args:
      key: uint32 [2].
      counter: uint32 of any shape, the low words of the counters; the high words are zero.

    Returns: two words of random bits for each counter, uint32 of the same shape.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    low, high = jnp.zeros_like(counter) + schedule[0], counter + schedule[1]
    for group in range(5):
        for rotation in rotations[group % 2]:
            low = low + high
            high = (high << rotation | high >> (32 - rotation)) ^ low
        low = low + schedule[(group + 1) % 3]
        high = high + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return low, high
