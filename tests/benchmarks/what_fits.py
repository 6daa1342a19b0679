"""What fits where: plans every experiment for five machines and writes the table of docs/plan.md.

    python tests/benchmarks/what_fits.py --output=plans.jsonl       # all of it: many hours of compiling
    python tests/benchmarks/what_fits.py --output=plans.jsonl --rows=mnist,gans:biggan --targets=gpu:h100:1
    python tests/benchmarks/what_fits.py --output=plans.jsonl --rows=                # the table of what is there

Each plan is a command, `python -m igan.plan ... --json`, and a line of the output as soon as it is done; what is there
is not planned again, unless it failed. A batch that a machine's devices cannot share is not split: as many replicas are
planned as there are devices. Wants the extras "tpu" and "cuda"; without one of them its machines are left out, and it
says so.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from igan.errors import UserError
from igan.planning import report, targets

REPOSITORY = Path(__file__).parents[2]
TARGETS = {
    "gpu:h100:1": "1 x H100",
    "gpu:h100:8": "8 x H100",
    "tpu:v5e:2x4": "v5e-8",
    "tpu:v5e:8x8": "v5e-64",
    "tpu:v4:2x2x4": "v4-32",
}


def all_rows() -> list[str]:
    """Returns every experiment, and those variants whose programs differ by more than a number."""
    gans = ("dcgan", "wgan_gp", "wgan_gp_resnet", "sngan", "sngan_resnet", "began", "unrolled", "r3gan")
    conditional = ("sngan_projection", "sagan", "sagan_128", "biggan", "biggan_128")
    return [
        *("mnist", "mnist:unsupervised", "cifar10", "cifar10:minibatch_discrimination", "svhn", "imagenet"),
        *("stacked_mnist", "mixture:ring"),
        *(f"gans:{name}" for name in (*gans, *conditional)),
        *("growing:pggan", "growing:stylegan"),
    ]


def command(row: str, target: str, replicas: int = 0) -> list[str]:
    """Returns the command of one plan."""
    experiment, _, variant = row.partition(":")
    asked = [f"--config=experiments/{experiment}.py{':' * bool(variant)}{variant}", f"--target={target}"]
    return [*asked, *([f"--config.replicas={replicas}"] if replicas else [])]


def plan(row: str, target: str, minutes: float) -> dict[str, Any]:
    """Returns the plan as `--json` prints it, with its command; or with what went wrong, as `error`."""
    for replicas in (0, targets.parse(target).devices):
        arguments = command(row, target, replicas)
        whole = [sys.executable, "-m", "igan.plan", *arguments, "--json"]
        try:
            done = subprocess.run(whole, cwd=REPOSITORY, capture_output=True, text=True, timeout=60 * minutes)
        except subprocess.TimeoutExpired:
            return {"command": arguments, "error": f"not compiled within {minutes:g} minutes"}
        if done.returncode == 0:
            return {"command": arguments} | json.loads(done.stdout)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or done.stderr.splitlines()
        error = lines[-1].removeprefix("error: ") if lines else f"exit code {done.returncode}"
        if "cannot be dealt out" not in error:
            break
    return {"command": arguments, "error": error}


def cell(found: dict[str, Any]) -> str:
    """Returns a plan in a few words: the memory of one device, the least time of an update and what bounds it.

    And how many kernels are launched, and what goes from device to device.

    >>> cell({"error": "the compiler is missing"})
    'the compiler is missing'
    """
    if "error" in found:
        return found["error"]
    size = f"{found['bytes_per_device'] / 2**20:,.0f} MiB"
    verdict = size if found["fits"] else f"**does not fit**, {size}"
    if (seconds := found["seconds_per_update_bound"]) is not None:
        verdict += f"; {report.duration(seconds, digits=3)}, {found['bounded_by']}"
    if found["launches"] is not None and found["bounded_by"] != "launches":  # Whose time says how many they are.
        verdict += f"; {found['launches']:,} launches"
    if moved := found["collectives"]:
        count, size = (sum(each[what] for each in moved) for what in ("count", "bytes"))
        verdict += f"; {count} collectives of {size / 2**20:,.0f} MiB"
    return verdict + (f"; {found['replicas']} replicas" if found["replicas"] > 1 else "")


def table(known: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Returns the table in Markdown: a row an experiment, a column a machine."""
    lines = [f"| `experiments/` | {' | '.join(TARGETS.values())} |", "|---" * (1 + len(TARGETS)) + "|"]
    for row in all_rows():
        cells = [cell(known[row, target]) if (row, target) in known else "not yet" for target in TARGETS]
        lines.append(f"| `{row}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Plans what is asked for and not there yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a file with a line of JSON for each plan")
    parser.add_argument("--rows", default=",".join(all_rows()), help="EXPERIMENT or EXPERIMENT:VARIANT, with commas")
    parser.add_argument("--targets", default=",".join(TARGETS), help="as igan.plan knows them, with commas")
    parser.add_argument("--minutes", type=float, default=60, help="after which a plan is given up")
    options = parser.parse_args()
    try:
        for target in options.targets.split(","):
            targets.parse(target)
    except UserError as error:
        parser.error(str(error))
    if unknown := set(filter(None, options.rows.split(","))) - set(all_rows()):
        parser.error(f"--rows: there is no {', '.join(sorted(unknown))}, but {', '.join(all_rows())}")
    lines = options.output.read_text().splitlines() if options.output.exists() else []
    known = {(found["row"], found["target"]): found for found in map(json.loads, lines)}
    for target in options.targets.split(","):
        for row in filter(None, options.rows.split(",")):
            if "error" not in known.get((row, target), {"error": "not yet"}):
                continue
            print(f"{row} on {target}", file=sys.stderr, flush=True)
            found = plan(row, target, options.minutes) | {"row": row, "target": target}
            known[row, target] = found
            with options.output.open("a") as file:
                file.write(json.dumps(found) + "\n")
    print(table(known))


if __name__ == "__main__":
    main()
