"""What a compiled program says of itself: kernels, collectives and bytes, counted in the compiler's own text.

The text is that of `jax.stages.Compiled.as_text()`, XLA's HLO after all passes. XLA's own cost analysis knows nothing
of GPUs that are not here, and counts what is in a loop once.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
BITS = {"pred": 8, "token": 0, "c64": 64, "c128": 128}  # Others have their size in their name: f32, bf16, s8.
# They start no kernel and move no bytes.
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "add-dependency"),
    *("partition-id", "replica-id", "domain", "while", "conditional", "call", "async-update", "async-done"),
    *("copy-done", "all-reduce-done", "all-gather-done", "collective-permute-done", "send-done", "recv-done"),
}
# Custom calls that tell the compiler something, and are nothing at run time.
MARKS = {"AllocateBuffer", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "AssumeGatherIndicesInBound"}
# What looks at a part of its first operand only, so that the whole of it is not read.
PARTS = {"dynamic-slice", "gather", "slice", "dynamic-update-slice"}
CALLED = re.compile(r"\b(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]  # Names.
    rest: str  # Attributes, as they are written; of a constant and a parameter, with what is in the brackets.
    is_root: bool


Computation = dict[str, Instruction]


class Counts(NamedTuple):
    """What a device does. Of branches the one with the fewest kernels counts, as often as not the usual one."""

    launches: int  # Kernels and copies; a library's call counts as one.
    bytes: int  # Read and written by them, as far as the arrays are in the device's memory and not on the chip.
    least_bytes: int  # Those of them that a cache cannot serve, whatever it keeps.
    collectives: Mapping[str, tuple[int, int]]  # By kind: how many, and the bytes of their results on one device.


NOTHING = Counts(0, 0, 0, {})


def count(text: str, updates: int, cache: int) -> tuple[Counts, Counts]:
    """Returns the counts of one update, and those of what comes once a dispatch.

    Args:
      text: a compiled program of `updates` updates in a loop.
      cache: bytes that a chip may keep from one kernel to the next.

    >>> program = "ENTRY %main (x: f32[8]) -> f32[8] {\\n  %x = f32[8]{0} parameter(0)\\n"
    >>> count(program + "  ROOT %y = f32[8]{0} negate(%x)\\n}", updates=1, cache=0)[0].bytes
    64
    """
    computations, entry = parse(text)
    loop = _update_loop(computations, entry, updates)
    inside = _walk(loop, computations, cache, "") if loop else None
    outside = _walk(entry, computations, cache, loop)
    return (inside, outside) if inside else (outside, NOTHING)


def _walk(name: str, computations: Mapping[str, Computation], cache: int, leave_out: str) -> Counts:
    """Returns the counts of a computation, without those of the loop whose body is called `leave_out`."""
    total = NOTHING
    for each in computations[name].values():
        called = _called(each)
        if each.opcode == "while":
            if called[0] != leave_out:
                total = _add(total, _walk(called[0], computations, cache, leave_out), trips(each, computations))
        elif each.opcode == "conditional":
            branches = [_walk(branch, computations, cache, leave_out) for branch in called]
            total = _add(total, min(branches, key=lambda branch: (branch.launches, branch.bytes)))
        elif each.opcode in ("call", "async-start"):
            for other in called:
                total = _add(total, _walk(other, computations, cache, leave_out))
        elif not is_free(each):
            read, written = _read(each, computations[name], computations), _written(each, computations)
            least = max(0, read - cache) + max(0, written - cache)
            kind = each.opcode.removesuffix("-start")
            moved = {kind: (1, _result(each))} if kind in COLLECTIVES else {}
            total = _add(total, Counts(1, read + written, least, moved))
    return total


def _add(one: Counts, other: Counts, times: int = 1) -> Counts:
    collectives = dict(one.collectives)
    for kind, (number, size) in other.collectives.items():
        before = collectives.get(kind, (0, 0))
        collectives[kind] = before[0] + times * number, before[1] + times * size
    return Counts(
        one.launches + times * other.launches,
        one.bytes + times * other.bytes,
        one.least_bytes + times * other.least_bytes,
        collectives,
    )


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """Returns the computations of a program, and the name of the one it begins with."""
    computations: dict[str, Computation] = {}
    current: Computation = {}
    entry = ""
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            current = computations[head[2]] = {}
            entry = head[2] if head[1] else entry
        elif (found := re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)) and (
            instruction := _instruction(line[found.end() :], found[2], bool(found[1]))
        ):
            current[found[2]] = instruction
    return computations, entry


def _instruction(text: str, name: str, is_root: bool) -> Instruction | None:
    end = _closing(text) if text.startswith("(") else text.find(" ")
    shape, text = text[:end], text[end:].lstrip()
    opcode, bracket, _ = text.partition("(")
    if not bracket:
        return None
    end = _closing(text[len(opcode) :]) + len(opcode)
    inside = text[len(opcode) + 1 : end - 1]
    kept = inside if opcode in ("constant", "parameter") else ""
    return Instruction(name, shape, opcode, tuple(re.findall(r"%([\w.\-]+)", inside)), kept + text[end:], is_root)


def _closing(text: str) -> int:
    """Returns the place after the bracket that closes the first one."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place + 1
    return len(text)


def is_free(instruction: Instruction) -> bool:
    """Returns whether nothing happens where an instruction is run."""
    if instruction.opcode == "custom-call":
        return bool(MARKS & set(re.findall(r'custom_call_target="([^"]*)"', instruction.rest)))
    return instruction.opcode in FREE or (instruction.opcode == "async-start" and "calls=" in instruction.rest)


