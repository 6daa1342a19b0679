"""What is fed to the devices of a streamed run: a pure function of the update, across stages and stops."""

from types import SimpleNamespace

import numpy as np
import pytest

from igan.game.stages import Plan, complete_stages
from igan.run.feed import Stretch, chunks
from igan.types import Stage

STAGES = complete_stages([Stage(), Stage(1, start=4, batch_sizes=(2, 6))], (3, 3), steps=(2, 1))
PLAN = Plan(1, 2, 1, initial_images=2, stages=STAGES)
STRETCHES = [Stretch(0, STAGES[0], 2), Stretch(2, STAGES[0], 2), Stretch(4, STAGES[1], 2), Stretch(6, STAGES[1], 1)]


def count_up(seed, name, batch_size, place, rows):
    """A stream whose example k is the number k."""
    assert rows == range(batch_size)
    while True:
        numbers = np.arange(place, place + batch_size)
        yield numbers[:, None], numbers
        place += batch_size


STREAM = SimpleNamespace(batches=count_up)
ENGINE = SimpleNamespace(rows=range, put=lambda feed: feed)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_every_example_comes_once_and_in_order(done):
    feeds = list(chunks(STREAM, PLAN, ENGINE, 1, STRETCHES[done:]))
    assert len(feeds) == 4 - done
    for player, begins in ((0, [0, 12, 24, 32]), (1, [0, 6, 12, 24])):
        seen = np.concatenate([np.ravel(feed[player].images) for feed in feeds])
        np.testing.assert_array_equal(seen, np.arange(begins[done], begins[done] + len(seen)))
    steps = [feed[0].images.shape[:3] for feed in feeds]
    assert steps == [(2, 2, 3), (2, 2, 3), (2, 2, 2), (1, 2, 2)][done:]


def test_what_goes_wrong_in_reading_is_raised_where_it_is_asked_for():
    def broken(*arguments):
        yield from ()
        raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable"):
        next(chunks(SimpleNamespace(batches=broken), PLAN, ENGINE, 1, STRETCHES))
