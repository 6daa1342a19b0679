"""Which examples make up which batch: a pure function of the key and the step, epoch by epoch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.data.space import rescale
from igan.game.batches import Orders, Resident, argsort_packed, epoch_order, gather, make_orders
from igan.game.stages import complete_stages
from igan.types import Array, Key, Stage

SIZES = [(30, 7), (20, 100), (1, 3), (5, 3)]  # (examples, batch size): 20 labels in batches of 100 are usual.
STEPS = 30  # All windows are this long but those that say otherwise, since each length is a program to compile.


@pytest.fixture
def key() -> Key:
    return jax.random.key(3)


@functools.partial(jax.jit, static_argnames=("name", "size", "batch_size", "steps"))
def order(key: Key, name: str, size: int, batch_size: int, start: Array, steps: int) -> Array:
    return epoch_order(key, name, size, batch_size, start * batch_size, steps)


@pytest.mark.parametrize(("size", "batch_size"), SIZES)
def test_an_epoch_holds_every_example_exactly_once(key, size, batch_size):
    stream = np.asarray(order(key, "real", size, batch_size, jnp.int32(0), STEPS))
    assert stream.shape == (STEPS, batch_size)
    assert stream.dtype == np.int32
    epochs = stream.reshape(-1, size)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(size), (len(epochs), 1)))


def test_epochs_are_shuffled_apart_from_each_other(key):
    epochs = np.asarray(order(key, "real", 30, 7, jnp.int32(0), STEPS)).reshape(7, 30)
    assert len({tuple(epoch) for epoch in epochs.tolist()} | {tuple(range(30))}) == 8


@pytest.mark.parametrize(("size", "batch_size"), SIZES)
def test_a_stream_does_not_depend_on_how_it_is_cut_into_chunks(key, size, batch_size):
    whole = np.asarray(order(key, "real", size, batch_size, jnp.int32(0), STEPS))
    for start in (0, 1, 4, 13, 17, 25):
        piece = order(key, "real", size, batch_size, jnp.int32(start), 5)
        np.testing.assert_array_equal(piece, whole[start : start + 5])


def test_a_stream_is_the_same_far_along(key):
    # 2.1e9 images: close to the limit of int32, up to which a run may be planned.
    start = 300_000_000
    stream = np.asarray(order(key, "real", 30, 7, jnp.int32(start), STEPS)).reshape(7, 30)
    np.testing.assert_array_equal(np.sort(stream), np.tile(np.arange(30), (7, 1)))
    later = order(key, "real", 30, 7, jnp.int32(start + 25), 5)
    np.testing.assert_array_equal(np.ravel(later), stream.ravel()[175:])


def test_packed_keys_are_sorted_as_pairs_are(random):
    """As NumPy's stable sort does it: equal keys stay in their order, and none is taken for a negative number."""
    keys = random.choice(
        np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1, *random.integers(0, 2**32, 20)], np.uint32), (3, 50)
    )
    found = jax.jit(jax.vmap(argsort_packed))(keys)
    assert found.dtype == jnp.int32 and jnp.arange(1).dtype == jnp.int32  # What it computes with goes no further.
    np.testing.assert_array_equal(found, np.argsort(keys, axis=1, kind="stable"))


def test_streams_of_other_names_and_keys_are_others(key):
    streams = [order(key, name, 30, 7, jnp.int32(0), STEPS) for name in ("real", "labeled")]
    streams.append(order(jax.random.key(4), "real", 30, 7, jnp.int32(0), STEPS))
    assert len({np.asarray(stream).tobytes() for stream in streams}) == 3
    np.testing.assert_array_equal(order(jax.random.key(3), "real", 30, 7, jnp.int32(0), STEPS), streams[0])


def test_replicas_draw_what_they_would_draw_alone():
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    together = jax.vmap(functools.partial(order, name="real", size=30, batch_size=7, start=jnp.int32(0), steps=STEPS))
    for replica, stream in enumerate(together(keys)):
        alone = order(jax.random.key(replica), "real", 30, 7, jnp.int32(0), STEPS)
        np.testing.assert_array_equal(stream, alone)


def test_every_example_is_equally_likely_anywhere(key):
    epochs = np.asarray(order(key, "real", 5, 5, jnp.int32(0), 4000))
    counts = np.stack([np.bincount(column, minlength=5) for column in epochs.T])
    # Each count is binomial(4000, 1/5): 800 with a standard deviation of 25.3.
    assert np.abs(counts - 800).max() < 5 * 25.3


