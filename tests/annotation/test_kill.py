"""A server that is killed at any moment, for real: every acknowledged answer is there, none twice, and people go on.

Short here; `python tests/benchmarks/annotation.py --kills=100` is the long form.
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
