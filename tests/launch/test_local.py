"""Sweeps on this machine, against a stand-in for igan.main."""

import os
import signal

import pytest

from tests.command import PATIENCE


def test_all_run_in_turn_and_are_reported_and_finished_ones_are_skipped(sweep, starts, place):
    result = sweep("--seeds=1,2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "2 runs in w",
        "[0/2] seed=1: running",
        "[1/2] seed=1: finished  7 errors of 1,000  0:00:04",
        "[1/2] seed=2: running",
        "[2/2] seed=2: finished  7 errors of 1,000  0:00:04",
        "REPORT w --output=w/report",
    ]
    log = (place / "w" / "logs" / "seed=1.log").read_text()
    assert "-m igan.main --config=game.py --config.seed=1 --workdir=w/seed=1" in log and log.endswith("finished\n")

    again = sweep("--seeds=1,2,3")
    assert "3 runs in w, 2 of them finished before" in again.stdout
    assert "REPORT" in again.stdout
    assert [starts(f"seed={seed}") for seed in (1, 2, 3)] == [1, 1, 1]

    assert sweep("--seeds=1", "--config.epochs=9").returncode == 0  # Nobody asked for 9 epochs before.
    assert starts("seed=1") == 2


def test_several_run_at_a_time_each_on_its_gpu(sweep, place):
    assert sweep("--seeds=1,2", "--jobs=2", "--config.behaviour=meet").returncode == 0
    assert [(place / "w" / f"seed={seed}" / "met").read_text() for seed in (1, 2)] == ["True", "True"]
    assert sweep("--seeds=11,12,13,14", "--gpus=3,5", "--config.behaviour=meet").returncode == 0
    used = [(place / "w" / f"seed={seed}" / "starts").read_text().strip() for seed in (11, 12, 13, 14)]
    assert set(used[:2]) == {"3", "5"} and set(used) == {"3", "5"}


@pytest.mark.parametrize("behaviour", ["crash_once", "die"])
def test_a_crash_is_tried_once_more(sweep, starts, behaviour):
    result = sweep(f"--config.behaviour={behaviour}")
    assert result.returncode == 0, result.stderr
    assert starts("run") == 2
    why = "exit code 1: error: the disk is full" if behaviour == "crash_once" else "killed by SIGKILL (out of memory?)"
    assert f"run: retrying  {why}" in result.stdout


def test_what_fails_is_named_and_does_not_stop_the_others(sweep, starts):
    result = sweep("--config.behaviour=crash,fine,mistake", "--retries=2")
    assert result.returncode == 1
    assert [starts(f"behaviour={each}") for each in ("crash", "fine", "mistake")] == [3, 1, 1]
    assert result.stderr.splitlines() == [
        "not finished: behaviour=crash: exit code 1: error: the disk is full (w/logs/behaviour=crash.log)",
        "not finished: behaviour=mistake: config.behaviour is off (w/logs/behaviour=mistake.log)",
        "2 of 3 runs are not finished. The same command tries them again.",
    ]
    assert "REPORT" in result.stdout


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_mistake_before_anything_trained_stops_all(sweep, starts, jobs):
    result = sweep("--config.behaviour=mistake", "--seeds=1,2,3", f"--jobs={jobs}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: seed=") and "config.behaviour is off" in result.stderr
    assert starts("seed=3") == 0 and "REPORT" not in result.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_every_run_once_and_the_same_command_goes_on(begin, sweep, starts, place, until, number):
    arguments = ["--config.behaviour=wait", "--seeds=1,2,3", "--jobs=2"]
    process = begin(*arguments)
    lines = [place / "w" / f"seed={seed}" / "metrics.jsonl" for seed in (1, 2)]
    until(lambda: all(path.exists() for path in lines))
    os.killpg(process.pid, number)  # What Ctrl-C in a terminal does: a signal to the whole group.
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert "seed=1: saving" in out and "seed=1: stopped" in out
    assert "The same command goes on from here." in out and "REPORT" not in out
    received = "SIGINT " if number == signal.SIGINT else "SIGTERM "
    for seed in (1, 2):
        assert (place / "w" / f"seed={seed}" / "signals").read_text() == received
    assert [starts(f"seed={seed}") for seed in (1, 2, 3)] == [1, 1, 0]

    assert sweep(*arguments[:1], "--seeds=1,2").returncode == 0
    assert [starts(f"seed={seed}") for seed in (1, 2)] == [2, 2]


def test_no_run_goes_on_without_its_launcher(begin, place, until):
    process = begin("--config.behaviour=wait", "--seeds=1,2", "--retries=0", "--jobs=2")
    first, second = (place / "w" / f"seed={seed}" for seed in (1, 2))
    until(lambda: (first / "metrics.jsonl").exists() and (second / "metrics.jsonl").exists())
    process.stdout.close()  # What the launcher says next kills it.
    os.kill(int((second / "pid").read_text()), signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert (first / "summary.json").read_text() == '{"finished": false}'
    assert (first / "signals").read_text() == "SIGTERM "


def test_two_sweeps_do_not_train_the_same_runs(begin, sweep, starts, place, until):
    first = begin("--config.behaviour=wait")
    until(lambda: (place / "w" / "run" / "metrics.jsonl").exists())
    second = sweep("--config.behaviour=wait")
    assert second.returncode == 2 and f"process {first.pid}" in second.stderr
    first.kill()  # The run lives on without its launcher, and still holds the lock.
    first.communicate(timeout=PATIENCE)
    assert sweep("--config.behaviour=wait").returncode == 2
    assert starts("run") == 1
    os.kill(int((place / "w" / "run" / "pid").read_text()), signal.SIGTERM)
    until(lambda: (place / "w" / "run" / "summary.json").exists())
    until(lambda: sweep("--config.behaviour=wait").returncode == 0)


def test_an_unwritable_work_directory(sweep):
    result = sweep("--workdir=/proc/sweep")
    assert result.returncode == 2 and "/proc/sweep" in result.stderr and result.stderr.count("\n") == 1
