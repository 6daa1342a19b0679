"""How many operations the matrix products and convolutions of a program are, counted before anything is compiled."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

# (type, precision) of operands: ("float32", "default"), ("bfloat16", "default"), ("float32", "highest")
Flops = Counter


def count(jaxpr: core.ClosedJaxpr) -> Flops:
    """Returns the floating-point operations of the matrix products and convolutions in a program, by type.

    A multiplication and an addition are two. What runs in a loop counts as often as the loop runs, if that is known
    before; of branches the cheapest counts, so that it is never more than what is done. Products with the zeros that
    padding and dilation put between the images' values are none.

    >>> matrix = jax.ShapeDtypeStruct((4, 4), "float32")
    >>> sum(count(jax.make_jaxpr(lambda a: a @ a)(matrix)).values())
    128
    """
    return _count(jaxpr.jaxpr)


def _count(jaxpr: core.Jaxpr) -> Flops:
    total: Flops = Counter()
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            total[_kind(equation)] += _dot(equation)
        elif name == "conv_general_dilated":
            total[_kind(equation)] += _convolution(equation)
        elif name == "cond":  # Also where programs differ by platform.
            total += min((_count(branch.jaxpr) for branch in parameters["branches"]), key=lambda each: each.total())
        else:
            times = parameters["length"] if name == "scan" else 1
            if name == "shard_map":  # What one device does.
                times = parameters["mesh"].size
            for inner in _inside(parameters.values()):
                for kind, number in _count(inner).items():
                    total[kind] += times * number
    return total


def _inside(values: Any) -> list[core.Jaxpr]:
    found = []
    for value in values:
        if isinstance(value, core.ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, core.Jaxpr):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _inside(value)
    return found


def _kind(equation: Any) -> tuple[str, str]:
    precision = equation.params["precision"]
    if isinstance(precision, tuple):
        precision = precision[0]
    of = "default" if precision is None else str(precision).rpartition(".")[2].lower()
    return str(equation.invars[0].aval.dtype), of


def _dot(equation: Any) -> int:
    left = equation.invars[0].aval
    (contracted, _), _ = equation.params["dimension_numbers"]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left.shape[axis] for axis in contracted)


def _convolution(equation: Any) -> int:
    (images, kernel), output = (each.aval for each in equation.invars), equation.outvars[0].aval
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    touched = 1
    for axis, (source, tap, result) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        touched *= _touched(
            images.shape[source],
            kernel.shape[tap],
            output.shape[result],
            parameters["window_strides"][axis],
            parameters["padding"][axis][0],
            parameters["lhs_dilation"][axis],
            parameters["rhs_dilation"][axis],
        )
    outputs = output.shape[numbers.out_spec[0]] * output.shape[numbers.out_spec[1]]
    return 2 * outputs * kernel.shape[numbers.rhs_spec[1]] * touched


def _touched(size: int, kernel: int, output: int, stride: int, padding: int, between: int, apart: int) -> int:
    """Returns how many pairs of an output and a tap of the kernel there are that meet a value, in one dimension."""
    place = np.arange(output)[:, None] * stride + np.arange(kernel) * apart - padding
    return int(np.sum((place >= 0) & (place < (size - 1) * between + 1) & (place % between == 0)))


def seconds(flops: Flops, rates: Sequence[float]) -> float:
    """Returns the least time for these operations, on a device that does nothing else.

    Args:
      rates: FLOP/s of bfloat16, of float32 at the usual precision, and of float32 in full precision.

    >>> seconds(Counter({("bfloat16", "default"): 10}), (5.0, 2.0, 1.0))
    2.0
    """
    bfloat16, usual, full = rates

    def rate(kind: tuple[str, str]) -> float:
        if kind[0] in ("bfloat16", "float16"):
            return bfloat16
        return usual if kind[1] == "default" else full if kind[1] == "highest" else usual

    return sum(number / rate(kind) for kind, number in flops.items())
