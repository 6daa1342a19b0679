"""The machines that a run can be planned for: what their data sheets say, and which of them can be had together.

Rates, memory and bandwidth were checked on 2026-11-26. TPUs: against Google's pages, which each row names. GPUs:
NVIDIA's own sheets could not be opened; the figures are those that others quote from them, dense and sparse apart. What
serves the compiler and the test alone (clocks, units, caches, memory on the chip) was mostly not looked up again.
"""

import os
import re
from typing import NamedTuple

from igan.errors import UserError, did_you_mean

KIB, MIB, GIB = 2**10, 2**20, 2**30
GPUS_A_HOST = 8
# Of a GPU's memory JAX takes this share when it starts, and never more.
MEMORY_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
USUAL_FRACTION = 0.75


class Chip(NamedTuple):
    """One device, by the numbers of its data sheet; rates are a second, of dense matrices."""

    name: str
    bfloat16: float  # FLOP/s
    tensorfloat32: float  # FLOP/s of float32 at JAX's usual precision: TF32 on a GPU, one bfloat16 product on a TPU.
    float32: float  # FLOP/s of float32 in full precision.
    memory: int  # Bytes.
    bandwidth: float  # Bytes/s of that memory.
    on_chip: int  # Bytes that may stay on the chip from one kernel to the next: L2, or CMEM and VMEM.
    source: str
    # FLOPs a clock of the whole chip in bfloat16, and Hz: what the peak above is the product of; 0 where not published.
    flops_a_clock: int
    clock: float
    shapes: tuple[str, ...] = ()  # Of slices of a TPU.
    # Of a GPU, for the compiler.
    capability: tuple[int, int] = (0, 0)
    processors: int = 0
    shared_memory: int = 0  # Bytes a processor.
    threads: int = 2048  # A processor.


class Target(NamedTuple):
    """Some of them together."""

    kind: str  # "tpu" or "gpu"
    chip: Chip
    shape: str  # "2x4", or a number of GPUs
    devices: int

    @property
    def name(self) -> str:
        """As it is typed.

        >>> parse("gpu:h100:8").name
        'gpu:h100:8'
        """
        return f"{self.kind}:{self.chip.name}:{self.shape}"

    @property
    def capacity(self) -> int:
        """Bytes of a device's memory that JAX has for programs.

        >>> parse("tpu:v5e:2x4").capacity / GIB
        16.0
        """
        return int(self.chip.memory * (memory_fraction() if self.kind == "gpu" else 1))


def memory_fraction() -> float:
    """Returns the share of a GPU's memory that JAX takes: as the environment says, or as it does without being told.

    Raises UserError for a share that cannot be.
    """
    text = os.environ.get(MEMORY_FRACTION, str(USUAL_FRACTION))
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise UserError(f"{MEMORY_FRACTION}={text}: expected a number in (0, 1], such as {USUAL_FRACTION}")
    return fraction


def _tpu(
    name: str, tflops: float, gib: int, gbps: float, on_chip: int, flops_a_clock: int, clock: float, shapes: str
) -> Chip:
    # Float32 in full precision is made of six products of bfloat16.
    return Chip(
        name, tflops * 1e12, tflops * 1e12, tflops * 1e12 / 6, gib * GIB, gbps * 1e9, on_chip,
        f"docs.cloud.google.com/tpu/docs/{name}: {tflops:g} TFLOPs bf16, {gib} GB, {gbps:g} GB/s a chip",
        flops_a_clock, clock, tuple(shapes.split()),
    )  # fmt: skip


def _gpu(
    name: str,
    sheet: str,  # What the data sheet says of bfloat16 and TF32, which is mostly twice what dense matrices get.
    tflops: tuple[float, float, float],  # Dense: bfloat16, TF32, float32.
    memory: int,
    gbps: float,
    on_chip: int,
    processor: tuple[int, int, float],  # How many, FLOPs a clock of each in bfloat16, Hz.
    capability: tuple[int, int],
    shared_memory: int,
    threads: int = 2048,
) -> Chip:
    count, flops, clock = processor
    bfloat16, tensorfloat32, float32 = (rate * 1e12 for rate in tflops)
    return Chip(
        name, bfloat16, tensorfloat32, float32, memory, gbps * 1e9, on_chip, f"NVIDIA's data sheet: {sheet}",
        count * flops, clock, (), capability, count, shared_memory, threads,
    )  # fmt: skip