def _called(instruction: Instruction) -> list[str]:
    """Returns the computations that an instruction runs; of a loop its body, whose condition is next to nothing."""
    if instruction.opcode == "while":
        return re.findall(r"body=%?([\w.\-]+)", instruction.rest)
    names = CALLED.findall(instruction.rest)
    for branches in BRANCHES.findall(instruction.rest):
        names += re.findall(r"%?([\w.\-]+)", branches)
    return names


def trips(loop: Instruction, computations: Mapping[str, Computation]) -> int:
    """Returns how often a loop runs: as the compiler says, or as its condition does; once if neither knows."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
    here = computations.get(condition[1], {}) if condition else {}
    numbers = [int(each.rest.partition(")")[0].split(",")[0]) for each in here.values() if _is_integer(each)]
    compares = [each for each in here.values() if each.opcode == "compare" and "direction=LT" in each.rest]
    return max(numbers) if numbers and compares else 1


def _is_integer(instruction: Instruction) -> bool:
    if instruction.opcode != "constant" or not instruction.shape.startswith(("s32[]", "s64[]", "u32[]")):
        return False
    return bool(re.match(r"\d+\b", instruction.rest))


def _update_loop(computations: Mapping[str, Computation], entry: str, updates: int) -> str:
    """Returns the body of the loop over updates: of those that run as often, the one with the most in it."""
    bodies = [
        _called(each)[0]
        for name in _reachable(computations, entry)
        for each in computations[name].values()
        if each.opcode == "while" and trips(each, computations) == updates
    ]
    size = {body: sum(len(computations[name]) for name in _reachable(computations, body)) for body in bodies}
    return max(bodies, key=lambda body: size[body], default="") if updates > 1 else ""


def _reachable(computations: Mapping[str, Computation], start: str) -> frozenset[str]:
    """Returns a computation and those that it runs one by one."""
    found = {start}
    for each in computations[start].values():
        if each.opcode in ("while", "conditional", "call", "async-start"):
            for called in _called(each):
                found |= _reachable(computations, called)
    return frozenset(found)


def arrays(shape: str) -> Iterator[tuple[int, bool]]:
    """Yields the bytes of the arrays of a shape, and whether each is in the device's memory instead of on the chip.

    >>> list(arrays("(f32[2,3]{1,0:T(8,128)S(1)}, bf16[])"))
    [(24, False), (2, True)]
    """
    for kind, sides, layout in ARRAY.findall(shape):
        bits = BITS.get(kind) if kind in BITS else int(re.sub(r"^\D+|[a-z].*$", "", kind[1:]) or 0)
        elements = math.prod(int(side) for side in sides.split(",") if side)
        yield -(-elements * (bits or 0) // 8), "S(" not in layout


def _size(shape: str) -> int:
    return sum(size for size, in_memory in arrays(shape) if in_memory)


def _result(collective: Instruction) -> int:
    """Returns the bytes of what a collective gives; one that is started gives its operands beside it."""
    sizes = [size for size, _ in arrays(collective.shape)]
    if collective.opcode in ("all-gather-start", "collective-permute-start") and len(sizes) > 1:
        return sizes[1]
    return sum(sizes)


def _read(instruction: Instruction, here: Computation, computations: Mapping[str, Computation]) -> int:
    sizes = {}
    for place, name in enumerate(instruction.operands):
        if name not in here:
            continue
        whole = _size(here[name].shape)
        if instruction.opcode == "fusion":
            sizes[name] = min(whole, _read_of_parameter(place, instruction, computations, whole))
        elif place == 0 and instruction.opcode in PARTS:
            is_update = instruction.opcode == "dynamic-update-slice"
            sizes[name] = 0 if is_update else min(whole, _size(instruction.shape))
        else:
            sizes[name] = whole
    return sum(sizes.values())


def _read_of_parameter(place: int, fusion: Instruction, computations: Mapping[str, Computation], whole: int) -> int:
    """Returns how many bytes of an operand a fusion reads: of one that it only takes slices from, these."""
    inner = computations.get(next(iter(_called(fusion)), ""), {})
    parameter = next(
        (each for each in inner.values() if each.opcode == "parameter" and each.rest.startswith(f"{place}")), None
    )
    if parameter is None:
        return whole
    users = [each for each in inner.values() if parameter.name in each.operands]
    if not users or any(each.opcode not in PARTS or each.operands[0] != parameter.name for each in users):
        return whole
    return sum(sum(s for s, _ in arrays(each.shape)) for each in users if each.opcode != "dynamic-update-slice")


def _written(instruction: Instruction, computations: Mapping[str, Computation]) -> int:
    if instruction.opcode == "dynamic-update-slice":
        return 0  # The update itself is counted where it is read: it is as large.
    if instruction.opcode == "copy-start":  # (to, from, context)
        return next((size for size, in_memory in arrays(instruction.shape) if in_memory), 0)
    if instruction.opcode == "fusion":
        inner = computations.get(next(iter(_called(instruction)), ""), {})
        root = next((each for each in inner.values() if each.is_root), None)
        if root and root.opcode == "dynamic-update-slice" and len(root.operands) > 1 and root.operands[1] in inner:
            return min(_size(instruction.shape), sum(s for s, _ in arrays(inner[root.operands[1]].shape)))
    return _size(instruction.shape)
