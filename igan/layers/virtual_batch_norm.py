"""Virtual batch normalisation (Salimans et al. 2016, section 3.5), with the statistics of a fixed reference batch."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from igan.errors import UserError
from igan.layers import side_by_side
from igan.types import Array, Context


class VirtualBatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) + shift, with the statistics of the reference batch and the example itself.

    With n reference examples their mean and mean square enter with weight n / (n + 1), those of the example itself,
    over its spatial positions, with 1 / (n + 1). The reference examples are normalised with their own statistics.

    In training the inputs are the reference batch and the examples side by side (see `ReferenceBatch`), both with the
    current parameters, so gradients flow through both; the reference statistics are left in the collection
    "statistics". Otherwise the inputs are examples alone, and the statistics found there are used: an example then
    depends on nothing but itself. `igan.game.inference.freeze` fills them for the parameters at hand.

    Attributes:
      reference_size: n, examples in the reference batch.

    Example: `VirtualBatchNorm(100)(activations, context)` keeps the shape [100 + n, ..., features].
    """

    reference_size: int
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, inputs: Array, context: Context) -> Array:
        features, dtype = inputs.shape[-1], inputs.dtype
        inputs = inputs.astype(jnp.promote_types(dtype, jnp.float32))
        mean = self.variable("statistics", "mean", jnp.zeros, (features,))
        variance = self.variable("statistics", "variance", jnp.ones, (features,))
        shift = self.param("shift", nn.initializers.zeros, (features,))
        reference, examples = inputs[:0], inputs
        if context.train:
            reference, examples = side_by_side.split(inputs, self.reference_size)
            everywhere = tuple(range(inputs.ndim - 1))
            mean.value = jnp.mean(reference, axis=everywhere)
            variance.value = jnp.mean(jnp.square(reference - mean.value), axis=everywhere)
        # Deviations from the reference mean, because a mean square minus a squared mean cancels in float32. The
        # variance of a mixture is the mean square around any point minus the squared distance to the mixture's mean.
        own_weight = 1 / (self.reference_size + 1)
        space = tuple(range(1, inputs.ndim - 1))
        deviation = examples - mean.value
        mixed_mean = own_weight * jnp.mean(deviation, axis=space, keepdims=True)
        own_square = jnp.mean(jnp.square(deviation), axis=space, keepdims=True)
        mixed_variance = (1 - own_weight) * variance.value + own_weight * own_square - jnp.square(mixed_mean)
        normalized = (deviation - mixed_mean) / jnp.sqrt(mixed_variance + self.epsilon)
        if context.train:
            reference = (reference - mean.value) / jnp.sqrt(variance.value + self.epsilon)
            normalized = side_by_side.join(reference, normalized)
        return (normalized + shift).astype(dtype)


class ReferenceBatch(nn.Module):
    """Propagates a fixed batch of latents through a generator, beside the latents at hand (`igan.layers.side_by_side`).

    The reference latents, and their labels if the generator is given some, are drawn once, at initialisation, and kept
    in the collection "reference". They are needed in training only: otherwise the generator's layers use the statistics
    they left behind, and one image costs one image.

    Attributes:
      generator: a module (latents, context) -> images.
      size: latents in the reference batch.

    Example: `ReferenceBatch(generator, 100)(latents, context)` takes latents [n, latent_size] to n images.
    """

    generator: nn.Module
    size: int

    @nn.compact
    def __call__(self, latents: Array, context: Context) -> Array:
        if self.is_initializing() and len(latents) < self.size:
            raise UserError(
                f"virtual_batch_norm.reference_size={self.size} is more than initial_images={len(latents)}:"
                f" use --config.techniques.virtual_batch_norm.reference_size={len(latents)} or fewer"
            )
        reference = self.variable("reference", "latents", lambda: latents[: self.size])
        if (labels := context.labels) is not None:
            known = self.variable("reference", "labels", jnp.array, labels[: self.size])
            labels = side_by_side.join(known.value, labels)
        if not context.train:
            return self.generator(latents, context)
        both = side_by_side.join(reference.value, latents)
        return side_by_side.split(self.generator(both, dataclasses.replace(context, labels=labels)), self.size)[1]
