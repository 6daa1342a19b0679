"""Streams images through a network on all devices: one compiled batch shape, decoding overlapped with the network.

Images are read and decoded in a thread, sent to the devices as bytes, resized there, and only features come back. Of
several hosts each reads and looks at what its own devices would be given; they meet where all features are wanted.
"""

import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from igan import hosts
from igan.errors import UserError
from igan.metrics.images import Images
from igan.types import Array

Device = Any  # jax.Device, which type checkers take for a variable.
READ_AHEAD = 3  # Batches decoded before the devices ask for them.
BYTES_PER_IMAGE = 48 * 2**20  # Of device memory while the Inception network runs, about.


class FeatureNetwork(NamedTuple):
    """A network that scores are computed with."""

    label: str  # Network, weights, resize and precision: the first part of a protocol.
    levels: tuple[str, ...]  # The names of its outputs.
    params: Any
    # (params, uint8 images [n, height, width, channels], levels) -> {level: float32 [n, d]}; compiled by `stream`.
    apply: Callable[[Any, Array, Sequence[str]], dict[str, Array]]
    devices: Sequence[Device] = ()  # What it runs on; all there are if none is named.


def stream(
    images: Images,
    network: FeatureNetwork,
    levels: Sequence[str],
    *,
    batch_size: int = 0,
    console: Console | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the features of all images in order, a batch at a time; on several hosts those of this host's images.

    Args:
      images: what to look at; uint8.
      network: what to look with.
      levels: which of its outputs.
      batch_size: images in flight on all devices together, rounded up to a multiple of their number; 0 for as many as
        fit well. The last batch is padded to the same shape, and the padding never comes back.
      console: where the progress bar goes; standard error by default.

    Yields:
      {level: float32 [n, d]} with n images each; on several hosts as many of them on all, of which a last may be empty.

    >>> for features in stream(images.from_folder("samples"), network, ["2048"]):  # doctest: +SKIP
    ...     total += features["2048"].sum(axis=0)

    Raises:
      UserError: no images, or an output the network does not have.
    """
    if missing := [level for level in levels if level not in network.levels]:
        raise UserError(f"{network.label} has no output '{missing[0]}': it has {', '.join(network.levels)}")
    devices = sorted(network.devices or jax.devices(), key=lambda device: device.process_index)
    here = tuple(of_this_host(devices))
    size = min(batch_size or default_batch_size(devices), images.count)
    size = -(-size // len(devices)) * len(devices)
    sharded, replicated = _shardings(here)
    params = jax.device_put(network.params, replicated)
    compute = _compiled(network.apply, tuple(levels), here)
    each = size // len(devices)
    offset, mine = each * devices.index(here[0]), each * len(here)

    def read(start: int) -> tuple[int, Array]:
        first, stop = (min(start + place, images.count) for place in (offset, offset + mine))
        batch = images.read(min(first, images.count - 1), stop)  # Of no images at least the shape is wanted.
        padding = [(0, mine - len(batch)), (0, 0), (0, 0), (0, 0)]
        return stop - first, jax.device_put(np.pad(batch, padding), sharded)

    # The devices work on one batch while the results of the one before are fetched.
    running: collections.deque[tuple[int, dict[str, Array]]] = collections.deque()
    with _progress(console) as progress:
        task = progress.add_task(f"Features of {images.name}", total=images.count)

        def fetch() -> dict[str, np.ndarray]:
            count, outputs = running.popleft()
            features = {level: np.asarray(output)[:count] for level, output in outputs.items()}
            progress.advance(task, count * len(devices) / len(here))
            return features

        for count, batch in _ahead(read, range(0, images.count, size)):
            running.append((count, compute(params, batch)))
            if len(running) > 1:
                yield fetch()
        while running:
            yield fetch()


def collect(batches: Iterator[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """Returns the batches of `stream`, of all hosts, as one array [count, d] for each level."""

    def mine() -> tuple[dict[str, np.ndarray], list[int]]:
        features: dict[str, np.ndarray] = {}
        sizes: list[int] = []
        for batch in batches:
            for level, part in batch.items():
                array = features.setdefault(level, np.empty((count, part.shape[1]), np.float32))
                array[sum(sizes) : sum(sizes) + len(part)] = part
            sizes.append(len(next(iter(batch.values()))))
        return {level: array[: sum(sizes)] for level, array in features.items()}, sizes

    everyone = hosts.share(mine)
    if len(everyone) == 1:
        return everyone[0][0]
    # Of each batch a stretch from each host.
    stretches = {
        level: [np.split(features[level], np.cumsum(sizes)[:-1]) for features, sizes in everyone]
        for level in everyone[0][0]
    }
    return {
        level: np.concatenate([part for batch in zip(*of, strict=True) for part in batch])
        for level, of in stretches.items()
    }


def of_this_host(devices: Sequence[Device]) -> list[Device]:
    """Returns those of some devices that this process has."""
    return [device for device in devices if device.process_index == jax.process_index()]


def default_batch_size(devices: Sequence[Device]) -> int:
    """Returns how many images to have in flight on all devices: a fifth of their memory, at most 256 each."""
    one = of_this_host(devices)[0]
    limit = (one.memory_stats() or {}).get("bytes_limit", 0) if one.platform != "cpu" else 0
    each = min(256, limit // 5 // BYTES_PER_IMAGE) if limit else 32 // len(devices)
    return max(1, each) * len(devices)


@functools.lru_cache(maxsize=8)
def _shardings(devices: tuple[Device, ...]) -> tuple[NamedSharding, NamedSharding]:
    mesh = Mesh(np.array(devices), ("data",))
    return NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())


@functools.lru_cache(maxsize=8)
def _compiled(apply: Callable, levels: tuple[str, ...], devices: tuple[Device, ...]) -> Callable:
    """Returns one jitted function for one network, so that a second set of images compiles nothing."""
    sharded, replicated = _shardings(devices)
    return jax.jit(functools.partial(apply, levels=levels), in_shardings=(replicated, sharded), out_shardings=sharded)


def _ahead(read: Callable[[int], tuple[int, Array]], starts: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """Yields read(start) of every start in order, read ahead in a thread; its errors are raised here."""
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="igan-read")
    remaining = iter(starts)
    futures = collections.deque(pool.submit(read, start) for start in itertools.islice(remaining, READ_AHEAD))
    try:
        while futures:
            result = futures.popleft().result()
            futures.extend(pool.submit(read, start) for start in itertools.islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _progress(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    return Progress(*columns, *times, console=console or Console(stderr=True), disable=jax.process_index() > 0)
