"""Trains a whole table, one cell after another, and reports it: run it again and it goes on where it stopped.

python launch/table.py --config=experiments/mnist.py --labels=20,50,100,200 --replicas=10 --workdir=runs/table
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CLASSES = 10
MANAGED = ("--config", "--workdir", "--config.labels_per_class", "--config.replicas", "--config.epochs")
RECORD = "launch.json"  # The command that finished a cell, in the cell's work directory.

DESCRIPTION = """\
Trains one cell of the table after another (python -m igan.main, with its output as it comes), then runs igan.report
over them. A cell that this very command has finished is skipped, an unfinished one resumes, a crashed one is tried once
more. Ctrl-C or SIGTERM lets the running cell save and stops; the same command then goes on."""

EPILOG = """\
Everything after -- goes to every igan.main as it is:
  python launch/table.py --labels=100 --workdir=runs/table -- --config.data.source=tfds --config.seed=3"""


class Launcher:
    """Runs one child at a time and passes SIGINT and SIGTERM on to it."""

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: object) -> None:
        self.stopped_by = number
        if self._child is not None:
            self._child.send_signal(number)

    def run(self, command: Sequence[str]) -> int:
        """Returns the child's exit code, negative if a signal ended it."""
        print(f"\n$ {shlex.join(command)}", flush=True)
        # A session of its own: the terminal's Ctrl-C reaches the child once, through `_pass_on`, and not twice.
        self._child = subprocess.Popen(command, start_new_session=True)
        if self.stopped_by is not None:  # The signal came while the child was being started.
            self._child.send_signal(self.stopped_by)
        code = self._child.wait()
        self._child = None
        return code


def cell_command(options: argparse.Namespace, labels: int) -> list[str]:
    """Returns the command that trains the cell with this many labels."""
    command = [sys.executable, "-m", "igan.main", f"--config={options.config}"]
    command += [f"--config.labels_per_class={labels // CLASSES}", f"--config.replicas={options.replicas}"]
    if options.epochs is not None:
        command.append(f"--config.epochs={options.epochs}")
    return [*command, f"--workdir={cell_workdir(options, labels)}", *options.further]


def cell_workdir(options: argparse.Namespace, labels: int) -> Path:
    return options.workdir / f"labels_{labels:04d}"


def report_command(options: argparse.Namespace) -> list[str]:
    return [sys.executable, "-m", "igan.report", str(options.workdir), f"--output={options.workdir / 'report'}"]


def is_finished(workdir: Path) -> bool:
    """Returns whether the summary of a work directory says so; a missing or damaged one does not."""
    summary = _read_json(workdir / "summary.json")
    return isinstance(summary, dict) and summary.get("finished") is True


def can_be_skipped(workdir: Path, command: Sequence[str]) -> bool:
    """Returns whether this very command has finished the cell.

    The summary alone cannot tell: it does not hold every setting. Without a record the cell is started again, which is
    harmless: igan.main resumes at the end, or refuses settings that differ.
    """
    return is_finished(workdir) and _read_json(workdir / RECORD) == list(command[1:])


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def train_cell(launcher: Launcher, workdir: Path, command: Sequence[str]) -> int:
    """Trains one cell, again if it crashed. Returns 0 if it is finished, else the exit code (1 if that was 0)."""
    code = launcher.run(command)
    # Exit code 2 is a mistake in the command: it would be the same again.
    if code not in (0, 2) and launcher.stopped_by is None:
        print(f"\n{workdir}: exit code {code}; one more try.", flush=True)
        code = launcher.run(command)
    if code == 0 and is_finished(workdir):
        (workdir / RECORD).write_text(json.dumps(list(command[1:]), indent=2) + "\n", encoding="utf-8")
        return 0
    return code or 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options; a mistake ends the program with one line and exit code 2."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", default="experiments/mnist.py", help="the experiment (default: %(default)s)")
    parser.add_argument(
        "--labels", default="20,50,100,200", help="labels of all classes, by comma (default: %(default)s)"
    )
    parser.add_argument("--replicas", type=int, default=10, help="games per cell (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="default: as the experiment says")
    parser.add_argument("--workdir", type=Path, default=Path("runs/table"), help="default: %(default)s")
    parser.add_argument("--dry_run", action="store_true", help="print the commands and run nothing")
    parser.add_argument("further", nargs="*", metavar="-- FLAG", help="further flags for every igan.main")
    options = parser.parse_args(arguments)
    parser.usage = argparse.SUPPRESS  # Mistakes below are one line.
    fail = parser.error
    try:
        labels = [int(text) for text in options.labels.split(",")]
    except ValueError:
        fail(f"--labels={options.labels}: expected numbers by comma, like --labels=20,50,100,200")
    for number in labels:
        if number < CLASSES or number % CLASSES:
            near = max(CLASSES, round(number / CLASSES) * CLASSES)
            fail(f"--labels: {number} cannot be shared evenly by {CLASSES} classes; type a multiple of 10, like {near}")
    for name in ("replicas", "epochs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            fail(f"--{name}={value}: expected 1 or more, like --{name}=10")
    for flag in options.further:
        if flag.split("=")[0] in MANAGED:
            own = "labels" if "labels" in flag else flag.split("=")[0].rpartition(".")[2].lstrip("-")
            fail(f"{flag} is set by the launcher itself: give --{own} before the --")
    options.labels = list(dict.fromkeys(labels))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every cell is finished, 1 if one is not, 2 for a mistake, 128 + the signal that stopped it."""
    options = parse(arguments)
    launcher = None if options.dry_run else Launcher()
    unfinished = []
    for labels in options.labels:
        command, workdir = cell_command(options, labels), cell_workdir(options, labels)
        if can_be_skipped(workdir, command):
            print(f"# {workdir} is finished: skipped", flush=True)
        elif launcher is None:
            print(shlex.join(command))
        elif code := train_cell(launcher, workdir, command):
            if launcher.stopped_by is not None:
                print("\nStopped. The same command goes on from here.", flush=True)
                return 128 + launcher.stopped_by
            if code == 2:
                return 2
            unfinished.append(str(workdir))
        if launcher is not None and launcher.stopped_by is not None:
            return 128 + launcher.stopped_by
    if launcher is None:
        print(shlex.join(report_command(options)))
        return 0
    code = launcher.run(report_command(options))
    if unfinished:
        print(f"\nNot finished: {', '.join(unfinished)}. The same command tries again.", file=sys.stderr)
    return 1 if unfinished else code


if __name__ == "__main__":
    sys.exit(main())
