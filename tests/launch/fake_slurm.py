"""Stands in for sbatch, srun, squeue and scontrol: a queue on this machine, as far as the launcher's use of it goes.

Called by one of those names. $FAKE_SLURM is a folder: `runners/<job>` holds the process of a job, `tasks/<job>` that of
what it runs, and `requeue/<job>` asks for the job to be run again when it ends. sbatch refuses the partition "none".
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    if "--partition=none" in text:
        sys.exit("sbatch: error: invalid partition specified: none")
    array = re.search(r"--array=0-(\d+)%\d+", text)
    number = str(1 + len(list(HOME.glob("submitted/*"))))
    (HOME / "submitted" / number).write_text(text)
    nodes, tasks = (int((re.search(rf"--{flag}=(\d+)", text) or [0, 1])[1]) for flag in ("nodes", "ntasks-per-node"))
    for index in range(int(array[1]) + 1) if array else [None]:
        environment = os.environ | {"SLURM_JOB_ID": number, "SLURM_NTASKS": str(nodes * tasks), "SLURM_PROCID": "0"}
        environment |= {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": "0"}
        job = number
        if index is not None:
            environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(index)}
            job = f"{number}_{index}"
        # The output goes to files of its own: sbatch's is read to its end.
        runner = subprocess.Popen(
            [sys.executable, __file__, "run", job, script],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (HOME / "runners" / job).write_text(str(runner.pid))
    print(f"Submitted batch job {number}")


def run(job: str, script: str) -> None:
    again = HOME / "requeue" / job
    while True:
        subprocess.run(["bash", script], check=False)
        if not again.exists():
            break
        again.unlink()
    (HOME / "runners" / job).unlink()


def srun(*arguments: str) -> None:
    start = arguments.index("--output")
    output, command = arguments[start + 1], arguments[start + 2 :]
    job = "_".join(os.environ[name] for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ)
    job = job or os.environ["SLURM_JOB_ID"]
    (HOME / "tasks" / job).write_text(str(os.getpid()))
    count = int(os.environ["SLURM_NTASKS"])
    others: list[int] = []
    for number in range(count - 1, -1, -1):  # This process becomes the first one.
        if number == 0 or (child := os.fork()) == 0:
            break
        others.append(child)
    if number == 0 and others:  # What the cluster sends goes to all.
        (HOME / "tasks" / job).write_text(" ".join(map(str, (os.getpid(), *others))))
    os.environ["SLURM_PROCID"] = str(number)
    for tag, value in (("%A_%a", job), ("%j", job), ("%t", str(number))):
        output = output.replace(tag, value)
    with Path(output).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.execvp(command[0], command)


def squeue(*_: str) -> None:
    if (HOME / "down").exists():
        sys.exit("squeue: error: Unable to contact slurm controller")
    for path in (HOME / "runners").iterdir():
        print(path.name, "RUNNING")


def scontrol(verb: str, job: str) -> None:
    assert verb == "requeue"
    (HOME / "requeue" / job).touch()


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    arguments = sys.argv[1:]
    if name == Path(__file__).name:
        name, *arguments = arguments
    {"sbatch": sbatch, "run": run, "srun": srun, "squeue": squeue, "scontrol": scontrol}[name](*arguments)
