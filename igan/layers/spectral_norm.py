"""Spectral normalisation (Miyato et al. 2018): a kernel divided by its largest singular value."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from igan.layers.weights import WeightLayer
from igan.types import Array, Context

# Variables that training moves and that sampling leaves alone: `igan.game.inference.AVERAGES`.
COLLECTION = "averages"
EPSILON = 1e-12


def power_iteration(matrix: Array, u: Array) -> tuple[Array, Array]:
    """Returns an estimate of a matrix's largest singular value and the next u (Miyato et al. 2018, algorithm 1).

    One step: v = n(W u), u' = n(W^T v) and sigma = v^T W u', with n(t) = t / (|t| + 1e-12). It uses the new u', and
    so is nearer to the truth than with the one it was given. u' and v are constants to a gradient: that of sigma by W
    is v u'^T. Fed with its own u', steps converge to the singular value from below.

    Args:
      matrix: W, float [m, n].
      u: float [n], of any length but zero.

    >>> sigma, u = power_iteration(jnp.array([[3.0, 0.0], [0.0, 1.0]]), jnp.array([0.5, 0.5]))
    >>> print(f"{sigma:.6f}")  # The square root of 8.2; the singular value is 3.
    2.863564
    """
    constant = jax.lax.stop_gradient(matrix)
    v = _normalized(_product(constant, jax.lax.stop_gradient(u)))
    u = _normalized(_product(v, constant))
    return _product(_product(v, matrix), u), u


def _product(one: Array, other: Array) -> Array:
    # Small beside what the layer computes, so that it need not be as coarse as that may be on an accelerator.
    return jnp.matmul(one, other, precision=jax.lax.Precision.HIGHEST)


def _normalized(vector: Array) -> Array:
    return vector / (jnp.linalg.norm(vector) + EPSILON)


class SpectralNormLayer(WeightLayer):
    """A dense or convolutional layer whose kernel is divided by its spectral norm, without a scale that is trained.

    A convolution's kernel [side, side, inputs, features] counts as a matrix [side * side * inputs, features], also that
    of a transposed one: the norm of that matrix, not of the convolution as an operator. The bias is left alone.

    Each layer keeps one vector u [features] in the collection "averages", drawn from N(0, 1). A pass in training
    leaves the next u there, and whoever plays the game decides whether it is kept: see
    `igan.techniques.spectral_norm`. Otherwise the norm is estimated by one step from u, which stays as it is.

    Example: `SpectralNormLayer(Layer(96, kernel=3, padding=1))(images, context)` takes [n, 32, 32, 3] to
    [n, 32, 32, 96].
    """

    def weights(self, kernel: Array, context: Context) -> Array:
        """Returns the kernel divided by its norm."""
        features = self.asked.features
        u = self.variable(COLLECTION, "u", lambda: nn.initializers.normal(1.0)(self.make_rng("params"), (features,)))
        sigma, after = power_iteration(kernel.reshape(-1, features), u.value)
        if context.train and not self.is_initializing():
            u.value = after
        return kernel / sigma
