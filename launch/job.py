"""What a job of SkyPilot or Kubernetes runs: igan.main, and its exit code says whether there is something left to do.

    python launch/job.py --config=experiments/mnist.py --workdir=gs://my-bucket/mnist [more flags of igan.main]

SIGTERM, which announces a preemption, is passed on, so that the run saves. Exit codes: 0 the run is finished; 2 the
command is wrong, and would be again; 75 it was stopped before its end: start the same command again; else as igan.main.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence

import fsspec

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h.


def main(arguments: Sequence[str]) -> int:
    """Runs igan.main with these arguments and returns the exit code of the job."""
    process = subprocess.Popen([sys.executable, "-m", "igan.main", *arguments])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: process.send_signal(number))
    code = process.wait()
    if code == 0:
        return 0 if is_finished(arguments) else TRY_AGAIN
    return TRY_AGAIN if code in (128 + signal.SIGTERM, 128 + signal.SIGINT) else code % 256


def is_finished(arguments: Sequence[str]) -> bool:
    """Returns whether the run in the work directory of a command has finished."""
    folders = [each.partition("=")[2] for each in arguments if each.startswith("--workdir=")]
    try:
        with fsspec.open(f"{folders[-1].rstrip('/')}/summary.json", "r") as file:
            return json.load(file)["finished"] is True  # pyright: ignore[reportArgumentType]
    except (IndexError, OSError, ValueError, LookupError):
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
