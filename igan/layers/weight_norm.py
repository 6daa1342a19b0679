"""Weight normalisation with data-dependent initialisation (Salimans and Kingma 2016, equations 2 and 5-6)."""

import flax.linen as nn
import jax.numpy as jnp

from igan.types import Array


class WeightNormDense(nn.Module):
    """A dense layer whose kernel is `scale * direction / |direction|`, one scale and direction an output.

    Initialised on the batch that `init` sees, so that each output has mean 0 and variance 1 over that batch.

    Attributes:
      features: outputs.
      train_scale: whether the optimiser trains the scale. Where not, it keeps the value that initialisation gave it.
      direction_std: directions are drawn from N(0, direction_std^2).

    Example: `WeightNormDense(250)(inputs)` takes float [n, inputs] to [n, 250].
    """

    features: int
    train_scale: bool = False
    direction_std: float = 0.1

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (inputs.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.normal(self.direction_std), shape)
        # Scaling the outputs is scaling the kernel's columns, without a temporary of the kernel's size.
        projection = (inputs @ direction) / jnp.linalg.norm(direction, axis=0)
        if self.train_scale:
            scale = self.param("scale", lambda key: 1 / jnp.std(projection, axis=0))
        else:
            scale = self.variable("constants", "scale", lambda: 1 / jnp.std(projection, axis=0)).value
        bias = self.param("bias", lambda key: -jnp.mean(projection, axis=0) / jnp.std(projection, axis=0))
        return projection * scale + bias


class UnitNormDense(nn.Module):
    """The generator's weight-normalised output layer: kernel `scale * w / sqrt(1e-6 + |w|^2)`, not data-dependent.

    `w` starts Glorot-uniform, the trained scale at 1, the bias at 0, as in the paper's released code.

    Example: `UnitNormDense(784)(inputs)` takes float [n, inputs] to [n, 784].
    """

    features: int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (inputs.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.glorot_uniform(), shape)
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        norm = jnp.sqrt(1e-6 + jnp.sum(jnp.square(direction), axis=0))
        return (inputs @ direction) * (scale / norm) + bias
