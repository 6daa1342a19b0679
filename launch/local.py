"""Runs the members of a sweep on this machine, some at a time, each in a process of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from plan import has_trained, last_words, settle, start
from progress import Status, View

POLL_SECONDS = 0.1
SHOW_SECONDS = 0.5
MISTAKE = 2  # The exit code of igan.main for a mistake in the command: it would be the same again.


@dataclass
class Run:
    """A run that is under way."""

    status: Status
    process: "subprocess.Popen[bytes]"
    gpu: str
    signals: int = 0  # How many of the launcher's signals it has been sent.


class Pool:
    """Runs members, `jobs` at a time, and passes SIGINT, SIGTERM and SIGHUP (as SIGTERM) on to them, so that they save.

    Args:
      jobs: how many at a time.
      retries: how often a member that crashed is tried again.
      gpus: names for CUDA_VISIBLE_DEVICES; a member gets the one with the fewest members. Empty: all see all.
      keep_open: file descriptors that the runs inherit.

    >>> Pool(jobs=2, retries=1).run(statuses, view)  # doctest: +SKIP
    """

    def __init__(self, jobs: int, retries: int, gpus: Sequence[str] = (), keep_open: Sequence[int] = ()) -> None:
        self._jobs, self._retries, self._gpus, self._keep_open = jobs, retries, gpus, keep_open
        self._running: list[Run] = []
        self._tries: dict[str, int] = {}
        self._to_pass: list[int] = []  # Signals, in the order they came; delivered by the loop alone.
        self.stopped_by: int | None = None
        self.mistake = ""  # Why nothing at all was trained.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # As nohup has it.
                signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.stopped_by = number
        self._to_pass.append(signal.SIGTERM if number == signal.SIGHUP else number)

    def run(self, statuses: Sequence[Status], view: View) -> None:
        """Returns when every member that waits has finished or failed, or after a signal, when the running ones saved.

        A member's mistake does not stop the others, unless nothing was trained yet: then it is likely theirs as well.
        """
        try:
            self._play(statuses, view)
        finally:
            # Whatever goes wrong here, such as a terminal that is gone: no run goes on without a launcher.
            for run in self._running:
                if not run.signals:
                    run.process.terminate()
            for run in self._running:
                run.process.wait()

    def _play(self, statuses: Sequence[Status], view: View) -> None:
        waiting = [status for status in statuses if status.state == "waiting"]
        shown = 0.0
        while self._running or (waiting and not self._to_pass):
            while waiting and len(self._running) < self._jobs and not self._to_pass:
                self._start(waiting.pop(0))
                view.update()
            if self._pass_signals_on():
                view.update()
            for run in [run for run in self._running if run.process.poll() is not None]:
                self._running.remove(run)
                if self._end(run.status, run.process.returncode):
                    waiting.insert(0, run.status)
                if run.status.code == MISTAKE and not any(has_trained(each.member) for each in statuses):
                    self.mistake = self.mistake or f"{run.status.member.name}: {run.status.detail}"
                    # The other runs have not begun to train either.
                    self._to_pass.append(signal.SIGTERM)
                view.update()
            if time.monotonic() - shown > SHOW_SECONDS:
                view.update()
                shown = time.monotonic()
            time.sleep(POLL_SECONDS)

    def _start(self, status: Status) -> None:
        environment, gpu = dict(os.environ), ""
        if self._gpus:
            busy = [run.gpu for run in self._running]
            gpu = environment["CUDA_VISIBLE_DEVICES"] = min(self._gpus, key=busy.count)
        name = status.member.name
        status.state = "retrying" if self._tries.get(name) else "running"
        status.reader.restart()
        status.began = time.monotonic()
        self._tries[name] = self._tries.get(name, 0) + 1
        self._running.append(Run(status, start(status.member, environment, self._keep_open), gpu))

    def _pass_signals_on(self) -> bool:
        """Returns whether there were some."""
        late = [run for run in self._running if run.signals < len(self._to_pass)]
        for run in late:
            for number in self._to_pass[run.signals :]:
                run.process.send_signal(number)
                run.status.state = "saving"
            run.signals = len(self._to_pass)
        return bool(late)

    def _end(self, status: Status, code: int) -> bool:
        """Notes how a run has ended. Returns whether to try again."""
        status.code, status.detail = code, ""
        if settle(status.member, code):
            status.state = "finished"
            return False
        if self._to_pass:
            status.state = "stopped"
            return False
        status.detail = explain(code, last_words(status.member))
        again = code != MISTAKE and self._tries[status.member.name] <= self._retries
        status.state = "retrying" if again else "failed"
        return again


def explain(code: int, words: str) -> str:
    """Returns why a run is not finished, from its exit code (negative: the signal that ended it) and last words."""
    if code == 0:
        return f"stopped before the end: {words}"
    if code < 0:
        memory = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{memory}: {words}"
    return words.removeprefix("error: ") if code == MISTAKE else f"exit code {code}: {words}"
