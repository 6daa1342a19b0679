"""The record of a run: metrics.jsonl, TensorBoard events and sample pictures, exact across kills and restarts."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from igan import files
from igan.data.grids import encode_png
from igan.errors import RunError, UserError
from igan.reporting.events import Event, EventsWriter, SessionLog, Summary, scalar

Value = float | int | list | None
TENSORBOARD_FLUSH_SECONDS = 20.0  # A flush waits for the disk: not after every line.


class RunLog:
    """Writes what happens in a run to its work directory.

    On construction everything of later steps than `resume_step` is dropped from metrics.jsonl, as is a half-written
    line, so that the file of a resumed run equals that of a run that never stopped. `resume_step` 0 means a run from
    scratch, which writes its step 0 again: everything is dropped. For this to hold, write all lines up to a step before
    the checkpoint of that step is saved.

    Args:
      workdir: the work directory; made if missing.
      resume_step: updates done at the checkpoint that the run continues from; 0 without one.

    Raises:
      UserError: if the work directory cannot be written to.

    >>> with RunLog(Path("runs/mnist"), resume_step=0) as log:  # doctest: +SKIP
    ...     log.write(600, {"epoch": 1.0, "test_errors": [93, 95]})
    ...     log.image(600, image_grid(samples, columns=10))
    """

    def __init__(self, workdir: Path, resume_step: int) -> None:
        self._workdir = Path(workdir)
        self._last_flush = time.monotonic()
        metrics_path = self._workdir / "metrics.jsonl"
        events_folder = self._workdir / "tensorboard"
        try:
            (self._workdir / "samples").mkdir(parents=True, exist_ok=True)
            events_folder.mkdir(exist_ok=True)
            _drop_later_lines(metrics_path, resume_step)
            is_restart = any(events_folder.iterdir())
            self._metrics = metrics_path.open("ab")
            # The process number keeps two starts within one second from writing over each other's file.
            self._events = EventsWriter(str(events_folder / "events"), filename_suffix=f".{os.getpid()}")
            if is_restart:
                first_purged = resume_step + 1 if resume_step else 0
                start = SessionLog(status=SessionLog.START)
                self._events.write_event(Event(wall_time=time.time(), step=first_purged, session_log=start))
            self._events.flush()
        except OSError as error:
            raise UserError(
                f"Cannot write to the work directory {self._workdir}: {error.strerror or error}. "
                "Give one that can be written to: --workdir=DIRECTORY."
            ) from error

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Appends one line to metrics.jsonl, which a kill cannot take back, and its scalars to TensorBoard.

        Args:
          step: updates done.
          values: by name: a number or a list with one number per replica. NaN and infinity are written as null; a list
            goes to TensorBoard as its mean.

        Raises:
          RunError: if it cannot be written, as on a full disk. The lines before stay valid.
        """
        record = {"step": int(step)} | {name: _plain(value) for name, value in values.items()}
        line = json.dumps(record, allow_nan=False) + "\n"
        means = {name: _mean(value) for name, value in record.items() if name != "step"}
        summaries = [scalar(name, mean).value[0] for name, mean in means.items() if mean is not None]
        try:
            self._metrics.write(line.encode())
            self._metrics.flush()
            self._add_event(step, Summary(value=summaries))
        except OSError as error:
            raise _write_failure(self._workdir / "metrics.jsonl", error) from error

    def image(self, step: int, grid: np.ndarray) -> Path:
        """Writes a uint8 picture, [height, width] or [height, width, 3], to samples/step_<step>.png and to TensorBoard.

        Returns the file's path. Raises RunError if it cannot be written; there is never half a picture.
        """
        path = self._workdir / "samples" / f"step_{step:08d}.png"
        png = encode_png(grid)
        height, width = grid.shape[:2]
        picture = Summary.Image(
            height=height, width=width, colorspace=1 if grid.ndim == 2 else 3, encoded_image_string=png
        )
        try:
            files.replace(path, png)
            self._add_event(step, Summary(value=[Summary.Value(tag="samples", image=picture)]))
        except OSError as error:
            raise _write_failure(path, error) from error
        return path

    def reach_disk(self) -> None:
        """Returns when all lines would also outlive the machine: what a checkpoint says was done before it.

        Raises RunError as `write` does.
        """
        try:
            files.reach_disk(self._workdir / "metrics.jsonl")
        except OSError as error:
            raise _write_failure(self._workdir / "metrics.jsonl", error) from error

    def close(self) -> None:
        """Closes the files. What was written is safe even if this is never called."""
        try:
            self._metrics.close()
            self._events.close()
        except OSError as error:
            raise _write_failure(self._workdir, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RunError:
            if error is None:  # Otherwise the first failure is the one to hear about.
                raise

    def _add_event(self, step: int, summary: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=int(step), summary=summary))
        if time.monotonic() - self._last_flush > TENSORBOARD_FLUSH_SECONDS:
            self._events.flush()
            self._last_flush = time.monotonic()


def _plain(value: Any) -> Any:
    """NumPy and JAX numbers and arrays as what JSON knows; null for what it does not."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _mean(value: Any) -> float | None:
    """The scalar that TensorBoard gets: the mean of a list, None for anything with a gap or without numbers."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, int | float) for item in items):
        return None
    return float(sum(items) / len(items))


def _drop_later_lines(path: Path, resume_step: int) -> None:
    """Rewrites metrics.jsonl without the lines after `resume_step` and without damaged ones."""
    if not path.exists():
        return
    before = path.read_bytes()
    kept = b"".join(line + b"\n" for line in before.split(b"\n") if _is_kept(line, resume_step))
    if kept != before:
        files.replace(path, kept)


def _is_kept(line: bytes, resume_step: int) -> bool:
    try:
        return 0 < resume_step >= json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return False


def _write_failure(path: Path, error: OSError) -> RunError:
    return RunError(f"Could not write {path}: {error.strerror or error}. What is on disk so far stays valid.")
