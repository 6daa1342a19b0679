"""What a game is worth: test errors of the discriminator as a classifier, and images of the generator."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from igan.data.batches import rescale
from igan.randomness import stream
from igan.types import Array, GameState, Key, Networks, Params, Variables

IMAGES_AT_A_TIME = 500  # Bounds the memory of an evaluation on any size of test set.


class TestErrors(NamedTuple):
    """Misclassified test images of R replicas, int32."""

    averaged: Array  # [R], with the moving average of the parameters: the numbers to quote.
    raw: Array  # [R], with the parameters as they are.
    ensemble: Array  # [], of the mean of the replicas' class probabilities, averaged parameters.


def class_probabilities(networks: Networks, params: Params, variables: Variables, images: Array) -> Array:
    """Returns p(y | x, y is a real class) of one discriminator, float32 [n, classes].

    Args:
      images: uint8 [n, height, width, channels].
    """
    key = jax.random.key(0)  # Never used: without `train` a network is deterministic.

    def probabilities(image: Array) -> Array:
        critique, _ = networks.discriminator.apply(
            params, variables, key, rescale(image[None], networks.image_range), train=False
        )
        return jax.nn.softmax(critique.class_logits[0])

    return jax.lax.map(probabilities, images, batch_size=IMAGES_AT_A_TIME)


def test_errors(networks: Networks, state: GameState, images: Array, labels: Array) -> TestErrors:
    """Returns the test errors of every replica of a state, and of their ensemble.

    Args:
      images: uint8 [n, height, width, channels].
      labels: int32 [n].
    """
    player = state.discriminator

    def probabilities(params: Params) -> Array:
        return jax.vmap(lambda params, variables: class_probabilities(networks, params, variables, images))(
            params, player.variables
        )

    def errors(probabilities: Array) -> Array:
        return jnp.sum(jnp.argmax(probabilities, axis=-1) != labels, axis=-1)

    averaged = probabilities(player.average)
    return TestErrors(errors(averaged), errors(probabilities(player.params)), errors(jnp.mean(averaged, axis=0)))


def sample(networks: Networks, params: Params, variables: Variables, key: Key, count: int) -> Array:
    """Returns `count` images of one generator, float32 in `networks.image_range`.

    The statistics of normalisation layers are refreshed first, by one training-mode pass over latents of their own, so
    that they belong to these parameters; then one latent gives one image, whatever batch it comes in.
    """
    generator, reference = networks.generator, networks.sample_latents(stream(key, "reference"), IMAGES_AT_A_TIME)
    _, variables = generator.apply(params, variables, stream(key, "noise"), reference, train=True)
    latents = networks.sample_latents(stream(key, "latents"), count)
    images, _ = generator.apply(params, variables, key, latents, train=False)
    return images
