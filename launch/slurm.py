"""Runs the members of a sweep on a SLURM cluster: one array job, submitted through submitit."""

import contextlib
import getpass
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plan
from local import MISTAKE
from plan import Member, is_finished, last_words, read_json, settle, start
from progress import Status, View

from igan.errors import UserError

SAVING_SECONDS = 120  # Between the warning and the end of the time limit.
MOST_REQUEUES = 1000  # Every one goes on from a checkpoint.
SHOW_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0  # Between two looks at the queue.


class Task:
    """What one job of the array does: it trains a member; a job that runs out of time saves and queues up again.

    submitit calls `checkpoint` when SLURM announces the time limit or, where it is set up so, a preemption. A job of
    several processes does this in each of them, and they make up one run: the first one writes down what became of it
    and is asked for a checkpoint, and where it saves the others save and end with it.
    """

    def __init__(self, member: Member, retries: int) -> None:
        self.member, self.retries = member, retries
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_stop = False

    def __call__(self) -> None:
        """Returns when the member is finished; ends the process with another exit code than 0 if it cannot be."""
        signal.signal(signal.SIGTERM, self._stop)
        code: int = MISTAKE
        number, count = (int(os.environ.get(name, usual)) for name, usual in (("SLURM_PROCID", 0), ("SLURM_NTASKS", 1)))
        for _ in range(self.retries + 1):
            # The warning goes to every process of the job in some clusters; it would end a run without saving.
            self._process = start(_part(self.member, number, count), prepare=_ignore_warnings)
            code = self._process.wait()
            if number and code == 0:
                raise SystemExit(0)  # Finished, or stopped with the first one, which knows which of them.
            if settle(self.member, code):
                return
            if self._told_to_stop or code == MISTAKE:
                break
        # Not an exception, which submitit would take for the result of a job that SLURM may still queue up again.
        raise SystemExit(code if code > 0 else 1)

    def checkpoint(self) -> Any:
        """Lets the run save, and returns what continues it."""
        from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]

        self._stop()
        if self._process is not None:
            # Only looks, because the interrupted `wait` above holds the lock that another `wait` would need.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Task(self.member, self.retries))

    def _stop(self, *_: object) -> None:
        if self._process is not None and not self._told_to_stop:
            self._process.send_signal(signal.SIGTERM)
        self._told_to_stop = True


def _part(member: Member, number: int, count: int) -> Member:
    """Returns what one of several processes starts; each has a log of its own.

    >>> _part(Member("a", (), Path("w/a"), Path("w/logs/a.log")), 1, 4).log.name
    'a.host1.log'
    """
    if count == 1:
        return member
    log = member.log.with_suffix(f".host{number}.log") if number else member.log
    return member._replace(flags=(*member.flags, "--hosts=auto"), log=log)


def _ignore_warnings() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def submit(members: Sequence[Member], retries: int, folder: Path, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Submits one array job for these members. Returns the job's id for each member's name.

    Args:
      folder: for submitit's files; must be visible to all nodes.
      parameters: of submitit's SlurmExecutor, like `time` in minutes; None leaves the cluster's default.

    Raises UserError if submitit or SLURM is not there, or does not take the job.
    """
    submitit = _submitit()
    # The jobs cannot import these files by name: they travel with the task.
    cloudpickle = importlib.import_module("cloudpickle")
    for module in (plan, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
    try:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=MOST_REQUEUES)
        given = {name: value for name, value in parameters.items() if value is not None}
        executor.update_parameters(signal_delay_s=SAVING_SECONDS, stderr_to_stdout=True, **given)
        with contextlib.redirect_stderr(io.StringIO()):  # What sbatch says comes with the error.
            jobs = executor.submit_array([Task(member, retries) for member in members])
    except (RuntimeError, OSError) as error:
        reason = next((line.strip() for line in reversed(str(error).split("\n")) if line.strip()), type(error).__name__)
        raise UserError(f"SLURM did not take the sweep: {reason}") from error
    return {member.name: job.job_id for member, job in zip(members, jobs, strict=True)}


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError as error:
        raise UserError("--slurm needs the package submitit: pip install submitit") from error


def queue() -> dict[str, str] | None:
    """Returns the state of each of this person's jobs that are queued or running; None if SLURM does not answer."""
    command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i %T"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return {words[0]: words[-1] for words in map(str.split, lines) if words}


class Cluster:
    """The members' jobs, remembered in a file, so that the same command finds them again."""

    def __init__(self, folder: Path, retries: int, parameters: Mapping[str, Any]) -> None:
        self._folder, self._retries, self._parameters = folder, retries, parameters
        # By member: the id of its newest job, and the flags it was submitted with.
        self._jobs: dict[str, dict[str, Any]] = read_json(folder / "jobs.json") or {}
        self.stopped_by: int | None = None

    def submit(self, statuses: Sequence[Status]) -> list[str]:
        """Submits the members that are neither finished nor in the queue. Returns their jobs' ids.

        Raises UserError if SLURM does not take them or does not say what is in the queue.
        """
        waiting = [each.member for each in statuses if each.state == "waiting"]
        if not waiting:
            return []
        queued = queue()
        if queued is None:
            raise UserError("squeue does not answer: --slurm is for a machine from which jobs can be submitted")
        new = []
        for member in waiting:
            job = self._jobs.get(member.name, {"id": "", "flags": []})
            if job["id"] not in queued:
                new.append(member)
            elif job["flags"] != list(member.flags):
                raise UserError(
                    f"{member.name} is in the queue with other flags ({' '.join(job['flags'])}) as job {job['id']}:"
                    f" wait for it, or type scancel {job['id']}"
                )
        if not new:
            return []
        submitted = submit(new, self._retries, self._folder, self._parameters)
        self._jobs |= {each.name: {"id": submitted[each.name], "flags": list(each.flags)} for each in new}
        partial = self._folder / "jobs.partial"
        partial.write_text(json.dumps(self._jobs, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._folder / "jobs.json")
        return list(submitted.values())

    def watch(self, statuses: Sequence[Status], view: View) -> None:
        """Returns when no member is queued or running any more, or on SIGINT or SIGTERM; the jobs go on then."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)
        missed: dict[str, int] = {}
        pause, asked = 1.0, 0.0
        while self.stopped_by is None and any(each.state in ("waiting", "running") for each in statuses):
            if time.monotonic() - asked >= pause:
                queued, asked = queue(), time.monotonic()
                pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)
                for status in statuses:
                    if queued is not None and status.state in ("waiting", "running"):
                        self._look(status, queued, missed)
            view.update()
            time.sleep(SHOW_SECONDS)

    def _look(self, status: Status, queued: Mapping[str, str], missed: dict[str, int]) -> None:
        name = status.member.name
        job = self._jobs[name]["id"]
        if job in queued:
            missed[name] = 0
            status.state = (
                "waiting" if queued[job] in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED") else "running"
            )
        elif is_finished(status.member):
            status.state = "finished"
        else:
            # A network file system may show a summary late, and SLURM a job that it queues up again.
            missed[name] = missed.get(name, 0) + 1
            if missed[name] > 1:
                words = last_words(status.member)
                status.state, status.code = "failed", MISTAKE if words.startswith("error: ") else 1
                status.detail = f"job {job} has left the queue" + (f": {words}" if words else "")

    def _remember(self, number: int, frame: object) -> None:
        self.stopped_by = number
