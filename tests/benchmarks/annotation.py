"""Simulated people at a real server of a study: how quick it is under load, and whether anything is lost.

    python tests/benchmarks/annotation.py                                # 300 people, a question every 2 s, 10 minutes
    python tests/benchmarks/annotation.py --people=50 --kills=100        # the server is killed 100 times meanwhile
    python tests/benchmarks/annotation.py --open                         # arrivals at a fixed rate, whoever waits
    python tests/benchmarks/annotation.py --export                       # results, export, the owner's page meanwhile

Each person keeps a ledger: what was acknowledged, and with what. At the end the file must have exactly that. Under load
whatever is not answered at once and well is an error: a refused or broken connection, a time-out, "too fast". Where the
server is killed people try again, as the page does; there it starts without its audit, which takes seconds each time.
The exit code is 1 where an answer was lost, doubled or changed, where there was an error, or a kill too few.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # For the people beside this file.

from igan.annotation import study
from igan.annotation.options import Options
from igan.annotation.pool import Source
from igan.metrics import images
from tests.benchmarks.annotation_people import Person, Report


class Server:
    """The command as people start it, in a process of its own that can be killed."""

    def __init__(self, path: Path, port: int, audit: bool) -> None:
        self.path, self.port, self.audit, self.process, self.owner = path, port, audit, None, ""

    def start(self) -> str:
        """Starts it and returns the link for people."""
        command = [sys.executable, "-m", "igan.annotation", "serve", f"--study={self.path}", f"--port={self.port}"]
        if not self.audit:
            command = [sys.executable, "-m", "tests.benchmarks.annotation", "--serve", str(self.path), str(self.port)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("for people:"), f"{line!r}, exit code {self.process.poll()}"
        self.owner = self.process.stdout.readline().split()[-1]
        return line.split()[-1]

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal and waits for the end."""
        assert self.process and self.process.stdout
        self.process.send_signal(how)
        self.process.wait(300)  # On a busy machine the last commit and the clearing up take their time.
        self.process.stdout.close()


def kill(
    path: Path,
    people: int,
    kills: int,
    seconds_between: Sequence[float],
    think: float,
    seed: int = 0,
    to_the_end: bool = True,
) -> Report:
    """Lets people take part while the server is killed at random moments; returns what came of it.

    Args:
      to_the_end: whether people answer all questions, whatever time that takes; else they go after the last kill.
    """
    report, randomly = Report(wanted_kills=kills), random.Random(seed)
    running = Server(path, _free_port(), audit=False)
    link = running.start()

    async def killer(everybody: asyncio.Task) -> None:
        while report.kills < kills and not everybody.done():
            await asyncio.sleep(randomly.uniform(*seconds_between))
            if everybody.done():
                return
            running.kill()
            report.kills += 1
            await asyncio.to_thread(running.start)

    async def all_of_it() -> list[Person]:
        persons = [Person(number, link, report, seed, strict=False) for number in range(people)]
        work = [person.take_part(think, lambda: not to_the_end and report.kills >= kills) for person in persons]
        everybody = asyncio.ensure_future(asyncio.gather(*work))
        await asyncio.gather(everybody, killer(everybody))
        return persons

    begun = time.monotonic()
    try:
        persons = asyncio.run(all_of_it())
    finally:
        running.kill(signal.SIGTERM)
    report.seconds = time.monotonic() - begun
    return _compare(path, persons, report)


def load(
    path: Path, people: int, think: float, seconds: float, ramp: float, arrivals: bool, export: bool, seed: int = 0
) -> Report:
    """Lets people take part for a time, who come within `ramp` seconds; returns what was seen."""
    report = Report()
    running = Server(path, _free_port(), audit=True)
    link = running.start()

    async def one(person: Person, number: int, until: float) -> None:
        await asyncio.sleep(ramp * number / people)
        await person.take_part(think, lambda: time.monotonic() >= until, arrivals)

    async def all_of_it() -> list[Person]:
        until = time.monotonic() + ramp + seconds
        persons = [Person(number, link, report, seed, strict=True) for number in range(people)]
        everybody = asyncio.ensure_future(asyncio.gather(*(one(each, n, until) for n, each in enumerate(persons))))
        await asyncio.gather(everybody, *([_export(path, running.owner, report, everybody)] if export else []))
        return persons

    begun = time.monotonic()
    try:
        persons = asyncio.run(all_of_it())
    finally:
        running.kill(signal.SIGTERM)
    report.seconds = time.monotonic() - begun
    return _compare(path, persons, report)


async def _export(path: Path, owner: str, report: Report, everybody: asyncio.Task) -> None:
    """Asks for all that an owner can ask for, again and again while people answer."""
    base, _, token = owner.partition("/owner#token=")
    with tempfile.TemporaryDirectory() as folder:
        commands = (["results", f"--output={folder}/results"], ["export", f"--output={folder}/answers.csv"])
        async with httpx2.AsyncClient(timeout=120, follow_redirects=True) as client:
            login = await client.post(f"{base}/owner/login", data={"token": token})
            report.errors += login.status_code != 200
            while not everybody.done():
                if not report.acknowledged:  # There are no results before the first answer.
                    await asyncio.sleep(0.05)
                    continue
                for command, *rest in commands:
                    words = [sys.executable, "-m", "igan.annotation", command, str(path), *rest]
                    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                    process = await asyncio.create_subprocess_exec(*words, **quiet)
                    report.errors += await process.wait() != 0
                for page in ("/owner", "/owner/results"):
                    report.errors += (await client.get(f"{base}{page}")).status_code != 200
                report.exports += 1
                await asyncio.sleep(1)


def _compare(path: Path, persons: Sequence[Person], report: Report) -> Report:
    import apsw

    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute("SELECT question, said FROM answer").fetchall()
    stored = {str(name): ("generated", "real")[int(said)] for name, said in rows}
    connection.close()
    ledger = {name: said for person in persons for name, said in person.ledger.items()}
    report.lost = len(ledger.keys() - stored.keys())
    report.twice = len(rows) - len(stored)
    report.changed = sum(stored.get(name, said) != said for name, said in ledger.items())
    report.extra = len(stored.keys() - ledger.keys())
    answers = study.open(path).answers()
    assert len(answers) == len({(each.person, each.position) for each in answers}) == len(rows)
    return report


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _make(path: Path, questions: int) -> None:
    generator = np.random.default_rng(0)
    count = max(1000, questions + 10)
    given = [
        Source(name, name == "real", name, "", images.from_array(name, pixels))
        for name, pixels in (
            (name, generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)) for name in ("real", "generated")
        )
    ]
    study.create(path, Options(questions=questions, pool=count), given)


def _serve(path: Path, port: int) -> None:
    """The command without its audit, which takes seconds at each start."""
    from igan.annotation import __main__, audit

    audit.audit = lambda *_: ([], [])
    sys.exit(__main__.main(["serve", f"--study={path}", f"--port={port}"]))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--think", type=float, default=2.0, help="seconds for a question")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--ramp", type=float, default=30.0, help="seconds within which people come")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(Path(options.serve[0]), int(options.serve[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        if options.kills:
            # More than anybody can answer before the last kill, on a slow machine too, where a start takes a while.
            _make(path, min(2000, max(100, round(12 * options.kills / options.think))))
            report = kill(path, options.people, options.kills, (0.5, 2.0), options.think, to_the_end=False)
        else:
            _make(path, round(options.seconds / options.think * 2))
            report = load(
                path, options.people, options.think, options.seconds, options.ramp, options.open, options.export
            )
    print(report.line())
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
