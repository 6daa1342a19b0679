"""How far a run is: a live bar on a terminal, a plain line now and then everywhere else."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

SPEED_WINDOW_SECONDS = 60.0


class RunProgress:
    """A progress bar with speed, remaining time and a message that changes with every update.

    On a terminal it is a live bar. Anywhere else (a pipe, a file, a CI log, TERM=dumb) it is one plain line every
    `seconds_between_lines`, and one at the end.

    Args:
      total_steps: the step at which the run ends.
      start_step: the step at which it begins: above 0 for a resumed run, whose speed is that of this session alone.
      description: a word or two in front, like "mnist".
      console: where to print; standard output by default.
      clock: seconds, for tests.
      seconds_between_lines: for the plain lines.

    >>> with RunProgress(180_000, 0, "mnist") as progress:  # doctest: +SKIP
    ...     progress.note("data: MNIST of tensorflow-datasets")
    ...     progress.update(600, "epoch 1/300 · test errors 2038")
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int,
        description: str,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        seconds_between_lines: float = 30.0,
    ) -> None:
        is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        if console is not None:
            is_live = console.is_terminal and not console.is_dumb_terminal
        self._console = console or Console(force_terminal=is_live)
        self._clock = clock
        self._total_steps, self._step, self._description = total_steps, start_step, description
        self._message = ""
        self._seconds_between_lines = seconds_between_lines
        self._last_line_time: float | None = None
        self._line_is_due = False
        # Where speed is measured from: times and steps of the last minute.
        self._history: deque[tuple[float, int]] = deque([(clock(), start_step)])
        self._history_has_start = True
        self._bar = self._make_bar() if is_live else None

    def _make_bar(self) -> Progress:
        def fixed(text: str, width: int) -> TextColumn:
            return TextColumn(text, markup=False, table_column=Column(no_wrap=True, min_width=width))

        # On a narrow terminal the bar shrinks first, then the message; the remaining time stays readable.
        bar = Progress(
            fixed("{task.description}", len(self._description)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=5, max_width=30)),
            fixed("{task.completed:.0f}/{task.total:.0f}", 2 * len(str(self._total_steps)) + 1),
            fixed("{task.fields[pace]}", len("99.9 steps/s  ETA 99:59:59")),
            TextColumn("{task.fields[message]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            expand=True,
            refresh_per_second=4,
        )
        self._task = bar.add_task(
            self._description, total=self._total_steps, completed=self._step, pace="starting", message=""
        )
        return bar

    def update(self, step: int, message: str = "") -> None:
        """Shows that `step` updates are done. An empty `message` keeps the one before."""
        self._step, self._message = step, message or self._message
        self._measure(step)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, pace=self._pace(), message=self._message)
            return
        self._line_is_due = True
        if self._last_line_time is None or self._clock() - self._last_line_time >= self._seconds_between_lines:
            self._print_line()

    def note(self, line: str) -> None:
        """Prints a line that stays: above the bar, or between the plain lines."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the live bar off the terminal, so that another one can be shown meanwhile."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def steps_per_second(self) -> float | None:
        """The speed over the last minute or the last two updates; None before it is known."""
        (first_time, first_step), (last_time, last_step) = self._history[0], self._history[-1]
        if last_step <= first_step or last_time <= first_time:
            return None
        return (last_step - first_step) / (last_time - first_time)

    def seconds_left(self) -> float | None:
        """The time to `total_steps` at the present speed; None before it is known."""
        speed = self.steps_per_second()
        return None if speed is None else max(self._total_steps - self._step, 0) / speed

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._line_is_due:
            self._print_line()

    def _measure(self, step: int) -> None:
        now = self._clock()
        if step > self._history[-1][1]:  # An evaluation repeats a step; its time counts in the next stretch.
            self._history.append((now, step))
        if self._history_has_start and len(self._history) == 3:
            # The first stretch holds the compilation: as soon as there is another one, it no longer counts.
            self._history.popleft()
            self._history_has_start = False
        while len(self._history) > 2 and now - self._history[0][0] > SPEED_WINDOW_SECONDS:
            self._history.popleft()

    def _pace(self) -> str:
        speed, seconds = self.steps_per_second(), self.seconds_left()
        if speed is None or seconds is None:
            return "starting"
        digits = 1 if speed < 100 else 0
        return f"{speed:.{digits}f} steps/s  ETA {_hours(seconds)}"

    def _print_line(self) -> None:
        share = 100.0 * self._step / max(self._total_steps, 1)
        parts = [f"{self._description} {self._step}/{self._total_steps} ({share:.1f} %)", self._pace(), self._message]
        self.note("  ".join(part for part in parts if part))
        self._last_line_time = self._clock()
        self._line_is_due = False


def _hours(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
