"""Measures on whatever GPU it finds what igan says of no GPU yet, within a time limit, and writes results as it goes.

    pip install -e ".[cuda,parity]" && pip install --no-deps torch-fidelity==0.4.0
    python tests/benchmarks/gpu.py --minutes=9 --output=gpu
    python tests/benchmarks/gpu.py --smoke --output=smoke      # all parts at toy size, on a CPU too

OUTPUT/results.json and OUTPUT/results.md hold the card, the versions and a table for each part: MNIST updates, CIFAR-10
updates against PyTorch, kernels launched, the cost of deterministic operations, the Inception network, and with the
time that is left the test errors of the paper's 100-label cell. A part that fails, lacks a package or takes too long
says so in its place, and the others go on. Run it alone on the machine.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # Parts share the card with PyTorch and a run.
BENCHMARKS = Path(__file__).parent
REPOSITORY = BENCHMARKS.parents[1]
sys.path.insert(0, str(REPOSITORY))  # Before what others install under the name of `tests`.

SHARES = {  # Of the time; what a part leaves goes to those after it.
    "mnist_updates": 0.12, "launches": 0.06, "cifar10_updates": 0.3, "deterministic": 0.12,
    "inception_images": 0.15, "mnist_errors": 0.25,
}  # fmt: skip
QUERY = "name,driver_version,clocks.sm,clocks.max.sm,clocks.max.mem,power.limit,memory.total"
LEAST_SECONDS = 20.0
WRITING = threading.Lock()
SMOKE_SECONDS = 600.0  # Of a part at toy size, on however busy a machine.


def card() -> dict[str, Any]:
    """Returns what there is to be said of the machine, without asking JAX, which would take the card."""
    from igan.run import workdir

    found: dict[str, Any] = {"cores": os.cpu_count(), "date": datetime.date.today().isoformat()}
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = [line.split(", ") for line in done.stdout.splitlines()]
        found["cards"] = [dict(zip(QUERY.split(","), row, strict=False)) for row in rows]
    return found | {"versions": workdir.versions()}


def play(name: str, mouth: Connection, seconds: float, smoke: bool, output: Path) -> None:
    """Runs a part in a process of its own and sends its rows."""
    import gpu_parts
    import jax

    mouth.send({"device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}"})
    for row in getattr(gpu_parts, name)(gpu_parts.Spend(seconds, smoke, output)):
        mouth.send(row)


def measure(context: Any, name: str, seconds: float, options: argparse.Namespace, told: Any) -> str:
    """Runs a part, tells its rows as they come, and returns why it ended early, or ""."""
    ear, mouth = context.Pipe(duplex=False)
    log = options.output / f"{name}.log"
    process = context.Process(target=run_part, args=(log, name, mouth, seconds, options.smoke, options.output))
    process.start()
    mouth.close()
    deadline = time.monotonic() + seconds
    try:
        while ear.poll(max(0.0, deadline - time.monotonic())):
            told(ear.recv())
        return f"its time, {seconds:.0f} s, was up"
    except EOFError:  # It has ended.
        process.join()
    finally:
        end(process)
    words = [line for line in log.read_text().splitlines() if line.strip()]
    if process.exitcode == 0:
        log.unlink()
        return ""
    return re.sub(r"\s+", " ", words[-1] if words else f"exit code {process.exitcode}")[:300]


def play_part(context: Any, name: str, seconds: float, options: argparse.Namespace, results: dict[str, Any]) -> int:
    """Runs a part, and prints and writes its rows as they come. Returns 0, or 1 if it failed or ran out of time."""
    import gpu_parts

    code, began = 0, time.monotonic()
    part: dict[str, Any] = {"what": " ".join((getattr(gpu_parts, name).__doc__ or "").split()), "rows": []}
    results["parts"][name] = part

    def told(row: dict[str, Any]) -> None:
        with WRITING:
            if "device" in row:
                results.update(row)
            else:
                part["rows"].append(row)
                print(f"{name}:", ", ".join(f"{key} {cell(value)}" for key, value in row.items()), flush=True)
            write(options.output, results)

    print(f"{name}, {seconds:.0f} s", flush=True)
    if seconds < LEAST_SECONDS:
        part["left out"] = f"{seconds:.0f} s are too few"
    elif reason := measure(context, name, seconds, options, told):
        part["left out"], code = reason, 1
        print(f"{name}: left out: {reason}", flush=True)
    with WRITING:
        part["seconds"] = round(time.monotonic() - began, 1)
        write(options.output, results)
    return code


def end(process: Any) -> None:
    """Kills a part with all that it has started, which would go on beside the parts after it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # It has no group yet, or nobody is left in it.
        process.kill()
    process.join()


