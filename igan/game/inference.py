"""What a game is worth: test errors of the discriminator as a classifier, and images of the generator."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from igan.game.batches import rescale
from igan.randomness import stream
from igan.types import Array, GameState, Key, Networks, Params, Variables


class TestErrors(NamedTuple):
    """Misclassified test images of R replicas, int32."""

    averaged: Array  # [R], with the moving average of the parameters: the numbers to quote.
    raw: Array  # [R], with the parameters as they are.
    ensemble: Array  # [], of the mean of the replicas' class probabilities, averaged parameters.


def class_probabilities(
    networks: Networks, params: Params, variables: Variables, images: Array, batch_size: int
) -> Array:
    """Returns p(y | x, y is a real class) of one discriminator, float32 [n, classes].

    Images go through in batches, in their order, the last one filled up with those before it: a discriminator with
    minibatch features looks at the batch, so it is given what it was trained with.

    Args:
      images: uint8 [n, height, width, channels].
      batch_size: images a batch.
    """
    key = jax.random.key(0)  # Never used: without `train` a network is deterministic.

    def probabilities(batch: Array) -> Array:
        inputs = rescale(batch, networks.image_range)
        critique, _ = networks.discriminator.apply(params, variables, key, inputs, train=False)
        return jax.nn.softmax(critique.class_logits)

    count = len(images)
    size = min(batch_size, count)
    whole = count - count % size
    batches = jax.lax.map(probabilities, images[:whole].reshape(-1, size, *images.shape[1:]))
    rest = probabilities(images[count - size :])[size - count % size :]
    return jnp.concatenate([batches.reshape(whole, -1), rest])


def test_errors(networks: Networks, state: GameState, images: Array, labels: Array, batch_size: int) -> TestErrors:
    """Returns the test errors of every replica of a state, and of their ensemble.

    Args:
      images: uint8 [n, height, width, channels].
      labels: int32 [n].
      batch_size: images a batch; see `class_probabilities`.
    """
    player = state.discriminator

    def probabilities(params: Params) -> Array:
        return jax.vmap(lambda params, variables: class_probabilities(networks, params, variables, images, batch_size))(
            params, player.variables
        )

    def errors(probabilities: Array) -> Array:
        return jnp.sum(jnp.argmax(probabilities, axis=-1) != labels, axis=-1)

    averaged = probabilities(player.average)
    return TestErrors(errors(averaged), errors(probabilities(player.params)), errors(jnp.mean(averaged, axis=0)))


def freeze(networks: Networks, params: Params, variables: Variables, key: Key, count: int) -> Variables:
    """Returns a generator's variables with the statistics of its normalisation layers belonging to `params`.

    One training-mode pass over `count` latents leaves them behind: those of that batch, or of the reference batch of
    virtual batch normalisation. Needed once for each set of parameters, before any number of samples.
    """
    latents = networks.sample_latents(stream(key, "reference"), count)
    return networks.generator.apply(params, variables, stream(key, "noise"), latents, train=True)[1]


def sample(networks: Networks, params: Params, variables: Variables, key: Key, count: int) -> Array:
    """Returns `count` images of one generator, float32 in `networks.image_range`.

    With the variables of `freeze`, one latent gives one image, whatever batch it comes in.
    """
    latents = networks.sample_latents(stream(key, "latents"), count)
    return networks.generator.apply(params, variables, key, latents, train=False)[0]
