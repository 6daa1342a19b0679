"""The long form: a hundred kills and more, of a run on one host and of one on two. An hour or so on two quiet cores.

    python -m tests.chaos [--hosts=1,2] [--kills=100] [--others=10] [--minutes=30] [--output=chaos.md]

The disk that fills up and fails is a file system in a file, which only root can mount.
"""

import argparse
import math
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.life import Run, processes
from tests.chaos.troubles import kill, of_one_host, places, suffer


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of the run on one host, and as many of that on two")
    parser.add_argument("--others", type=int, default=10, help="how often each of the other troubles comes")
    parser.add_argument("--hosts", default="1,2", help="of the runs; default: 1,2, one after the other")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="for each run, after which it is let to its end"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    context, tables = processes(), []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that the disk is taken away.
    for hosts in map(int, options.hosts.split(",")):
        with tempfile.TemporaryDirectory() as root:
            folder, disk, reason = places(Path(root)) if hosts == 1 else (Path(root) / "run", None, "")
            if reason:
                print(f"Left out: the disk that fills up and fails ({reason}).", flush=True)
            began, log = time.monotonic(), Counter()
            run = Run(context, folder, Path(root), hosts, options.seed)
            others = list(of_one_host(disk).values()) if hosts == 1 else []
            updates = 0
            try:
                troubles = [kill] * options.kills + others * options.others
                suffer(run, troubles, log, lambda line: print(line, flush=True), 60 * options.minutes)
                updates = run.newest()
            finally:
                if disk:
                    disk.close()
            minutes = (time.monotonic() - began) / 60
        head = f"\n{hosts} host(s), {updates:,} updates, {minutes:.0f} minutes; the end is that of an undisturbed run."
        rows = [f"| {name} | {count} |" for name, count in sorted(log.items())]
        tables.append("\n".join([head, "", "| what | times |", "|---|---|", *rows]))
        print(tables[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
