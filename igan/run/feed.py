"""Streamed images for consecutive updates, read and copied to the devices while these compute the updates before."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from igan.data import Stream
from igan.game.batches import Streamed
from igan.game.engine import Engine, Feed, Plan


def chunks(stream: Stream, plan: Plan, engine: Engine, seed: int, start: int, lengths: Iterable[int]) -> Iterator[Feed]:
    """Yields what the engine is fed for chunks of `lengths` updates, the first of them update `start`.

    A pure function of the stream, the seed and `start`: a resumed run sees what it would have. While a chunk is in use,
    the next one is read and copied to the devices.

    >>> for feed in chunks(stream, plan, engine, seed=1, start=0, lengths=[50, 50]):
    ...     state, metrics = engine.run(state, 50, feed)
    """
    players = [
        (steps, stream.batches(seed, name, plan.batch_size, start * steps, engine.rows))
        for name, steps in zip(("discriminator", "generator"), plan.steps, strict=True)
    ]

    def read(updates: int) -> Feed:
        discriminator, generator = (_stack(islice(batches, updates * steps), steps) for steps, batches in players)
        return engine.put((discriminator, generator))

    with ThreadPoolExecutor(1, thread_name_prefix="igan-feed") as reader:
        waiting = None
        for updates in lengths:
            following = reader.submit(read, updates)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _stack(batches: Iterator[tuple[np.ndarray, np.ndarray]], steps: int) -> Streamed:
    images, labels = zip(*batches, strict=True)
    image_shape = images[0].shape
    return Streamed(
        np.stack(images).reshape(-1, steps, *image_shape), np.stack(labels).reshape(-1, steps, len(labels[0]))
    )