def run_part(log: Path, *arguments: Any) -> None:
    os.setsid()
    with log.open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    play(*arguments)


def write(output: Path, results: dict[str, Any]) -> None:
    """Writes both files anew."""
    for name, text in (("results.json", json.dumps(results, indent=2) + "\n"), ("results.md", markdown(results))):
        partial = output / f".{name}"
        partial.write_text(text)
        partial.replace(output / name)


def markdown(results: dict[str, Any]) -> str:
    """Returns the tables.

    >>> print(markdown({"device": "1 x cpu", "parts": {"a": {"what": "It.", "rows": [{"n": 1}, {"m": 0.5}]}}}))
    # 1 x cpu
    <BLANKLINE>
    ## a
    <BLANKLINE>
    It.
    <BLANKLINE>
    | n | m |
    |---|---|
    | 1 |  |
    |  | 0.5 |
    <BLANKLINE>
    """
    text = [f"# {results.get('device', 'no device')}", ""]
    if about := results.get("about"):
        text += [", ".join(f"{name} {value}" for name, value in flat(about).items()), ""]
    for name, part in results["parts"].items():
        text += [f"## {name}", "", part["what"], ""]
        columns = list(dict.fromkeys(column for row in part["rows"] for column in row))
        if columns:
            rows = [[cell(row.get(column, "")) for column in columns] for row in part["rows"]]
            text += [line(columns), "|" + "---|" * len(columns), *map(line, rows), ""]
        if part.get("left out"):
            text += [f"Left out: {part['left out']}.", ""]
    return "\n".join(text)


def flat(about: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in about.items() if not isinstance(value, list | dict)}
    for each in [*about.get("cards", []), about["versions"]]:
        found |= each
    return found


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0 if no part failed or ran out of time, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    parser.add_argument("--smoke", action="store_true", help="toy size: does it run?")
    parser.add_argument("--parts", default=",".join(SHARES), help="some of them; default: all")
    options = parser.parse_args(arguments)
    options.output = options.output.absolute()
    options.output.mkdir(parents=True, exist_ok=True)
    parts = options.parts.split(",")
    if unknown := {*parts} - {*SHARES}:
        parser.error(f"--parts={unknown.pop()} is unknown: {', '.join(SHARES)}")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])
    if options.smoke:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # Compiling is what takes the time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gpu_parts"])
    results: dict[str, Any] = {"about": card(), "parts": {}}
    deadline = time.monotonic() + 60 * options.minutes
    if options.smoke:  # Nothing is measured, so that two at a time are no harm.
        with ThreadPoolExecutor(2) as pool:
            codes = [pool.submit(play_part, context, name, SMOKE_SECONDS, options, results) for name in parts]
        code = max(each.result() for each in codes)
    else:
        code = 0
        for number, name in enumerate(parts):
            share = SHARES[name] / sum(SHARES[each] for each in parts[number:])
            code |= play_part(context, name, (deadline - time.monotonic()) * share, options, results)
    seconds = time.monotonic() - deadline + 60 * options.minutes
    print(f"Wrote {options.output / 'results.md'}, after {seconds:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
