"""Sweeps through submitit: against a stand-in for SLURM's commands, and with submitit's own local executor.

No real SLURM is used anywhere here: what a cluster does beyond these commands is not tested.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.command import PATIENCE

pytest.importorskip("submitit", reason="needs the extra slurm: pip install submitit")

FAKE = Path(__file__).with_name("fake_slurm.py")


@pytest.fixture
def slurm(tmp_path) -> Path:
    """The folder of a stand-in for SLURM, with its commands in bin/."""
    home = tmp_path / "slurm"
    for name in ("bin", "submitted", "runners", "tasks", "requeue"):
        (home / name).mkdir(parents=True)
    for name in ("sbatch", "srun", "squeue", "scontrol"):
        (home / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {name} "$@"\n')
        (home / "bin" / name).chmod(0o755)
    return home


@pytest.fixture
def environment(slurm) -> dict[str, str]:
    return {"FAKE_SLURM": str(slurm), "PATH": f"{slurm / 'bin'}:{os.environ['PATH']}"}


def refused(result) -> str:
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    return result.stderr


def test_an_array_job_trains_all_and_the_report_follows(sweep, starts, slurm, environment):
    arguments = ["--slurm", "--seeds=1,2", "--slurm_time=90", "--slurm_mem=8", "--slurm_cpus=4", "--slurm_partition=a"]
    result = sweep(*arguments, "--config.behaviour=fine,crash_once", "--jobs=3", **environment)
    assert result.returncode == 0, result.stderr + result.stdout
    assert "Submitted 4 of them as job 1; scancel stops it." in result.stdout
    assert "[4/4]" in result.stdout and "REPORT w --output=w/report" in result.stdout
    assert starts("behaviour=fine,seed=1") == 1 and starts("behaviour=crash_once,seed=2") == 2
    text = (slurm / "submitted" / "1").read_text()
    for flag in ("array=0-3%3", "time=90", "mem=8GB", "cpus-per-task=4", "gpus-per-node=1", "partition=a"):
        assert f"#SBATCH --{flag}\n" in text
    assert "#SBATCH --job-name=igan-w\n" in text

    again = sweep(*arguments, "--config.behaviour=fine,crash_once", **environment)
    assert again.returncode == 0 and "4 of them finished before" in again.stdout and "Submitted" not in again.stdout
    (slurm / "down").touch()  # Of what is finished the queue need not know.
    assert sweep(*arguments, "--config.behaviour=fine,crash_once", **environment).returncode == 0


def test_only_what_is_neither_finished_nor_queued_is_submitted(sweep, begin, starts, place, slurm, environment, until):
    sweep("--slurm", "--detach", "--seeds=1", **environment)  # A single run is no array.
    until(lambda: (place / "w" / "seed=1" / "launch.json").exists())
    until(lambda: not (slurm / "runners" / "1").exists())  # On a busy machine the job ends a while after its run.
    arguments = ["--slurm", "--detach", "--config.behaviour=wait"]
    result = sweep(*arguments, "--seeds=1,2", **environment)
    assert result.returncode == 0 and "Submitted 2 of them as job 2" in result.stdout  # Other flags than job 1.
    until(lambda: (place / "w" / "seed=2" / "metrics.jsonl").exists())
    until(lambda: starts("seed=1") == 2)
    until(lambda: (place / "w" / "seed=1" / "launch.json").exists())
    until(lambda: not (slurm / "runners" / "2_0").exists())
    result = sweep(*arguments, "--seeds=1,2,3", **environment)
    assert "3 runs in w, 1 of them finished before" in result.stdout and "Submitted 1 of them as job 3" in result.stdout

    assert "scancel 2_1" in refused(sweep(*arguments, "--seeds=2", "--config.epochs=9", **environment))
    watcher = begin(*arguments[::2], "--seeds=1,2,3", **environment)
    time.sleep(1.5)
    watcher.send_signal(signal.SIGINT)
    out, _ = watcher.communicate(timeout=PATIENCE)
    assert watcher.returncode == 130 and "The jobs go on without it" in out and "Submitted" not in out
    assert starts("seed=2") == 1 and (slurm / "runners" / "2_1").exists()
    for job in ("2_1", "3"):
        until(lambda job=job: (slurm / "tasks" / job).exists())
        os.kill(int((slurm / "tasks" / job).read_text()), signal.SIGTERM)
    until(lambda: not list((slurm / "runners").iterdir()))
    assert json.loads((place / "w" / "seed=2" / "summary.json").read_text()) == {"finished": False}


def test_out_of_time_a_run_saves_and_queues_up_again(begin, starts, place, slurm, environment, until):
    process = begin("--slurm", "--config.behaviour=wait", "--seeds=1,2", **environment)
    for index in (0, 1):
        until(lambda index=index: (place / "w" / f"seed={index + 1}" / "metrics.jsonl").exists())
        os.kill(int((slurm / "tasks" / f"1_{index}").read_text()), signal.SIGUSR2)
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + error
    for seed in (1, 2):
        assert (place / "w" / f"seed={seed}" / "signals").read_text() == "SIGTERM "  # Saved, and once.
        assert starts(f"seed={seed}") == 2


def test_a_run_over_several_nodes_is_one_run(begin, starts, place, slurm, environment, until):
    """Of every process of a job one part, which saves, queues up again and is finished with the first one."""
    arguments = ["--slurm", "--config.behaviour=wait", "--seeds=1,2", "--slurm_nodes=2", "--slurm_gpus=2"]
    process = begin(*arguments, **environment)
    for index in (0, 1):
        folder = place / "w" / f"seed={index + 1}"
        until(lambda folder=folder: (folder / "metrics.jsonl").exists())
        until(lambda folder=folder: len(list(folder.glob("host*"))) == 3)
        until(lambda index=index: len((slurm / "tasks" / f"1_{index}").read_text().split()) == 4)
        for task in reversed((slurm / "tasks" / f"1_{index}").read_text().split()):
            os.kill(int(task), signal.SIGUSR2)
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + error
    text = (slurm / "submitted" / "1").read_text()
    for flag in ("nodes=2", "ntasks-per-node=2", "gpus-per-node=2"):
        assert f"#SBATCH --{flag}\n" in text
    for seed in (1, 2):
        folder = place / "w" / f"seed={seed}"
        assert (folder / "signals").read_text() == "SIGTERM " and starts(f"seed={seed}") == 2
        for number in (1, 2, 3):
            assert (folder / f"host{number}").read_text() == "auto4 auto4 "
            log = (place / "w" / "logs" / f"seed={seed}.host{number}.log").read_text()
            assert log.count("--hosts=auto") == 2
        # The record is of the sweep's own flags: the same command has nothing left to do.
        assert "--hosts=auto" not in (folder / "launch.json").read_text()


def test_what_fails_is_named(sweep, starts, environment):
    result = sweep("--slurm", "--config.behaviour=mistake,crash", "--retries=0", **environment)
    assert result.returncode == 1
    assert (
        "not finished: behaviour=mistake: job 1_0 has left the queue: error: config.behaviour is off" in result.stderr
    )
    assert "not finished: behaviour=crash: job 1_1 has left the queue: error: the disk is full" in result.stderr
    assert starts("behaviour=mistake") == 1 and starts("behaviour=crash") == 1


def test_no_cluster_is_one_line(sweep, slurm, environment):
    assert "squeue does not answer" in refused(sweep("--slurm"))
    assert "--slurm_nodes=0: expected 1 or more" in refused(sweep("--slurm", "--slurm_nodes=0", **environment))
    assert "--slurm_nodes is for a SLURM cluster" in refused(sweep("--slurm_nodes=2"))
    (slurm / "down").touch()
    assert "squeue does not answer" in refused(sweep("--slurm", **environment))
    (slurm / "down").unlink()
    message = refused(sweep("--slurm", "--slurm_partition=none", **environment))
    assert "SLURM did not take the sweep" in message and "invalid partition specified: none" in message
    (slurm / "bin" / "srun").unlink()
    if shutil.which("srun") is None:
        assert "srun" in refused(sweep("--slurm", **environment))


def test_submitit_is_asked_for(sweep, environment, place):
    (place / "submitit.py").write_text("raise ImportError('not there')")
    path = f"{place}:{Path(__file__).parents[2]}"
    # Before igan's stand-in package, the real one would be missed: only submitit is hidden.
    shutil.rmtree(place / "igan")
    assert "pip install submitit" in refused(sweep("--slurm", **environment, PYTHONPATH=path))


def test_the_task_under_submitits_own_executor(place, monkeypatch, until):
    """The real checkpointing of submitit: it interrupts the task, pickles what `checkpoint` returns, and runs that."""
    import cloudpickle
    import plan
    import slurm
    import submitit

    monkeypatch.chdir(place)
    for module in (plan, slurm):
        cloudpickle.register_pickle_by_value(module)
    flags = ("--config=game.py", "--config.behaviour=wait", "--config.saving=1.5")
    member = plan.Member("a", flags, Path("w/a"), Path("w/logs/a.log"))
    executor = submitit.LocalExecutor(place / "jobs")
    executor.update_parameters(timeout_min=1)
    job = executor.submit(slurm.Task(member, 0))
    until(lambda: (place / "w" / "a" / "metrics.jsonl").exists())
    pid = int((place / "w" / "a" / "pid").read_text())
    task = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])  # Its parent.
    os.kill(pid, signal.SIGUSR2)  # In some clusters the warning reaches all processes of a job.
    os.kill(task, signal.SIGUSR2)
    until(job.done)
    assert job.result() is None
    assert plan.is_finished(member)
    assert (place / "w" / "a" / "signals").read_text() == "SIGTERM "
    assert (place / "w" / "a" / "events").read_text() == "started saved started "
