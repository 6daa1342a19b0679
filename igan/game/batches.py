"""Which examples make up which batch: a pure function of (key, step), so that a resumed run sees what it would have."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from igan.randomness import stream
from igan.types import Array, Batch, Batches, Key


class Resident(NamedTuple):
    """A data set in device memory, once for all replicas, or in host memory on its way there."""

    images: Array | np.ndarray  # uint8 [n, height, width, channels]
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

    uint8 [updates, steps of the player, batch size, height, width, channels] and int32 [updates, steps, batch size].
    """

    images: Array | np.ndarray
    labels: Array | np.ndarray


def rescale(images: Array | np.ndarray, image_range: tuple[float, float]) -> Array:
    """Takes uint8 images in [0, 255] to float32 in `image_range`.

    >>> rescale(jnp.uint8([0, 255]), (-1.0, 1.0))
    Array([-1.,  1.], dtype=float32)
    """
    low, high = image_range
    return low + jnp.asarray(images, jnp.float32) * ((high - low) / 255)


def quantize(images: Array, image_range: tuple[float, float]) -> Array:
    """Takes images in `image_range` to the nearest uint8 in [0, 255]; what lies outside is clipped.

    >>> quantize(jnp.array([-1.2, 0.0, 1.0]), (-1.0, 1.0))
    Array([  0, 128, 255], dtype=uint8)
    """
    low, high = image_range
    return jnp.round((jnp.clip(images, low, high) - low) * (255 / (high - low))).astype(jnp.uint8)


def make_orders(
    key: Key, start: Array, updates: int, size: int, labeled: Array | None, batch_size: int, steps: tuple[int, int]
) -> Orders:
    """Returns the examples of the updates start .. start + updates - 1.

    Args:
      key: the game's key.
      start: the first update, may be traced.
      size: number of unlabelled examples.
      labeled: int32 [m], which examples have labels; None without labels.
      batch_size: examples a batch.
      steps: steps of the discriminator and of the generator an update.
    """

    def order(name: str, size: int, steps: int) -> Array:
        batches = epoch_order(key, name, size, batch_size, start * steps, updates * steps)
        return batches.reshape(updates, steps, batch_size)

    def labeled_order(name: str, steps: int) -> Array | None:
        return None if labeled is None else labeled[order(name, labeled.shape[0], steps)]

    return Orders(
        discriminator=order("data/discriminator", size, steps[0]),
        generator=order("data/generator", size, steps[1]),
        labeled=labeled_order("data/labeled", steps[0]),
        generator_labeled=labeled_order("data/generator_labeled", steps[1]),
    )


def unpack(discriminator: Streamed, generator: Streamed, image_range: tuple[float, float], labeled: bool) -> Batches:
    """Returns the batches of one update, whose streamed images have no leading axis of updates.

    Args:
      labeled: whether the labels may be seen; all of a stream are known.
    """

    def batches(streamed: Streamed) -> tuple[Batch, ...]:
        return tuple(
            Batch(rescale(images, image_range), labeled_labels=jnp.asarray(labels) if labeled else None)
            for images, labels in zip(streamed.images, streamed.labels, strict=True)
        )

    return Batches(batches(discriminator), batches(generator))


def gather(data: Resident, orders: Orders, image_range: tuple[float, float], all_labeled: bool = False) -> Batches:
    """Returns the batches of one update, whose `orders` have no leading axis of updates.

    Args:
      all_labeled: whether every image comes with its own label.
    """

    def images(order: Array) -> Array:
        return rescale(data.images[order], image_range)

    def batches(orders: Array, labeled: Array | None) -> tuple[Batch, ...]:
        if labeled is None:
            labels = jnp.asarray(data.labels)
            return tuple(
                Batch(images(order), labeled_labels=labels[order] if all_labeled else None) for order in orders
            )
        return tuple(
            Batch(images(order), images(known), jnp.asarray(data.labels)[known])
            for order, known in zip(orders, labeled, strict=True)
        )

    return Batches(
        discriminator=batches(orders.discriminator, orders.labeled),
        generator=batches(orders.generator, orders.generator_labeled),
    )


def epoch_order(key: Key, name: str, size: int, batch_size: int, start: Array, steps: int) -> Array:
    """Returns the examples of the batches start .. start + steps - 1 of an endless stream.

    The stream is one random permutation of all examples after another: within an epoch nothing is drawn twice, and
    every example is drawn once. Batches do not stop at epoch ends, so a batch may be larger than a small set.

    Args:
      key: the game's key.
      name: the stream's name; streams of different names are independent.
      size: number of examples.
      batch_size: examples a batch.
      start: first batch, may be traced.
      steps: number of batches.

    Returns: int32 [steps, batch_size], each in [0, size).

    Example: `epoch_order(key, "real", 60_000, 100, start=0, steps=600)` draws each of 60,000 examples once.
    """
    count = steps * batch_size
    first_epoch, offset = jnp.divmod(start * batch_size, size)
    # A window of `count` examples that may start anywhere in an epoch touches this many epochs, and maybe one more.
    epochs = (count + size - 2) // size

    def permutation(epoch: Array) -> Array:
        # One sort. `jax.random.permutation` takes two or more, because examples with equal keys stay in their order.
        return jnp.argsort(jax.random.bits(stream(key, name, epoch), (size,)))

    order = jax.vmap(permutation)(first_epoch + jnp.arange(epochs)).reshape(-1)
    reaches = offset + count > epochs * size
    last = jax.lax.cond(reaches, permutation, lambda _: jnp.zeros(size, order.dtype), first_epoch + epochs)
    window = jax.lax.dynamic_slice(jnp.concatenate([order, last]), (offset,), (count,))
    return window.reshape(steps, batch_size)
