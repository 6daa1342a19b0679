"""The simulated people of `tests/benchmarks/annotation.py`, and what was seen of them."""

import asyncio
import dataclasses
import json
import random
import re
import time
from collections.abc import Callable

import httpx2
import numpy as np

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
    errors: int = 0  # Replies that are no acknowledgement; under load also connections that failed, and commands.
    wanted_kills: int = 0
    exports: int = 0  # Rounds of results, export and the owner's pages.
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

    @property
    def is_good(self) -> bool:
        """Whether all is as it should be."""
        return not (self.lost or self.twice or self.changed or self.errors) and self.kills >= self.wanted_kills


class Person:
    """Somebody who answers at random, and insists on an acknowledgement.

    Args:
      strict: whether a connection that fails is an error, and not what was to be expected.
    """

    def __init__(self, number: int, link: str, report: Report, seed: int, strict: bool) -> None:
        self.link, self.report, self.strict = link, report, strict
        self.base = link.partition("/join/")[0]
        self.random = random.Random(f"{seed} {number}")
        self.ledger: dict[str, str] = {}
        self.name = ""

    async def take_part(self, think: float, is_over: Callable[[], bool], arrivals: bool = False) -> None:
        """Answers until the end of the questions, or until it is over.

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
            while question and not is_over():
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
                self.report.errors += self.strict or reply.status_code != 429
                problem = f"{method} {address}: {reply.status_code}"
            except httpx2.TransportError as error:
                self.report.errors += self.strict
                problem = repr(error)
            self.report.retries += 1
            if time.monotonic() > end:
                raise RuntimeError(problem)
            await asyncio.sleep(wait * self.random.uniform(0.5, 1.5))
            wait = min(1.0, wait * 2)