_PLANE = "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16"
_CUBE = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16"
_TPUS = (
    # A v4 chip is one device of two cores. 8 units of 128 x 128 in v4 and v5p, 4 in v5e.
    _tpu("v4", 275, 32, 1200, 160 * MIB, 8 * 128 * 128 * 2, 1.05e9, f"{_CUBE} 12x16x16"),
    # Of v5e the page has had 819 GB/s, and has 800 GiB/s now.
    _tpu("v5e", 197, 16, 819, 128 * MIB, 4 * 128 * 128 * 2, 1.5e9, _PLANE),
    _tpu("v5p", 459, 95, 2765, 128 * MIB, 8 * 128 * 128 * 2, 1.75e9, f"{_CUBE} 16x16x16 16x16x24"),
    _tpu("v6e", 918, 32, 1638, 128 * MIB, 0, 0.0, _PLANE),
)
_GPUS = (
    _gpu("a100", "A100 80GB SXM, 312 | 624* TFLOPS bfloat16, 156 | 312* TF32, 19.5 float32, 2,039 GB/s",
         (312, 156, 19.5), 80 * 1000**3, 2039, 40 * MIB, (108, 2048, 1.41e9), (8, 0), 164 * KIB),
    _gpu("h100", "H100 SXM, 1,979* TFLOPS bfloat16, 989* TF32, 67 float32, 3.35 TB/s",
         (989.5, 494.5, 67), 80 * 1000**3, 3352, 50 * MIB, (132, 4096, 1.83e9), (9, 0), 228 * KIB),
    _gpu("h200", "H200 SXM, 1,979* TFLOPS bfloat16, 989* TF32, 67 float32, 4.8 TB/s",
         (989.5, 494.5, 67), 141 * 1000**3, 4800, 50 * MIB, (132, 4096, 1.83e9), (9, 0), 228 * KIB),
    _gpu("b200", "HGX B200, 4.5* PFLOPS bfloat16, 2.2* TF32, 75 TFLOPS float32, 180 GB, 8 TB/s",
         (2250, 1125, 75), 180 * 1000**3, 8000, 126 * MIB, (148, 8192, 1.86e9), (10, 0), 228 * KIB),
    _gpu("l4", "L4, 242* TFLOPS bfloat16, 120* TF32, 30.3 float32, 300 GB/s",
         (121, 60, 30.3), 24 * 1000**3, 300, 48 * MIB, (58, 1024, 2.04e9), (8, 9), 100 * KIB, 1536),
    _gpu("rtx4090", "Ada GPU Architecture, RTX 4090, 165.2 | 330.4* TFLOPS bfloat16, 82.6 | 165.2* TF32, 1,008 GB/s",
         (165.2, 82.6, 82.6), 24 * 1000**3, 1008, 72 * MIB, (128, 512, 2.52e9), (8, 9), 100 * KIB, 1536),
)  # fmt: skip
CHIPS: dict[str, dict[str, Chip]] = {
    "tpu": {chip.name: chip for chip in _TPUS},
    "gpu": {chip.name: chip for chip in _GPUS},  # * in their data sheets: with sparsity, twice the dense rate.
}


def known() -> list[str]:
    """Returns all kinds of devices, as they are typed before a shape.

    >>> known()[:2]
    ['tpu:v4', 'tpu:v5e']
    """
    return [f"{kind}:{name}" for kind, chips in CHIPS.items() for name in chips]


def parse(text: str) -> Target:
    """Returns the target of this name.

    Args:
      text: "tpu:v5e:2x4" or "gpu:h100:8"; a single device without a shape, where there is one.

    Raises UserError, naming what there is, for a device or a shape that is unknown.

    >>> parse("tpu:v5e:4x4").devices
    16
    """
    kind, _, rest = text.strip().lower().partition(":")
    name, _, shape = rest.partition(":")
    if name not in CHIPS.get(kind, {}):
        raise UserError(
            f"--target={text} is unknown, expected KIND:NAME:SHAPE.{did_you_mean(f'{kind}:{name}', known())}"
        )
    chip = CHIPS[kind][name]
    if kind == "tpu":
        shape = shape or chip.shapes[0]
        if shape not in chip.shapes:
            raise UserError(
                f"--target={text}: no slice of TPU {name} is a {shape}; there are {', '.join(chip.shapes)} (chips)"
            )
        count = 1
        for side in shape.split("x"):
            count *= int(side)
        return Target(kind, chip, shape, count)
    count = int(shape or 1) if re.fullmatch(r"\d{0,4}", shape) else 0
    if not (1 <= count <= GPUS_A_HOST or (count > 0 and count % GPUS_A_HOST == 0)):
        raise UserError(
            f"--target={text}: expected a number of GPUs, 1 to {GPUS_A_HOST} or whole machines of {GPUS_A_HOST}:"
            f" --target=gpu:{name}:{GPUS_A_HOST}"
        )
    return Target(kind, chip, str(count), count)
