"""Which examples make up which batch: a pure function of (key, step), so that a resumed run sees what it would have."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from igan.randomness import stream
from igan.types import Array, Batch, Batches, Examples, Key, Stage

Encode = Callable[[Array | np.ndarray], Array]  # Stored images -> float32, what the networks see.


class Resident(NamedTuple):
    """A data set in device memory, once for all replicas, or in host memory on its way there."""

    images: Array | np.ndarray  # As it is stored: uint8 [n, height, width, channels], mostly.
    labels: Array | np.ndarray  # int32 [n]
    test_images: Array | np.ndarray
    test_labels: Array | np.ndarray


class Orders(NamedTuple):
    """Which examples make up the batches of consecutive updates: int32 [updates, steps of the player, batch size]."""

    discriminator: Array
    generator: Array
    labeled: Array | None  # As many as `discriminator`.
    generator_labeled: Array | None  # As many as `generator`, for techniques that look ahead at the other player.


class Streamed(NamedTuple):
    """The images and labels of consecutive updates of one player, read by the host.

    Stored images [updates, steps of the player, batch size, ...] and int32 [updates, steps, batch size].
    """

    images: Array | np.ndarray
    labels: Array | np.ndarray


Feed = tuple[Streamed, Streamed]  # The images of consecutive updates, for the discriminator and for the generator.


def make_orders(
    key: Key, start: Array, updates: int, size: int, labeled: Array | None, stage: Stage, steps: tuple[int, int]
) -> Orders:
    """Returns the examples of the updates start .. start + updates - 1.

    Args:
      key: the game's key.
      start: the first update, may be traced.
      size: number of unlabelled examples.
      labeled: int32 [m], which examples have labels; None without labels.
      stage: the stage that they are in.
      steps: steps of the discriminator and of the generator an update.
    """

    def order(name: str, size: int, player: int) -> Array:
        batch_size = stage.batch_sizes[player]
        place = stage.consumed[player] + (start - stage.start) * steps[player] * batch_size
        batches = epoch_order(key, name, size, batch_size, place, updates * steps[player])
        return batches.reshape(updates, steps[player], batch_size)

    def labeled_order(name: str, player: int) -> Array | None:
        return None if labeled is None else labeled[order(name, labeled.shape[0], player)]

    return Orders(
        discriminator=order("data/discriminator", size, 0),
        generator=order("data/generator", size, 1),
        labeled=labeled_order("data/labeled", 0),
        generator_labeled=labeled_order("data/generator_labeled", 1),
    )


def unpack(discriminator: Streamed, generator: Streamed, encode: Encode, labels_seen: bool) -> Batches:
    """Returns the batches of one update, whose streamed images have no leading axis of updates.

    Args:
      encode: takes stored images to what the networks see.
      labels_seen: whether the labels may be seen; all of a stream are known.
    """

    def batches(streamed: Streamed) -> tuple[Batch, ...]:
        return tuple(
            Batch(Examples(encode(images), jnp.asarray(labels) if labels_seen else None))
            for images, labels in zip(streamed.images, streamed.labels, strict=True)
        )

    return Batches(batches(discriminator), batches(generator))


def gather(data: Resident, orders: Orders, encode: Encode, all_labeled: bool = False) -> Batches:
    """Returns the batches of one update, whose `orders` have no leading axis of updates.

    Args:
      encode: takes stored images to what the networks see.
      all_labeled: whether every image comes with its own label.
    """

    def examples(order: Array, with_labels: bool) -> Examples:
        return Examples(encode(data.images[order]), jnp.asarray(data.labels)[order] if with_labels else None)

    def batches(orders: Array, labeled: Array | None) -> tuple[Batch, ...]:
        if labeled is None:
            return tuple(Batch(examples(order, all_labeled)) for order in orders)
        return tuple(
            Batch(examples(order, False), examples(known, True)) for order, known in zip(orders, labeled, strict=True)
        )

    return Batches(
        discriminator=batches(orders.discriminator, orders.labeled),
        generator=batches(orders.generator, orders.generator_labeled),
    )


def mirrored(batches: Batches, key: Key, step: Array) -> Batches:
    """Returns the batches of an update with each image mirrored left to right, or not, by a coin of its own.

    Args:
      key: the game's key.
      step: the update, may be traced.
    """

    def mirror(batch: Batch, name: str) -> Batch:
        def by_coins(examples: Examples, name: str) -> Examples:
            coins = jax.random.bernoulli(stream(key, name, step), shape=(len(examples.images), 1, 1, 1))
            return examples._replace(images=jnp.where(coins, examples.images[:, :, ::-1], examples.images))

        labeled = None if batch.labeled is None else by_coins(batch.labeled, f"{name}/labeled")
        return Batch(by_coins(batch.real, f"{name}/real"), labeled)

    return Batches(
        *(
            tuple(mirror(batch, f"mirror/{player}/{index}") for index, batch in enumerate(steps))
            for player, steps in batches._asdict().items()
        )
    )


def epoch_order(key: Key, name: str, size: int, batch_size: int, place: Array, steps: int) -> Array:
    """Returns the examples of consecutive batches of an endless stream.

    The stream is one random permutation of all examples after another: within an epoch nothing is drawn twice, and
    every example is drawn once. Batches do not stop at epoch ends, so a batch may be larger than a small set.

    Args:
      key: the game's key.
      name: the stream's name; streams of different names are independent.
      size: number of examples.
      batch_size: examples a batch.
      place: how many examples of the stream come before, may be traced.
      steps: number of batches.

    Returns: int32 [steps, batch_size], each in [0, size).

    Example: `epoch_order(key, "real", 60_000, 100, place=0, steps=600)` draws each of 60,000 examples once.
    """
    count = steps * batch_size
    first_epoch, offset = jnp.divmod(place, size)
    # A window of `count` examples that may start anywhere in an epoch touches this many epochs, and maybe one more.
    epochs = (count + size - 2) // size

    def permutation(epoch: Array) -> Array:
        # One sort. `jax.random.permutation` takes two or more, because examples with equal keys stay in their order.
        bits = jax.random.bits(stream(key, name, epoch), (size,))
        return jax.lax.platform_dependent(bits, cpu=argsort_packed, default=jnp.argsort)

    order = jax.vmap(permutation)(first_epoch + jnp.arange(epochs)).reshape(-1)
    reaches = offset + count > epochs * size
    last = jax.lax.cond(reaches, permutation, lambda _: jnp.zeros(size, order.dtype), first_epoch + epochs)
    window = jax.lax.dynamic_slice(jnp.concatenate([order, last]), (offset,), (count,))
    return window.reshape(steps, batch_size)


def argsort_packed(keys: Array) -> Array:
    """Returns what `jnp.argsort` does, of uint32 [n] as int32 [n].

    On a CPU XLA sorts one array five times as fast as one beside another.

    >>> argsort_packed(jnp.array([7, 0, 7, 3], jnp.uint32)).tolist()
    [1, 3, 0, 2]
    """
    with jax.enable_x64(True):
        places = jnp.arange(len(keys), dtype=jnp.uint64)
        return jnp.sort((keys.astype(jnp.uint64) << 32) | places, stable=False).astype(jnp.uint32).astype(jnp.int32)
