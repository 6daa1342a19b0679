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
    """Returns float32 samples of N(0, 1), on a grid of 65,536 equally likely values with |x| < 4.33.

    A stand-in for `jax.random.normal` where noise only regularises: it spends a quarter of the random bits, and keeps
    the generator unrolled so that XLA fuses it. The barriers keep XLA from computing the noise anew for every reader:
    each word has two halves, and a layer's input is read by the forward and the backward pass.
    tests/benchmarks/mnist.py measures the difference.

    >>> standard_normal(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    normal = math.sqrt(2) * jax.lax.erf_inv(2 * uniform(key, shape) - 1)
    return jax.lax.optimization_barrier(normal)


def uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Returns float32 samples of U(0, 1), on a grid of 65,536 values; see `standard_normal`.

    >>> uniform(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    size = math.prod(shape)
    words = threefry2x32(jax.random.key_data(key), jnp.arange(-(-size // 4), dtype=jnp.uint32))
    words = jax.lax.optimization_barrier(words)
    halves = jnp.concatenate([half for word in words for half in (word & 0xFFFF, word >> 16)])
    return ((halves[:size].astype(jnp.float32) + 0.5) / 2**16).reshape(shape)


def threefry2x32(key: Array, counter: Array) -> tuple[Array, Array]:
    """The Threefry-2x32 block cipher with 20 rounds (Salmon et al. 2011, section 3.2), the one behind JAX's keys.

    Args:
      key: uint32 [2].
      counter: uint32 [n], the low word of the counter; the high word is zero.

    Returns: two words of random bits for each counter, uint32 [n] each.
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
