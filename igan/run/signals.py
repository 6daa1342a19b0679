"""Stopping at the next good moment instead of at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental import multihost_utils


@contextmanager
def raised() -> Iterator[None]:
    """Has SIGTERM raise KeyboardInterrupt as Ctrl-C does, so that it ends with a word and leaves nothing half done.

    Not for one of several hosts, where JAX handles it.

    >>> with raised():
    ...     pass
    """

    def handle(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_on_signal() -> Iterator[list[str]]:
    """Yields a list that SIGINT and SIGTERM put their name into. A second signal ends the program at once.

    Where several hosts play, it stays empty until `agree` fills it on all of them.
    """
    received: list[str] = []
    is_alone = jax.process_count() == 1
    handled = (signal.SIGINT, signal.SIGTERM) if is_alone else (signal.SIGINT,)

    def handle(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        if is_alone:
            received.append(signal.Signals(number).name)
        else:
            signal.raise_signal(signal.SIGTERM)  # JAX handles that one: it tells the other hosts.

    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def agree(received: list[str], turn: int) -> None:
    """Where several hosts play, puts "SIGTERM" into the list of all of them at the same turn, after any got a signal.

    Args:
      received: from `stop_on_signal`.
      turn: how often this was called before: the same number on every host at the same place of the run.
    """
    if jax.process_count() > 1 and not received and multihost_utils.reached_preemption_sync_point(turn):
        received.append(signal.SIGTERM.name)
