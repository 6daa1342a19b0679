"""Compiles a run for a machine that is not here, and says what it will need there, before anybody pays for it.

    python -m igan.plan --config=experiments/cifar10.py:ours --target=tpu:v5e:2x2 --config.replicas=4
    python -m igan.plan --config=experiments/mnist.py --target=gpu:h100:8 --config.replicas=40 --price=2.5
    python -m igan.plan --config=experiments/cifar10.py --target=gpu:l4:1 --find=batch_size
    python -m igan.plan --config=experiments/mnist.py --target=tpu:v5e:2x4 --find=replicas --json

It is the program that igan.main would run, with all of its fields, compiled by the compiler of that machine; neither
the machine nor the data need be here. Every number says where it comes from. A bound is no prediction: no run on this
machine can be faster, and a real one is slower. A result is kept beside the compiled programs, so that asking again is
quick. Exit codes: 0 planned, whether it fits or not; 1 the compiler failed; 2 the command is wrong.
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict

from igan import main as training
from igan.config import Config, validate
from igan.errors import UserError, exit_code, tell
from igan.game import technique
from igan.planning import bounds, compiling, shapes, targets
from igan.planning.report import progress, table

TARGET = flags.DEFINE_string("target", None, f"KIND:NAME:SHAPE; {', '.join(targets.known())}.")
DATA = flags.DEFINE_string("data", "", f"Sizes of data that are not here and have no known name: {shapes.EXPECTED}")
FIND = flags.DEFINE_string("find", "", "batch_size or replicas: the largest that fits is looked for.")
PRICE = flags.DEFINE_string("price", "0", "What a device costs an hour.")
JSON = flags.DEFINE_bool("json", False, "Print JSON.")
FINDABLE = ("batch_size", "replicas")
MOST_REPLICAS = 100_000


def parse(arguments: Sequence[str]) -> list[str]:
    """Parses the command line; whatever is wrong with it is one line and exit code 2."""
    if "--help" in arguments or "-h" in arguments:
        flags.FLAGS.unparse_flags()
        print(f"{__doc__}\n{flags.FLAGS.module_help(sys.modules['__main__'])}")
        sys.exit(0)
    rest = training.parse(arguments)
    for name in ("workdir", "dry_run", "hosts"):
        if flags.FLAGS[name].present:
            sys.exit(tell(UserError(f"--{name} is a flag of igan.main: a plan runs nothing, leave it out")))
    return rest


def main(arguments: Sequence[str]) -> None:
    """Runs the command that `parse` has understood."""
    logging.set_verbosity(logging.WARNING)
    training.set_compiler_flags(training.CONFIG.value)
    jax.config.update("jax_platforms", "cpu")  # What is computed on the way is next to nothing.
    sys.exit(exit_code(lambda: run(training.CONFIG.value), "nothing was planned"))


def run(config: Config) -> None:
    """Plans, and prints what came out.

    Raises UserError where the command, the config or the target is off, and RunError where the compiler fails.
    """
    if not TARGET.value:
        raise UserError(
            "for which machine? Say --target=KIND:NAME:SHAPE, such as tpu:v5e:2x4 or gpu:h100:8. Known:"
            f" {', '.join(targets.known())}"
        )
    target, price = targets.parse(TARGET.value), parse_price(PRICE.value)
    if FIND.value and FIND.value not in FINDABLE:
        raise UserError(f"--find={FIND.value} is unknown: expected {' or '.join(FINDABLE)}")
    with progress() as note:
        result = plan(config, target, DATA.value, price, note)
        if FIND.value:
            result["found"] = {"field": FIND.value, "largest": find(config, target, FIND.value, DATA.value, note)}
    print(json.dumps(result, indent=2)) if JSON.value else table(result)


def parse_price(text: str) -> float:
    """Returns a price.

    >>> parse_price("2.5")
    2.5
    """
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise UserError(f"--price={text}: expected what one device costs an hour, such as --price=2.5")
    return price


def plan(
    config: Config,
    target: targets.Target,
    data: str = "",
    price: float = 0.0,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Returns the plan of a run on a target, as `--json` prints it.

    Args:
      data: sizes of data that are not here, as `igan.planning.shapes.parse` reads them; "" for what the config names.

    Raises UserError where the config or the data are off or do not fit the devices, or a compiler is missing.

    >>> plan(config, targets.parse("tpu:v5e:2x4"))["collectives"]  # doctest: +SKIP
    []
    """
    validate(config)
    loaded = shapes.of(config, data)
    built = compiling.build(config, target, loaded)
    measured = [compiling.measure(built, target, stage, loaded.resident, note) for stage in built.plan.stages]
    return bounds.plan(config, built, target, measured, price)


def find(config: Config, target: targets.Target, field: str, data: str, note: Callable[[str], None]) -> int:
    """Returns the largest batch, or number of replicas, whose program fits into the devices' memory; 0 if none does.

    Args:
      field: "batch_size" or "replicas".
    """
    devices = config.devices or target.devices
    together = technique.images_per_input(technique.load(config.techniques)) * config.accumulate
    dealt = devices if field == "replicas" or config.replicas == 1 else 1
    unit = dealt if field == "replicas" else together * dealt
    most = MOST_REPLICAS if field == "replicas" else shapes.of(config, data).size

    def needs(number: int) -> int:
        note(f"--config.{field}={number}")
        asked = ConfigDict(config.to_dict())
        asked[field] = number
        found = plan(asked, target, data, note=note)
        # The compiler of a TPU keeps some of the memory for itself: it refuses what is a little below the capacity.
        return found["bytes_per_device"] if found["fits"] else max(found["bytes_per_device"], target.capacity + 1)

    return bounds.largest(needs, target.capacity, unit, most)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
