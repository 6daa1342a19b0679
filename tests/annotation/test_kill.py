"""People at the real server, killed at any moment or busy: every acknowledged answer is there, none twice.

Short here; `python tests/benchmarks/annotation.py` and its `--kills=100` are the long forms.
"""

import asyncio
import pathlib

import pytest

pytest.importorskip("apsw", reason='needs the extra "annotation"')
pytest.importorskip("httpx2", reason="the simulated people need httpx2")

import httpx2

from igan.annotation import study
from tests.benchmarks import annotation
from tests.benchmarks.annotation_people import Person, Report

from .conftest import sources


@pytest.mark.parametrize("feedback", ["half"])
def test_killed_servers_lose_nothing_that_was_acknowledged(tmp_path: pathlib.Path, feedback: str):
    from igan.annotation.options import Options

    path = tmp_path / "s.db"
    study.create(path, Options(questions=12, pool=40, feedback=feedback), sources(40))
    # They think for longer, 3.6 seconds each, than until the last kill, 2.6: on a fast machine, too, all kills happen.
    report = annotation.kill(path, people=8, kills=3, seconds_between=(0.4, 1.2), think=0.3, seed=1)
    assert report.kills == 3 and report.finished == 8
    assert report.acknowledged == 8 * 12 and report.lost == report.twice == report.changed == 0
    assert report.is_good and report.retries > 0


@pytest.mark.parametrize("arrivals", [False, True])
def test_a_load_is_measured_and_loses_nothing(tmp_path: pathlib.Path, arrivals: bool):
    from igan.annotation.options import Options

    path = tmp_path / "s.db"
    study.create(path, Options(questions=3, pool=60), sources(60))
    report = annotation.load(path, people=4, think=0.2, seconds=240, ramp=0.2, arrivals=arrivals, export=arrivals)
    assert report.finished == 4 and report.acknowledged == len(report.latencies) == 12
    assert report.lost == report.twice == report.changed == report.errors == 0
    assert '"p99_ms": ' in report.line()
    assert report.is_good and (report.exports > 0) == arrivals


def test_people_go_when_the_last_kill_is_over(tmp_path: pathlib.Path):
    """However many questions are left, so that no number of kills is out of reach."""
    from igan.annotation.options import Options

    path = tmp_path / "s.db"
    study.create(path, Options(questions=500, pool=510), sources(510))
    report = annotation.kill(path, people=3, kills=1, seconds_between=(0.4, 0.8), think=0.2, to_the_end=False)
    assert report.kills == 1 and report.finished == 0 and report.is_good and report.acknowledged < 1500


def test_what_is_not_answered_is_an_error_under_load_and_a_kill_too_few_is_none_of_the_good():
    """A person at a port where nobody listens: refused, and tried again."""

    async def ask(strict: bool) -> int:
        report = Report()
        person = Person(0, "http://127.0.0.1:1/join/x", report, 0, strict)
        async with httpx2.AsyncClient() as person.client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await person._insist("GET", person.link)
        assert report.retries > 0
        return report.errors

    assert asyncio.run(ask(strict=True)) > 0 == asyncio.run(ask(strict=False))
    assert not Report(errors=1).is_good and not Report(lost=1).is_good
    assert not Report(wanted_kills=100, kills=99).is_good
    assert Report(wanted_kills=100, kills=100).is_good
