"""From what was measured and counted to what it means: whether it fits, what bounds it, and the least time."""

from collections.abc import Callable, Sequence
from typing import Any

from igan.config import Config
from igan.planning import flops
from igan.planning.compiling import Measured
from igan.planning.targets import Target
from igan.run.experiment import Experiment
from igan.types import Stage

# No data sheet says it: the next kernel of a chain that does next to nothing ends no sooner than this after the last.
SECONDS_A_LAUNCH = 1e-6
PARTS = ("arguments", "temporaries", "output", "aliased", "code", "beside")


def plan(
    config: Config, built: Experiment, target: Target, measured: Sequence[Measured], price: float = 0.0
) -> dict[str, Any]:
    """Returns the plan of a run, as JSON has it. Bytes, operations and times are of one device, unless they say more.

    Memory is that of the stage that needs most, and hours are those of all; what is said of an update is of the last
    stage, or of the first one that the compiler refused. With several stages there are the numbers of each.

    Args:
      measured: the programs of all stages.
      price: of one device for an hour, 0 where it is not asked for.
    """
    stages = [_of_stage(built, target, stage, each) for stage, each in zip(built.plan.stages, measured, strict=True)]
    shown = next((each for each in stages if each["seconds"] is None), stages[-1])
    most = max(stages, key=lambda each: each["bytes_per_device"])
    is_planned = shown["seconds"] is not None
    hours = sum(each["seconds_per_update_bound"] * each["updates"] for each in stages) / 3600 if is_planned else None
    result: dict[str, Any] = {
        "experiment": config.experiment,
        "variant": config.variant,
        "target": target.name,
        "devices": len(built.devices),
        "replicas": config.replicas,
        **shown,
        "updates": sum(each["updates"] for each in stages),
        "fits": all(each["fits"] for each in stages),
        "capacity": target.capacity,
        "bytes_per_device": most["bytes_per_device"],
        "memory": most["memory"],
        "hours_bound": hours,
        "compile_seconds": round(sum(each.compile_seconds for each in measured), 1),
    }
    if price:
        result["price_bound"] = None if hours is None else hours * price * result["devices"]
    if len(stages) > 1:
        result["stages"] = stages
    return result


def _of_stage(built: Experiment, target: Target, stage: Stage, measured: Measured) -> dict[str, Any]:
    """Returns what a plan says of one stage."""
    chip, update = target.chip, measured.update
    rates = (chip.bfloat16, chip.tensorfloat32, chip.float32)
    counted = {tuple(kind.split()): number for kind, number in measured.flops.items()}
    # A chip that keeps what it can must still fetch and write the rest of what every update changes.
    on_chip = chip.on_chip
    least_bytes = max(update.bytes if target.kind == "tpu" else update.least_bytes, 2 * (measured.carried - on_chip), 0)
    seconds = {
        "compute": flops.seconds(flops.Flops(counted), rates),
        "memory": least_bytes / chip.bandwidth,
        "launches": update.launches * SECONDS_A_LAUNCH if target.kind == "gpu" else 0.0,
    }
    refused = measured.refused > 0
    total = sum(measured.flops.values())
    return {
        "stage": stage.name,
        "batch_size": stage.batch_sizes[0],
        "updates": max(built.plan.end(stage, built.total_updates) - stage.start, 0),
        "updates_per_dispatch": measured.updates,
        "fits": measured.bytes <= target.capacity and not refused,
        "bytes_per_device": measured.bytes,
        "memory": {name: getattr(measured, name) for name in PARTS},
        "flops_per_update": total,
        "flops_by_type": measured.flops,
        "bytes_per_update": None if refused else update.bytes,
        "least_bytes_per_update": None if refused else least_bytes,
        "intensity": None if refused or not update.bytes else total / update.bytes,
        "collectives": [
            {"kind": kind, "count": number, "bytes": size} for kind, (number, size) in update.collectives.items()
        ],
        "launches": None if refused or target.kind == "tpu" else update.launches,
        "launches_per_dispatch": None if refused or target.kind == "tpu" else measured.dispatch.launches,
        "seconds": None if refused else seconds,
        "bounded_by": None if refused else max(seconds, key=lambda name: seconds[name]),
        "seconds_per_update_bound": None if refused else max(seconds.values()),
    }


def largest(needs: Callable[[int], int], capacity: int, unit: int, most: int) -> int:
    """Returns the largest multiple of `unit` up to `most` that needs no more than there is; 0 if not even the least.

    It takes as few tries as it can: what a program needs is nearly a straight line, so the next try is where the line
    through the last two meets the capacity, and a bisection where that gets nowhere.

    Args:
      needs: bytes for a number, which grow with it.

    >>> largest(lambda number: 100 + 7 * number, capacity=1000, unit=4, most=10_000)
    128
    """
    low, high = 0, most // unit + 1  # In units; `low` fits and `high` does not, or is too many.
    known: dict[int, int] = {}

    def fits(units: int) -> bool:
        known[units] = needs(units * unit)
        return known[units] <= capacity

    if high == 1 or not fits(1):
        return 0
    low, turn = 1, 0
    while high - low > 1:
        turn += 1
        guess = (low + high) // 2 if turn % 3 == 0 else _meets(known, low, high, capacity)
        guess = min(max(guess, low + 1), high - 1)
        if fits(guess):
            low = guess
        else:
            high = guess
    return low * unit


def _meets(known: dict[int, int], low: int, high: int, capacity: int) -> int:
    """Returns where the line through what is known meets the capacity."""
    others = [units for units in known if units != low]
    if not others:
        return low * 4
    other = high if high in known else max(others)
    slope = (known[other] - known[low]) / (other - low)
    return low + int((capacity - known[low]) / slope) if slope > 0 else low * 4
