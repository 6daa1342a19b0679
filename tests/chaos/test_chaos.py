"""Troubles for every day: each of them once, on one run. `python -m tests.chaos` is the long form."""

from collections import Counter

import pytest

from tests.chaos.life import Run, processes
from tests.chaos.troubles import kill, of_one_host, places, suffer


@pytest.fixture(scope="module")
def context():
    return processes()


def test_one_run_comes_through_all_of_them(context, tmp_path):
    folder, disk, reason = places(tmp_path)
    run, log = Run(context, folder, tmp_path), Counter()
    try:
        suffer(run, [kill, *of_one_host(disk).values()], log, print)
    finally:
        if disk:
            disk.close()
    assert log["SIGKILL"] == log["clock set back"] == log["SIGTERM during a save"] == 1
    if reason:
        pytest.skip(f"all but the disk that fills up and fails: {reason}")
    assert log["full disk"] == log["disk that becomes read-only"] == 1


@pytest.mark.long("a minute and a half of computing")
def test_a_run_on_two_hosts_comes_through_the_kill_of_either(context, tmp_path):
    run, log = Run(context, tmp_path / "run", tmp_path, hosts=2), Counter()
    suffer(run, [kill], log, print)
    assert log["SIGKILL"] == 1
