"""Orbax prints much about what it also raises: that is told in one line elsewhere."""

import logging
import sys
import traceback
from typing import Any


def silence() -> None:
    """What Orbax raises is told in one line; this drops what it and its threads also print about it, and no more."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_worth_reading)  # Adding a filter again changes nothing.
    previous = sys.unraisablehook
    if getattr(previous, "__module__", None) != __name__:

        def hook(unraisable: Any) -> None:
            if str(unraisable.exc_value) != "Event loop is closed":  # Its pending writes, after one of them failed.
                previous(unraisable)

        sys.unraisablehook = hook


def _worth_reading(record: logging.LogRecord) -> bool:
    _, error, frames = record.exc_info or (None, None, None)
    paths = (record.pathname, *(frame.filename for frame in traceback.extract_tb(frames)))
    # A write of TensorStore's that failed after another one has no frames, but tells into which folder it wrote.
    told = f"{error} {record.getMessage()}" if record.name == "asyncio" else str(error)
    of_orbax = any("/orbax/" in path for path in paths) or ".orbax-checkpoint-tmp" in told or "/orbax/" in told
    return not of_orbax or (record.levelno >= logging.WARNING and not record.exc_info and record.name != "asyncio")
