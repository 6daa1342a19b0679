"""People at the real server, killed at any moment or busy: every acknowledged answer is there, none twice.

Short here; `python tests/benchmarks/annotation.py` and its `--kills=100` are the long forms.
"""

import pathlib

import pytest

pytest.importorskip("apsw", reason='needs the extra "annotation"')
pytest.importorskip("httpx2", reason="the simulated people need httpx2")

from igan.annotation import study
from tests.benchmarks import annotation

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


@pytest.mark.parametrize("arrivals", [False, True])
def test_a_load_is_measured_and_loses_nothing(tmp_path: pathlib.Path, arrivals: bool):
    from igan.annotation.options import Options

    path = tmp_path / "s.db"
    study.create(path, Options(questions=3, pool=60), sources(60))
    report = annotation.load(path, people=4, think=0.2, seconds=240, ramp=0.2, arrivals=arrivals, export=arrivals)
    assert report.finished == 4 and report.acknowledged == len(report.latencies) == 12
    assert report.lost == report.twice == report.changed == report.errors == 0
    assert '"p99_ms": ' in report.line()
