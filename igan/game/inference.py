"""What a game is worth: test errors of the discriminator as a classifier, and images of the generator."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from igan.game.batches import Encode
from igan.game.technique import Game
from igan.game.view import context
from igan.randomness import stream
from igan.types import Array, GameState, Key, Networks, Params, Turn, Variables

NO_OPTIONS: Mapping[str, float] = {}
STATISTICS = "statistics"  # The collection of a batch's means and variances.
AVERAGES = "averages"  # The collection of variables that move through the whole training, as a style network's mean w.


class TestErrors(NamedTuple):
    """Misclassified test images of R replicas, int32."""

    averaged: Array  # [R], with the moving average of the parameters: the numbers to quote.
    raw: Array  # [R], with the parameters as they are.
    ensemble: Array  # [], of the mean of the replicas' class probabilities, averaged parameters.


def class_probabilities(
    networks: Networks,
    params: Params,
    variables: Variables,
    turn: Turn,
    images: Array,
    batch_size: int,
    encode: Encode,
    replicated: Callable[..., Any] = jax.vmap,
) -> Array:
    """Returns p(y | x, y is a real class) of R discriminators, float32 [R, n, classes].

    Images go through in batches, in their order, the last one filled up with those before it: a discriminator with
    minibatch features looks at the batch, so it is given what it was trained with.

    Args:
      params: theirs, with a leading axis of R, as have the variables.
      turn: where in the game the parameters are from.
      images: stored images, uint8 [n, height, width, channels].
      batch_size: images a batch.
      encode: takes stored images to what the networks see.
      replicated: maps a function of one discriminator over all of them.
    """
    key = jax.random.key(0)  # Never used: without `train` a network is deterministic.
    count = len(images)
    size = min(batch_size, count)
    whole = count - count % size

    def of_one(params: Params, variables: Variables, when: tuple[Array, Array], images: Array) -> Array:
        now = turn._replace(step=when[0], count=when[1])

        def probabilities(batch: Array) -> Array:
            inputs = networks.at_stage(encode(batch), now)
            at = context(networks, key, now, train=False)
            critique, _ = networks.discriminator.apply(params, variables, at, inputs)
            return jax.nn.softmax(critique.class_logits)

        batches = jax.lax.map(probabilities, images[:whole].reshape(-1, size, *images.shape[1:]))
        rest = probabilities(images[count - size :])[size - count % size :]
        return jnp.concatenate([batches.reshape(whole, -1), rest])

    return replicated(of_one, in_axes=(0, 0, None, None))(params, variables, (turn.step, turn.count), images)


def test_errors(
    networks: Networks,
    state: GameState,
    turn: Turn,
    images: Array,
    labels: Array,
    batch_size: int,
    encode: Encode,
    replicated: Callable[..., Any] = jax.vmap,
) -> TestErrors:
    """Returns the test errors of every replica of a state, and of their ensemble.

    Args:
      turn: where in the game the state is.
      images: stored images, uint8 [n, height, width, channels].
      labels: int32 [n].
      batch_size: images a batch; see `class_probabilities`.
      encode: takes stored images to what the networks see.
      replicated: maps a function of one replica over all of them.
    """
    player = state.discriminator

    def probabilities(params: Params) -> Array:
        return class_probabilities(networks, params, player.variables, turn, images, batch_size, encode, replicated)

    def errors(probabilities: Array) -> Array:
        return jnp.sum(jnp.argmax(probabilities, axis=-1) != labels, axis=-1)

    averaged = probabilities(player.average)
    return TestErrors(errors(averaged), errors(probabilities(player.params)), errors(jnp.mean(averaged, axis=0)))


def freeze(
    networks: Networks,
    params: Params,
    variables: Variables,
    turn: Turn,
    key: Key,
    count: int,
    labels: Array | None = None,
    options: Mapping[str, float] = NO_OPTIONS,
    passes: int = 1,
) -> Variables:
    """Returns a generator's variables with the statistics of its normalisation layers belonging to `params`.

    One training-mode pass over `count` latents leaves them behind: those of that batch, or of the reference batch of
    virtual batch normalisation. Needed once for each set of parameters, before any number of samples. Variables of the
    collection "averages" stay as training has left them.

    Args:
      labels: int32 [count], for networks that are given labels.
      options: sampling options, see `sample`.
      passes: of `count` latents each, over which the statistics are averaged: mean and variance of a batch alike, as
        BigGAN's "standing statistics". The first pass is the only one of `passes=1`. The labels are those of each.
    """

    def once(key: Key) -> Variables:
        latents = networks.sample_latents(stream(key, "reference"), count)
        at = context(networks, stream(key, "noise"), turn, labels, options=options)
        return networks.generator.apply(params, variables, at, latents)[1]

    after = dict(once(key))
    if STATISTICS in after and passes > 1:

        def add(total: Variables, index: Array) -> tuple[Variables, None]:
            return jax.tree.map(jnp.add, total, once(stream(key, "passes", index))[STATISTICS]), None

        total, _ = jax.lax.scan(add, after[STATISTICS], jnp.arange(1, passes))
        after[STATISTICS] = jax.tree.map(lambda leaf: leaf / passes, total)
    return {**after, AVERAGES: variables[AVERAGES]} if AVERAGES in variables else after


def sample_labels(game: Game, pool: Array, key: Key, count: int) -> Array | None:
    """Returns labels of images to be generated, int32 [count]; None for networks that are given none.

    Args:
      pool: int32 [m], labels of training images, whose shares of the classes are those of real images.
    """
    if not game.networks.classes:
        return None
    drawn = pool[jax.random.randint(stream(key, "labels"), (count,), 0, len(pool))]
    return game.generated_labels(stream(key, "generated_labels"), drawn)


def labels_by_class(networks: Networks, count: int) -> Array | None:
    """Returns labels int32 [count] of a picture that shows each class in turn; None for networks without labels.

    >>> labels_by_class(networks._replace(classes=2), 5)
    Array([0, 0, 0, 1, 1], dtype=int32)
    """
    return jnp.arange(count) * networks.classes // count if networks.classes else None


def sample(
    networks: Networks,
    params: Params,
    variables: Variables,
    turn: Turn,
    key: Key,
    latents: Array,
    labels: Array | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Array:
    """Returns the images of latents by one generator, float32 in `networks.image_range`.

    With the variables of `freeze`, one latent gives one image, whatever batch it comes in.

    Args:
      latents: float32 [n, latent_size], of `networks.sample_latents`.
      labels: int32 [n], for networks that are given labels.
      options: what the networks are asked for in sampling alone, of `networks.options`: a truncation, say. They are no
        settings of a run: they belong to the protocol of a score.
    """
    at = context(networks, key, turn, labels, train=False, options=options)
    return networks.generator.apply(params, variables, at, latents)[0]
