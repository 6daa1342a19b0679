"""Streamed images for consecutive updates, read and copied to the devices while these compute the updates before."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from igan.data import Stream
from igan.game.batches import Feed, Streamed
from igan.game.engine import Engine
from igan.game.stages import Plan
from igan.types import Stage


class Stretch(NamedTuple):
    """Consecutive updates of one stage."""

    start: int
    stage: Stage
    updates: int


def chunks(stream: Stream, plan: Plan, engine: Engine, seed: int, stretches: Iterable[Stretch]) -> Iterator[Feed]:
    """Yields what the engine is fed for consecutive stretches of updates.

    A pure function of the stream, the seed and the stretches: a resumed run sees what it would have. While a chunk is
    in use, the next one is read and copied to the devices.

    >>> for feed in chunks(stream, plan, engine, seed=1, stretches=[Stretch(0, stage, 50), Stretch(50, stage, 50)]):
    ...     state, metrics = engine.run(state, stage, 50, feed)
    """

    def feeds() -> Iterator[Feed]:
        for _, same in groupby(stretches, key=lambda stretch: stretch.stage):
            batches: list[Iterator[tuple[np.ndarray, np.ndarray]]] = []
            for stretch in same:
                batches = batches or _open(stream, plan, engine, seed, stretch)
                discriminator, generator = (
                    _stack(islice(each, stretch.updates * steps), steps)
                    for steps, each in zip(plan.steps, batches, strict=True)
                )
                yield engine.put((discriminator, generator))

    read = feeds()
    with ThreadPoolExecutor(1, thread_name_prefix="igan-feed") as reader:
        waiting = reader.submit(next, read, None)
        while (feed := waiting.result()) is not None:
            waiting = reader.submit(next, read, None)
            yield feed


def _open(
    stream: Stream, plan: Plan, engine: Engine, seed: int, first: Stretch
) -> list[Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Returns the batches of both players from a stretch on, as long as its stage lasts."""
    stage, done = first.stage, first.start - first.stage.start
    return [
        stream.batches(seed, name, size, consumed + done * steps * size, engine.rows(size))
        for name, steps, size, consumed in zip(
            ("discriminator", "generator"), plan.steps, stage.batch_sizes, stage.consumed, strict=True
        )
    ]


def _stack(batches: Iterator[tuple[np.ndarray, np.ndarray]], steps: int) -> Streamed:
    images, labels = zip(*batches, strict=True)
    image_shape = images[0].shape
    return Streamed(
        np.stack(images).reshape(-1, steps, *image_shape), np.stack(labels).reshape(-1, steps, len(labels[0]))
    )
