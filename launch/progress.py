"""How far the members of a sweep are: read from their work directories, shown as a live table or as plain lines."""

import json
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from plan import Member, read_json
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

SPEED_WINDOW_SECONDS = 60.0
COLORS = {"running": "cyan", "retrying": "yellow", "saving": "yellow", "finished": "green", "failed": "red"}
ACTIVE = ("running", "retrying", "saving")


class Progress(NamedTuple):
    """What the files of a run say: `share` of its epochs, updates a second, seconds so far and to go, newest result."""

    share: float = 0.0
    speed: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    result: str = ""


class Reader:
    """Follows the metrics.jsonl of a work directory; every line is read once, so that a look every second is cheap."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._epochs: float | None = None
        self._result = ""
        # Seconds, step and epoch of the last minute's lines.
        self._history: deque[tuple[float, int, float]] = deque()
        self._history_has_start = True

    def restart(self) -> None:
        """Forgets the speed: a new session of the run begins."""
        self._history = deque(list(self._history)[-1:])
        self._history_has_start = True

    def read(self) -> Progress:
        """Returns the progress by now. A missing file, half a line and a damaged one are no progress."""
        path = self._workdir / "metrics.jsonl"
        try:
            if path.stat().st_size < self._offset:  # A resumed run has dropped what came after its checkpoint.
                self._forget()
            with path.open("rb") as file:
                file.seek(self._offset)
                lines = file.read().split(b"\n")
        except OSError:
            return Progress()
        self._offset += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            try:
                self._take(json.loads(line))
            except (ValueError, LookupError, TypeError):
                continue
        return self._progress()

    def _take(self, line: dict[str, Any]) -> None:
        now = (float(line["seconds"]), int(line["step"]), float(line["epoch"]))
        if not self._history or now[1] > self._history[-1][1]:
            self._history.append(now)
        if self._history_has_start and len(self._history) == 3:
            # The first stretch holds the compilation: as soon as there is another one, it no longer counts.
            self._history.popleft()
            self._history_has_start = False
        while len(self._history) > 2 and now[0] - self._history[0][0] > SPEED_WINDOW_SECONDS:
            self._history.popleft()
        if errors := line.get("test_errors"):
            of = f" of {line['test_examples']:,}" if line.get("test_examples") else ""
            self._result = f"{sum(errors) / len(errors):,.{0 if len(errors) == 1 else 1}f} errors{of}"
        elif scores := [name for name in line if name.startswith("scores/")]:
            values = line[scores[0]] if isinstance(line[scores[0]], list) else [line[scores[0]]]
            self._result = f"{scores[0].removeprefix('scores/')} {sum(values) / len(values):.2f}"

    def _progress(self) -> Progress:
        if self._epochs is None:
            config = read_json(self._workdir / "config.json")
            self._epochs = config.get("epochs") if isinstance(config, dict) else None
        if not self._history:
            return Progress(result=self._result)
        first, (seconds, step, epoch) = self._history[0], self._history[-1]
        share = min(1.0, epoch / self._epochs) if self._epochs else 0.0
        if step <= first[1] or seconds <= first[0] or not self._epochs:
            return Progress(share, None, seconds, None, self._result)
        left = max(0.0, self._epochs - epoch) * (seconds - first[0]) / max(epoch - first[2], 1e-9)
        return Progress(share, (step - first[1]) / (seconds - first[0]), seconds, left, self._result)


@dataclass
class Status:
    """What the launcher knows of a member. States: waiting, running, retrying, saving, finished, failed, stopped."""

    member: Member
    state: str = "waiting"
    detail: str = ""  # Why, in a few words: an exit code, the last line of a log.
    code: int | None = None  # The exit code of the newest run.
    began: float | None = None  # When that was started, by `time.monotonic`; None if it is not known.
    progress: Progress = field(default_factory=Progress)
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(self.member.workdir)


class View:
    """A live table of all members on a terminal; elsewhere (a pipe, TERM=dumb) one plain line for every change.

    >>> with View(statuses, jobs=2) as view:  # doctest: +SKIP
    ...     statuses[0].state = "running"
    ...     view.update()
    """

    def __init__(self, statuses: Sequence[Status], jobs: int, console: Console | None = None) -> None:
        self._statuses, self._jobs = statuses, jobs
        self._console = console or Console()
        self._shown = {each.member.name: each.state for each in statuses}
        is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if is_live else None

    def update(self) -> None:
        """Reads how far the active members are, and shows what has changed."""
        for status in self._statuses:
            changed = self._shown[status.member.name] != status.state
            if status.state in ACTIVE or changed:
                status.progress = status.reader.read()
            if changed and self._live is None:
                self.note(self._line(status))
            self._shown[status.member.name] = status.state
        if self._live is not None:
            self._live.update(self._picture(self._console.height), refresh=True)

    def note(self, line: str) -> None:
        """Prints a line that stays: above the table, or between the plain lines."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> "View":
        for status in self._statuses:
            status.progress = status.reader.read()
        if self._live is not None:
            self._live.start()
        self.update()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.vertical_overflow = "visible"
            self._live.update(self._picture(None), refresh=True)
            self._live.stop()

    def _line(self, status: Status) -> str:
        ended = sum(each.state in ("finished", "failed", "stopped") for each in self._statuses)
        parts = [f"[{ended}/{len(self._statuses)}] {status.member.name}: {status.state}", status.detail]
        if status.state not in ACTIVE:
            parts += [status.progress.result, f"{clock(status.progress.seconds)}" if status.progress.seconds else ""]
        return "  ".join(part for part in parts if part)

    def _picture(self, height: int | None) -> Group:
        """Returns the table of all members, or, where `height` lines are too few, of those that matter now."""
        shown = list(self._statuses)
        room = None if height is None else max(3, height - 5)
        if room is not None and len(shown) > room:
            rank = {"failed": 1, "stopped": 1, "waiting": 2, "finished": 3}
            matter = sorted(shown, key=lambda status: rank.get(status.state, 0))[:room]
            shown = [status for status in shown if any(status is each for each in matter)]
        longest = max(12, self._console.width // 3)
        table = Table(
            Column("run", no_wrap=True, overflow="ellipsis", max_width=longest),
            Column("state", no_wrap=True),
            Column("progress", no_wrap=True),
            Column("steps/s", no_wrap=True, justify="right"),
            Column("time", no_wrap=True, justify="right"),
            Column("newest result", no_wrap=True, overflow="ellipsis", ratio=1),
            box=None,
            expand=True,
            pad_edge=False,
        )
        for status in shown:
            table.add_row(*self._row(status))
        hidden = len(self._statuses) - len(shown)
        rest = f"  (and {hidden} more that do not fit)" if hidden else ""
        return Group(table, Text(self._totals() + rest, style="bold", no_wrap=True, overflow="ellipsis"))

    def _row(self, status: Status) -> Iterable[Any]:
        progress = status.progress
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=progress.share, width=10), f"{100 * progress.share:3.0f} %")
        active = status.state in ACTIVE
        if active:
            since = "" if status.began is None else f" {clock(time.monotonic() - status.began)}"
            when = f"starting{since}" if progress.seconds_left is None else f"{clock(progress.seconds_left)} to go"
        else:
            when = clock(progress.seconds) if progress.seconds else ""
        speed = f"{progress.speed:,.1f}" if active and progress.speed else ""
        result = status.detail if status.state == "failed" else progress.result or status.detail
        state = Text(status.state, style=COLORS.get(status.state, "dim"))
        return Text(status.member.name), state, bar, speed, when, Text(result)

    def _totals(self) -> str:
        states = [each.state for each in self._statuses]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(["finished", *ACTIVE, *states])]
        left = self._seconds_left()
        return ", ".join(each for each in counts if each[0] != "0") + (f"; about {clock(left)} to go" if left else "")

    def _seconds_left(self) -> float | None:
        """The time to the end of the sweep, if members that wait take as long as the others; None if unknown."""
        running = [each.progress for each in self._statuses if each.state in ACTIVE]
        known = [each for each in running if each.seconds_left is not None]
        if not running or len(known) < len(running):
            return None
        lefts = [each.seconds_left or 0.0 for each in known]
        whole = [each.seconds + left for each, left in zip(known, lefts, strict=True)]
        whole += [each.progress.seconds for each in self._statuses if each.state == "finished"]
        waiting = sum(each.state == "waiting" for each in self._statuses)
        return max(max(lefts), (sum(lefts) + waiting * sum(whole) / len(whole)) / self._jobs)


def clock(seconds: float) -> str:
    """Returns a time as hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
