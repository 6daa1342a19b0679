"""Stopping at the next good moment instead of at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_signal() -> Iterator[list[str]]:
    """Yields a list that SIGINT and SIGTERM put their name into. A second signal ends the program at once."""
    received: list[str] = []
    handled = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
