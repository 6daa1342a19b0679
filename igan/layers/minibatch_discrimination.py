"""Minibatch discrimination (Salimans et al. 2016, section 3.2): how close an example is to the others of its batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.types import Array


class MinibatchDiscrimination(nn.Module):
    """Concatenates to the features f(x_i) of each example its closeness to the others.

    M_i = f(x_i) T with T of shape [A, kernels, dimensions], and o(x_i)_b = sum over j != i of exp(-|M_ib - M_jb|_1).
    As in the released code the directions of T are normalised, with a trained log-scale each, and o has a trained bias.
    Initialised on the batch that `init` sees: o has mean 0, and the mean distance to the nearest other example is 1.
    (In the released code it is 2, because that divides by half of the mean; the log-scales learn either.)

    Memory is O(n kernels dimensions + n^2 kernels), also for the gradient: the n^2 kernels dimensions differences are
    never held at once.

    Attributes:
      kernels: B, closeness features.
      dimensions: C, in which each of them measures distances.
      halves: the batch is a real example, a generated one, a real one, ..., and the outputs are the mean closeness to
        each kind, 2 B numbers an example (the released ImageNet code); otherwise the batch is all of one kind.

    Example: `MinibatchDiscrimination(100, 5)(features)` takes float [n, f] to [n, f + 100].
    """

    kernels: int = 100
    dimensions: int = 5
    halves: bool = False

    @nn.compact
    def __call__(self, features: Array) -> Array:
        shape = (features.shape[-1], self.kernels, self.dimensions)
        direction = self.param("direction", nn.initializers.normal(0.05), shape)
        unit = direction / jnp.linalg.norm(direction, axis=0)
        embedding = jnp.einsum("na,abc->nbc", features, unit)
        log_scale = self.param("log_scale", lambda key: _log_scale(embedding))
        others = closeness(embedding * jnp.exp(log_scale))
        outputs = _mean_over_halves(others) if self.halves else jnp.sum(others, axis=1)
        bias = self.param("bias", lambda key: -jnp.mean(outputs, axis=0))
        return jnp.concatenate([features, outputs + bias], axis=1)


def _log_scale(embedding: Array) -> Array:
    """Returns the log-scales [kernels, dimensions] at which the nearest other example is at a mean distance of 1."""
    count = embedding.shape[0]
    itself = jnp.where(jnp.eye(count, dtype=bool), jnp.inf, 0.0)[:, :, None]
    nearest = jnp.mean(jnp.min(l1_distances(embedding) + itself, axis=1), axis=0)
    # Examples that are all the same have no scale; any finite one will do.
    return jnp.broadcast_to(-jnp.log(jnp.maximum(nearest, 1e-8))[:, None], embedding.shape[1:])


def _mean_over_halves(others: Array) -> Array:
    """Returns the mean closeness of each row to every other row from the first on, and from the second: [n, 2 b]."""
    count, _, kernels = others.shape
    itself = jnp.arange(count)[:, None] % 2 == jnp.arange(2)
    sums = jnp.sum(others.reshape(count, -1, 2, kernels), axis=1)
    return (sums / jnp.maximum(count // 2 - itself, 1)[:, :, None]).reshape(count, 2 * kernels)


def closeness(embedding: Array) -> Array:
    """Returns exp(-L1 distance) between all pairs of rows, 0 for a row and itself: [n, b, c] -> [n, n, b].

    >>> closeness(jnp.array([[[0.0, 0.0]], [[1.0, 1.0]]]))[:, :, 0]
    Array([[0.       , 0.1353353],
           [0.1353353, 0.       ]], dtype=float32)
    """
    others = 1 - jnp.eye(embedding.shape[0])[:, :, None]
    return jnp.exp(-l1_distances(embedding)) * others


@jax.custom_vjp
def l1_distances(embedding: Array) -> Array:
    """Returns the L1 distances between all pairs of rows, [n, b, c] -> [n, n, b], one dimension c at a time.

    With its own gradient, because that of `sum(abs(differences))` holds all n^2 b c of them: 490 MB instead of 19 for
    n = 64, b = 300, c = 50, and thirteen times slower on a CPU.

    >>> l1_distances(jnp.array([[[0.0, 0.0]], [[1.0, 2.0]]]))[:, :, 0]
    Array([[0., 3.],
           [3., 0.]], dtype=float32)
    """

    def add(total: Array, coordinate: Array) -> tuple[Array, None]:
        return total + jnp.abs(coordinate[:, None] - coordinate[None]), None

    count, kernels, _ = embedding.shape
    start = jnp.zeros((count, count, kernels), embedding.dtype)
    return jax.lax.scan(add, start, jnp.moveaxis(embedding, 2, 0))[0]


def _forward(embedding: Array) -> tuple[Array, Array]:
    return l1_distances(embedding), embedding


def _backward(embedding: Array, gradient: Array) -> tuple[Array]:
    both = gradient + gradient.swapaxes(0, 1)  # A distance depends on both of its rows, and in the same way.

    def of_coordinate(coordinate: Array) -> Array:
        own, other = coordinate[:, None], coordinate[None]
        return jnp.sum(jnp.where(own > other, both, jnp.where(own < other, -both, 0.0)), axis=1)

    return (jnp.moveaxis(jax.lax.map(of_coordinate, jnp.moveaxis(embedding, 2, 0)), 0, 2),)


l1_distances.defvjp(_forward, _backward)
