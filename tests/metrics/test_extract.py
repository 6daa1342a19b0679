"""Streaming: order, padding, sharding, one compilation, errors from the reading thread, the progress bar."""

import io
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from igan.errors import UserError
from igan.metrics.extract import FeatureNetwork, collect, default_batch_size, stream
from igan.metrics.frechet_distance import moments
from igan.metrics.images import from_array

TRACES = []


def apply(params, images, levels):
    TRACES.append((images.shape, levels))
    scaled = images.astype(jnp.float32) * params["scale"]
    outputs = {"mean": scaled.mean(axis=(1, 2)), "first": scaled[:, 0, 0]}
    return {level: outputs[level] for level in levels}


NETWORK = FeatureNetwork("toy", ("mean", "first"), {"scale": jnp.float32(2)}, apply)


@pytest.fixture
def pixels(random) -> np.ndarray:
    return random.integers(0, 256, (21, 4, 5, 3), np.uint8)


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.mark.parametrize("batch_size", [0, 1, 8, 13, 1000])
@pytest.mark.parametrize("devices", [1, 8])
def test_features_come_in_order_whatever_the_batch_and_the_devices(pixels, batch_size, devices):
    batches = stream(
        from_array("toy", pixels),
        NETWORK._replace(devices=jax.devices()[:devices]),
        ["mean", "first"],
        batch_size=batch_size,
        console=quiet(),
    )
    features = collect(batches, 21)
    assert features["mean"].dtype == np.float32 and set(features) == {"mean", "first"}
    np.testing.assert_allclose(features["mean"], 2.0 * pixels.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(features["first"], 2.0 * pixels[:, 0, 0])


def test_all_devices_share_the_work(pixels):
    seen = []

    def spy(params, images, levels):
        jax.debug.inspect_array_sharding(images, callback=seen.append)
        return apply(params, images, levels)

    list(stream(from_array("toy", pixels), NETWORK._replace(apply=spy), ["mean"], batch_size=16, console=quiet()))
    assert seen[0].shard_shape((16, 4, 5, 3)) == (2, 4, 5, 3)


def test_one_shape_is_compiled_once_even_for_another_set(pixels):
    network = NETWORK._replace(apply=lambda params, images, levels: apply(params, images, levels))
    TRACES.clear()
    for images in (pixels, pixels[:20]):
        list(stream(from_array("toy", images), network, ["mean"], batch_size=8, console=quiet()))
    assert TRACES == [((8, 4, 5, 3), ("mean",))]


def test_moments_of_a_stream_are_those_of_the_features(pixels):
    batches = stream(from_array("toy", pixels), NETWORK, ["mean"], batch_size=8, console=quiet())
    streamed = moments(batch["mean"] for batch in batches)
    features = 2 * pixels.mean(axis=(1, 2))
    np.testing.assert_allclose(streamed.covariance, np.cov(features.T), rtol=1e-5)
    assert streamed.count == 21


def test_reading_goes_on_while_the_devices_work_but_not_too_far(pixels):
    reads = []
    images = from_array("toy", np.repeat(pixels, 10, axis=0))
    watched = images._replace(
        read=lambda start, stop: (reads.append((start, threading.current_thread().name)), images.read(start, stop))[1]
    )
    batches = stream(watched, NETWORK, ["mean"], batch_size=8, console=quiet())
    next(batches)
    assert all(name.startswith("igan-read") for _, name in reads)
    batches.close()  # What is left is not read.
    assert [start for start, _ in reads] == [8 * i for i in range(len(reads))] and 2 <= len(reads) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("igan-read")]


def test_errors_of_the_reading_thread_arrive(pixels):
    def fail(start, stop):
        if start >= 8:
            raise UserError("image 9 is damaged")
        return pixels[start:stop]

    with pytest.raises(UserError, match="image 9 is damaged"):
        list(stream(from_array("toy", pixels)._replace(read=fail), NETWORK, ["mean"], batch_size=8, console=quiet()))


def test_unknown_outputs_are_named(pixels):
    with pytest.raises(UserError, match="toy has no output 'logits': it has mean, first"):
        next(stream(from_array("toy", pixels), NETWORK, ["logits"]))


def test_the_bar_says_what_and_how_many(pixels):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    list(stream(from_array("samples", pixels), NETWORK, ["mean"], batch_size=8, console=console))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "Features of samples" in text and "21/21" in text and "ETA" in text


def test_default_batch_is_a_multiple_of_the_devices():
    for devices in (jax.devices(), jax.devices()[:3], jax.devices()[:1]):
        assert default_batch_size(devices) % len(devices) == 0
