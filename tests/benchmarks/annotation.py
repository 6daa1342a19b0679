"""Simulated people at a real server of a study: how quick it is under load, and whether anything is lost.

    python tests/benchmarks/annotation.py                                # 300 people, a question every 2 s, 10 minutes
    python tests/benchmarks/annotation.py --people=50 --kills=100        # the server is killed 100 times meanwhile
    python tests/benchmarks/annotation.py --open                         # arrivals at a fixed rate, whoever waits
    python tests/benchmarks/annotation.py --export                       # all answers are read every second meanwhile

Each person keeps a ledger: what was acknowledged, and with what. At the end the file must have exactly that.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import numpy as np

from igan.annotation import study
from igan.annotation.options import Options
from igan.annotation.pool import Source
from igan.metrics import images

PATIENCE = 600.0  # Seconds for which a person tries again.


@dataclasses.dataclass
class Report:
    """What was seen."""

    kills: int = 0
    finished: int = 0
    acknowledged: int = 0
    lost: int = 0  # Acknowledged and not in the file.
    twice: int = 0
    changed: int = 0  # In the file with another answer.
    extra: int = 0  # In the file, but not acknowledged: the reply was lost. None at the end, as people ask again.
    errors: int = 0  # Replies that are neither an acknowledgement nor "too fast".
    retries: int = 0
    seconds: float = 0.0
    latencies: list[float] = dataclasses.field(default_factory=list)

    def line(self) -> str:
        """Returns the figures without the latencies themselves, which become percentiles in milliseconds."""
        plain = {name: value for name, value in vars(self).items() if name != "latencies"}
        if self.latencies:
            shares = (50, 95, 99, 99.9, 100)
            values = np.percentile(self.latencies, shares) * 1000
            plain |= {f"p{share:g}_ms": round(float(value), 1) for share, value in zip(shares, values, strict=True)}
            plain["answers_a_second"] = round(len(self.latencies) / self.seconds, 1)
        return json.dumps(plain)


class Server:
    """The command as people start it, in a process of its own that can be killed."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.port, self.process = path, port, None

    def start(self) -> str:
        """Starts it and returns the link for people."""
        command = [sys.executable, "-m", "tests.benchmarks.annotation", "--serve", str(self.path), str(self.port)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("for people:"), f"{line!r}, exit code {self.process.poll()}"
        return line.split()[-1]

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal and waits for the end."""
        assert self.process and self.process.stdout
        self.process.send_signal(how)
        self.process.wait(300)  # On a busy machine the last commit and the clearing up take their time.
        self.process.stdout.close()


class Person:
    """Somebody who answers at random, and insists on an acknowledgement."""

    def __init__(self, number: int, link: str, report: Report, seed: int) -> None:
        self.link, self.report = link, report
        self.base = link.partition("/join/")[0]
        self.random = random.Random(f"{seed} {number}")
        self.ledger: dict[str, str] = {}
        self.name = ""

    async def take_part(self, think: float, until: float, arrivals: bool = False) -> None:
        """Answers until the end of the questions or of the time.

        Args:
          think: seconds for a question.
          arrivals: whether questions come by a clock, and a late answer counts from when it was due (open loop).
        """
        async with httpx2.AsyncClient(timeout=30, follow_redirects=False) as self.client:
            page = await self._insist("GET", self.link)
            form = re.search(r'name="form" value="([^"]+)"', page.text)
            assert form, page.text
            await self._insist("POST", self.link, data={"form": form[1]})
            question = await self._question()
            due = time.monotonic() + self.random.uniform(0, think)
            while question and time.monotonic() < until:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._insist("GET", f"{self.base}/image/{question}/a")
                said = self.random.choice(("real", "generated"))
                begun = due if arrivals else time.monotonic()
                data = {"question": question, "said": said, "milliseconds": "1000"}
                reply = await self._insist("POST", f"{self.base}/answer", data=data)
                self.report.latencies.append(time.monotonic() - begun)
                assert not reply.json()["conflict"]
                self.ledger[question] = said
                self.report.acknowledged += 1
                following = reply.json()["next"]
                question = following["question"] if following else ""
                due = due + think if arrivals else time.monotonic() + self.random.uniform(0.5, 1.5) * think
            if not question:
                self.report.finished += 1
                page = await self._insist("GET", f"{self.base}/end")
                assert re.search(r'class="code">([0-9a-f]{16})', page.text)

    async def _question(self) -> str:
        page = await self._insist("GET", f"{self.base}/question")
        found = re.search(r'name="question" value="([^"]+)"', page.text)
        return found[1] if found else ""

    async def _insist(self, method: str, address: str, **values) -> httpx2.Response:
        """Sends a request until it is answered, as the page does."""
        end, wait = time.monotonic() + PATIENCE, 0.05
        while True:
            try:
                reply = await self.client.request(method, address, headers={"accept": "application/json"}, **values)
                if reply.status_code < 400:
                    return reply
                self.report.errors += reply.status_code != 429
                problem = f"{method} {address}: {reply.status_code}"
            except httpx2.TransportError as error:
                problem = repr(error)
            self.report.retries += 1
            if time.monotonic() > end:
                raise RuntimeError(problem)
            await asyncio.sleep(wait * self.random.uniform(0.5, 1.5))
            wait = min(1.0, wait * 2)


def kill(path: Path, people: int, kills: int, seconds_between: Sequence[float], think: float, seed: int = 0) -> Report:
    """Lets people take part while the server is killed at random moments; returns what came of it."""
    report, randomly = Report(), random.Random(seed)
    running = Server(path, _free_port())
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
        persons = [Person(number, link, report, seed) for number in range(people)]
        work = [person.take_part(think, float("inf")) for person in persons]
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
    running = Server(path, _free_port())
    link = running.start()

    async def exporter(everybody: asyncio.Task) -> None:
        while not everybody.done():
            command = f"from igan.annotation import study; print(len(study.open({str(path)!r}).answers()))"
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", command, stdout=subprocess.DEVNULL)
            await process.wait()
            await asyncio.sleep(1)

    async def one(person: Person, number: int, until: float) -> None:
        await asyncio.sleep(ramp * number / people)
        await person.take_part(think, until, arrivals)

    async def all_of_it() -> list[Person]:
        until = time.monotonic() + ramp + seconds
        persons = [Person(number, link, report, seed) for number in range(people)]
        everybody = asyncio.ensure_future(asyncio.gather(*(one(each, n, until) for n, each in enumerate(persons))))
        await asyncio.gather(everybody, *([exporter(everybody)] if export else []))
        return persons

    begun = time.monotonic()
    try:
        persons = asyncio.run(all_of_it())
    finally:
        running.kill(signal.SIGTERM)
    report.seconds = time.monotonic() - begun
    return _compare(path, persons, report)


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
    """The command without its audit, which takes a second at each start."""
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
            _make(path, 100)
            report = kill(path, options.people, options.kills, (0.5, 2.0), options.think)
        else:
            _make(path, round(options.seconds / options.think * 2))
            report = load(
                path, options.people, options.think, options.seconds, options.ramp, options.open, options.export
            )
    print(report.line())


if __name__ == "__main__":
    main()
