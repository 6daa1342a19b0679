"""Compiles the program of a run for devices that are not here, and keeps what came out."""

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from igan import cache
from igan.config import Config
from igan.errors import RunError, UserError, one_line
from igan.game.batches import Resident
from igan.planning import flops, program
from igan.planning.targets import Chip, Target
from igan.run import experiment
from igan.run.experiment import Experiment, Loaded
from igan.types import GameState, Stage

LAYOUT = "1"  # Of the files that are kept.
MODULES = {"tpu": ("libtpu",), "gpu": ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")}
EXTRAS = {"tpu": "tpu", "gpu": "cuda"}


class Measured(NamedTuple):
    """A program for one target. Everything is of one device."""

    arguments: int  # Bytes, as are the others up to `code`: by the compiler.
    output: int
    temporaries: int
    aliased: int  # Of the output, what takes the place of arguments.
    code: int
    beside: int  # Of what is there and no argument, the test set; counted.
    refused: int  # What the compiler would have needed where it refused to go on; 0 where it did not.
    update: program.Counts
    dispatch: program.Counts  # What comes once a dispatch.
    flops: dict[str, int]  # An update; "float32 default" -> number.
    carried: int  # Bytes that every update reads and writes: parameters, averages and moments.
    updates: int  # A dispatch.
    compile_seconds: float  # 0.0 where an earlier result was found.

    @property
    def bytes(self) -> int:
        """All that the program takes of a device's memory."""
        in_program = self.arguments + self.temporaries + self.output - self.aliased + self.code
        return (self.refused or in_program) + self.beside


def devices(target: Target) -> list[Any]:
    """Returns devices to compile for.

    Raises UserError where the compiler for them is not installed.
    """
    if not any(_is_installed(module) for module in MODULES[target.kind]):
        raise UserError(
            f"planning for a {target.kind.upper()} needs its compiler, which is not installed:"
            f' pip install -e ".[{EXTRAS[target.kind]}]" in the folder of igan'
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # The compilers miss the device, and say so.
    options: dict[str, Any] = {}
    if target.kind == "tpu":
        # libtpu asks the machine that it is on what it is, and says so at length, unless it is told; and it wants to be
        # the only one, which matters on a TPU alone.
        told = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-8"}
        told["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
        for name, value in told.items():
            os.environ.setdefault(name, value)
        if target.devices == 1:
            options["chips_per_host_bounds"] = [1, 1, 1]
        if target.chip.name == "v4":
            options["chip_config_name"] = "megacore"  # A chip is one device.
        name, platform = f"{target.chip.name}:{target.shape}", "tpu"
    else:
        hosts = max(1, target.devices // 8)
        options = {"topology": f"1x{hosts}x{target.devices // hosts}", "target_config": described(target.chip)}
        name, platform = target.chip.name, "cuda"
    try:
        return list(topologies.get_topology_desc(platform=platform, topology_name=name, **options).devices)
    except (RuntimeError, ValueError, jax.errors.JaxRuntimeError) as error:
        raise RunError(f"the compiler knows no {target.name}: {one_line(error)}") from error


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def described(chip: Chip) -> str:
    """Returns a GPU as XLA wants to be told of one, a text of its GpuTargetConfigProto."""
    major, minor = chip.capability
    cudnn = _version("nvidia-cudnn-cu12", "nvidia-cudnn-cu13") or "9.8"
    runtime = _version("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime") or "12.8"
    numbers = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_core": chip.shared_memory,
        "shared_memory_per_block_optin": chip.shared_memory - 1024,
        "threads_per_core_limit": chip.threads,
        "core_count": chip.processors,
        "fpus_per_core": 64 if chip.capability == (8, 0) else 128,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "memory_bandwidth": int(chip.bandwidth),
        "l2_cache_size": chip.on_chip,
        "clock_rate_ghz": chip.clock / 1e9,
        "device_memory_size": chip.memory,
        "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16,
    }
    lines = "\n".join(f"  {name}: {number}" for name, number in numbers.items())

    def version(name: str, text: str) -> str:
        first, second = text.split(".")[:2]
        return f"{name} {{ major: {first} minor: {second} }}"

    return "\n".join([
        f"gpu_device_info {{\n{lines}\n  cuda_compute_capability {{ major: {major} minor: {minor} }}\n}}",
        version("runtime_version", runtime), version("dnn_version_info", cudnn),
        'platform_name: "CUDA"', f'device_description_str: "{chip.name}"',
    ])  # fmt: skip


def _version(*packages: str) -> str:
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def build(config: Config, target: Target, loaded: Loaded) -> Experiment:
    """Returns the experiment on devices that are not here. It can be traced and compiled, and not run.

    Raises UserError as `igan.run.experiment.build`, and where the compiler is missing.
    """
    return experiment.build(config, devices=devices(target), loaded=loaded)


def measure(
    built: Experiment, target: Target, stage: Stage, resident: Resident, note: Callable[[str], None] = lambda _: None
) -> Measured:
    """Compiles the updates of one dispatch in a stage, or finds what came out when they were last compiled.

    Args:
      resident: the data, or their shapes.
      note: is told what is going on.
    """
    updates = min(built.updates_per_chunk, built.plan.end(stage, built.total_updates) - stage.start)
    count, of = len(built.devices), f"the stage {stage.name} " * bool(stage.name)
    note(f"tracing {of}")
    traced = built.engine.trace(stage, updates)
    numbers = {" ".join(kind): number // (updates * count) for kind, number in flops.count(traced.jaxpr).items()}
    lowered = traced.lower()
    kept = _place(lowered.as_text(), target)
    if (found := _read(kept)) is None:
        note(f"compiling {of}for {target.name}; it may take minutes")
        found = _compile(lowered, updates, target)
        cache.write(kept, lambda file: file.write(json.dumps(found).encode()))
        seconds = found["seconds"]
    else:
        seconds = 0.0
    update, dispatch = (program.Counts(**found[name]) for name in ("update", "dispatch"))
    beside = sum(each.size * each.dtype.itemsize for each in (resident.test_images, resident.test_labels))
    return Measured(
        **found["memory"], beside=beside, update=update, dispatch=dispatch, flops=numbers,
        carried=_carried(built.engine.state_shape), updates=updates, compile_seconds=seconds,
    )  # fmt: skip


def _compile(lowered: jax.stages.Lowered, updates: int, target: Target) -> dict[str, Any]:
    start = time.perf_counter()
    update = dispatch = program.NOTHING
    memory = dict.fromkeys(("arguments", "output", "temporaries", "aliased", "code", "refused"), 0)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        memory["refused"] = _needed(str(error)) or target.chip.memory + 1
    else:
        found: Any = compiled.memory_analysis()
        memory |= {
            "arguments": found.argument_size_in_bytes,
            "output": found.output_size_in_bytes,
            "temporaries": found.temp_size_in_bytes,
            "aliased": found.alias_size_in_bytes,
            "code": found.generated_code_size_in_bytes,
        }
        cached = target.chip.on_chip if target.kind == "gpu" else 0
        update, dispatch = program.count(compiled.as_text() or "", updates, cached)
    seconds = round(time.perf_counter() - start, 1)
    return {"memory": memory, "update": update._asdict(), "dispatch": dispatch._asdict(), "seconds": seconds}


def _needed(message: str) -> int:
    """Returns how many bytes a refused program would have needed, 0 if it does not say.

    >>> _needed("Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm.")
    22011707392
    """
    found = re.search(r"Used ([\d.]+)([KMG]?) of [\d.]+[KMG]? hbm", message)
    return int(float(found[1]) * 1024 ** " KMG".index(found[2] or " ")) if found else 0


def _place(text: str, target: Target) -> Path:
    """Returns where the result of a program is kept: beside the compiled programs of this machine."""
    versions = [jax.__version__, _version("jaxlib"), _version("libtpu"), _version("jax-cuda12-plugin")]
    asked = os.environ.get("XLA_FLAGS", "")  # Not in the text, and the compiler does other things for them.
    digest = hashlib.sha256("\n".join([LAYOUT, *versions, repr(target), asked, text]).encode()).hexdigest()[:24]
    return Path(os.path.expanduser(cache.compiled_programs())).parent / "plans" / f"{digest}.json"  # noqa: PTH111


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # It can be made again.
        return None


def _carried(state: GameState) -> int:
    players = (state.generator, state.discriminator)
    return sum(_bytes(jax.tree.leaves((each.params, each.average, each.opt_state))) for each in players)


def _bytes(leaves: Iterable[Any]) -> int:
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)