def test_orders_are_one_stream_for_each_purpose(key):
    labeled = np.int32([11, 3, 25])
    make = jax.jit(
        lambda start: make_orders(key, start, 5, 30, jnp.asarray(labeled), Stage(batch_sizes=(7, 7)), steps=(3, 2))
    )
    orders = make(jnp.int32(5))
    discriminator = order(key, "data/discriminator", 30, 7, jnp.int32(0), STEPS).reshape(10, 3, 7)
    generator = order(key, "data/generator", 30, 7, jnp.int32(0), STEPS)[:20].reshape(10, 2, 7)
    chosen = np.asarray(order(key, "data/labeled", 3, 7, jnp.int32(0), STEPS)).reshape(10, 3, 7)
    np.testing.assert_array_equal(orders.discriminator, discriminator[5:])
    np.testing.assert_array_equal(orders.generator, generator[5:])
    np.testing.assert_array_equal(orders.labeled, labeled[chosen[5:]])
    assert not np.array_equal(orders.discriminator[:, :2], orders.generator)
    # 105 draws of 3 labelled examples: they take turns.
    np.testing.assert_array_equal(np.bincount(np.ravel(orders.labeled))[labeled], [35, 35, 35])


def test_a_stage_goes_on_in_the_stream_where_the_one_before_has_stopped(key):
    _, second = complete_stages([Stage(), Stage(1, start=2, batch_sizes=(4, 6))], (8, 8), steps=(3, 2))
    orders = make_orders(key, jnp.int32(2), 2, 30, None, second, steps=(3, 2))
    for name, player, begin, count in (
        ("discriminator", 0, 2 * 3 * 8, 2 * 3 * 4),
        ("generator", 1, 2 * 2 * 8, 2 * 2 * 6),
    ):
        one_by_one = np.ravel(order(key, f"data/{name}", 30, 1, jnp.int32(0), 80))
        np.testing.assert_array_equal(np.ravel(orders[player]), one_by_one[begin : begin + count])


def test_orders_without_labels(key):
    assert make_orders(key, jnp.int32(0), 2, 30, None, Stage(batch_sizes=(4, 4)), steps=(1, 1)).labeled is None


@pytest.fixture
def resident(random) -> Resident:
    images = random.integers(0, 256, (12, 3, 2, 1), dtype=np.uint8)
    labels = random.integers(0, 10, 12, dtype=np.int32)
    return Resident(jnp.asarray(images), jnp.asarray(labels), jnp.asarray(images[:2]), jnp.asarray(labels[:2]))


def test_batches_are_the_examples_of_the_orders(resident):
    orders = Orders(
        discriminator=jnp.int32([[3, 0, 7], [1, 1, 11]]),
        generator=jnp.int32([[5, 2, 9]]),
        labeled=jnp.int32([[2, 4, 6], [8, 10, 0]]),
        generator_labeled=jnp.int32([[1, 2, 3]]),
    )
    batches = gather(resident, orders, lambda stored: rescale(stored, (-1.0, 1.0)))
    images, labels = np.asarray(resident.images) / 127.5 - 1, np.asarray(resident.labels)
    assert (len(batches.discriminator), len(batches.generator)) == (2, 1)
    for step, batch in enumerate(batches.discriminator):
        assert batch.labeled is not None
        np.testing.assert_allclose(batch.real.images, images[orders.discriminator[step]], atol=1e-6)
        np.testing.assert_allclose(batch.labeled.images, images[orders.labeled[step]], atol=1e-6)
        np.testing.assert_array_equal(batch.labeled.labels, labels[orders.labeled[step]])
        assert (batch.real.images.dtype, batch.labeled.labels.dtype) == (jnp.float32, jnp.int32)
    np.testing.assert_allclose(batches.generator[0].real.images, images[[5, 2, 9]], atol=1e-6)
    np.testing.assert_allclose(batches.generator[0].labeled.images, images[[1, 2, 3]], atol=1e-6)
    np.testing.assert_array_equal(batches.generator[0].labeled.labels, labels[[1, 2, 3]])


def test_batches_without_labels(resident):
    batches = gather(
        resident,
        Orders(jnp.int32([[3, 0]]), jnp.int32([[1, 2]]), None, None),
        lambda stored: rescale(stored, (0.0, 1.0)),
    )
    np.testing.assert_allclose(
        batches.discriminator[0].real.images, np.asarray(resident.images)[[3, 0]] / 255, atol=1e-7
    )
    assert batches.discriminator[0].labeled is None
