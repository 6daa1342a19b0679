"""Where the time of a CIFAR-10 update goes on a CPU: convolutions, all the rest, minibatch features.

    pip install -e ".[parity]" && python tests/benchmarks/cifar10_parts.py [--parts=rest,minibatch]

`convolutions` times each of them alone. `rest` times updates, igan's and PyTorch's in turn, with a stand-in for every
convolution, which has its shapes and passes gradients on but costs little. `minibatch` tells what minibatch
features add. Run it alone on the machine; the best round of each counts. Without PyTorch only igan's rows are printed.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))  # For the benchmark beside this one.

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from igan.layers.convolution import conv, conv_transpose
from tests.benchmarks.cifar10 import SMALL, Layer, Play, Sizes, igan_contender, layers, measure, torch_contenders

OPERATIONS = ("forward", "images' gradient", "kernel's gradient")


def igan_convolutions(layer: Layer, batch: int, precision: str) -> list[Play]:
    """Returns a function for each of `OPERATIONS`."""
    dtype = jnp.dtype(precision)
    images = jnp.ones((batch, layer.side, layer.side, layer.inputs), dtype)
    kernel = jnp.ones((layer.kernel, layer.kernel, layer.inputs, layer.outputs), dtype)
    gradient = jnp.ones((batch, layer.output_side, layer.output_side, layer.outputs), dtype)

    def forward(images: Any, kernel: Any) -> Any:
        return conv_transpose(images, kernel) if layer.transposed else conv(images, kernel, layer.stride, layer.padding)

    def pull(index: int) -> Callable[..., Any]:
        return lambda images, kernel, gradient: jax.vjp(forward, images, kernel)[1](gradient)[index]

    functions = map(jax.jit, (lambda images, kernel, _: forward(images, kernel), pull(0), pull(1)))
    return [lambda each=each: jax.block_until_ready(each(images, kernel, gradient)) for each in functions]


def torch_convolutions(layer: Layer, batch: int, precision: str) -> list[Play]:
    """The same in PyTorch, channels last. Raises ImportError without it."""
    import torch

    def ones(*shape: int) -> Any:
        return torch.ones(shape, dtype=getattr(torch, precision)).contiguous(memory_format=torch.channels_last)

    images = ones(batch, layer.inputs, layer.side, layer.side)
    gradient = ones(batch, layer.outputs, layer.output_side, layer.output_side)
    channels = (layer.inputs, layer.outputs) if layer.transposed else (layer.outputs, layer.inputs)
    kernel = ones(*channels, layer.kernel, layer.kernel)
    settings = ([layer.stride] * 2, [layer.padding] * 2, [1, 1], layer.transposed, [int(layer.transposed)] * 2, 1)

    def pull(index: int) -> Play:
        mask = [index == 0, index == 1, False]
        return lambda: torch.ops.aten.convolution_backward(gradient, images, kernel, None, *settings, mask)

    return [lambda: torch.ops.aten.convolution(images, kernel, None, *settings), pull(0), pull(1)]


def mean_channel(images: Any, axis: int) -> Any:
    """One channel for stand-ins to see."""
    return images.mean(axis, keepdims=True)


def first_channel(images: Any, axis: int) -> Any:
    """Another."""
    return images[..., :1] if axis == 3 else images[:, :1]


CHANNELS: tuple[Callable[[Any, int], Any], ...] = (mean_channel, first_channel)


@contextmanager
def cheap_convolutions(channel: Callable[[Any, int], Any]) -> Iterator[None]:
    """Puts stand-ins into the place of convolutions, in both libraries, for what is traced or run inside.

    They see one channel of the images, at the places where the convolution is evaluated, and the mean weights.
    """

    def places(sides: Any, kernel: int, stride: int, padding: int) -> Iterator[slice]:
        counts = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
        return (slice(0, stride * (count - 1) + 1, stride) for count in counts)

    def conv(images: Any, kernel: Any, stride: int, padding: int) -> Any:
        rows, columns = places(images.shape[1:3], kernel.shape[0], stride, padding)
        return channel(images, 3)[:, rows, columns] * kernel.mean((0, 1, 2))

    def conv_transpose(images: Any, kernel: Any) -> Any:
        return channel(images, 3).repeat(2, 1).repeat(2, 2) * kernel.mean((0, 1, 2))

    def conv2d(images: Any, kernel: Any, bias: Any, stride: int, padding: int) -> Any:
        rows, columns = places(images.shape[2:], kernel.shape[2], stride, padding)
        made = channel(images, 1)[:, :, rows, columns] * kernel.mean((1, 2, 3)).view(-1, 1, 1)
        return made + bias.view(-1, 1, 1)

    def conv_transpose2d(images: Any, kernel: Any, bias: Any, stride: int, *_: int, **__: int) -> Any:
        seen = channel(images, 1).repeat_interleave(stride, 2).repeat_interleave(stride, 3)
        made = seen * kernel.mean((0, 2, 3)).view(-1, 1, 1)
        return made if bias is None else made + bias.view(-1, 1, 1)

    targets: list[tuple[str, Callable]] = [
        ("igan.layers.weight_norm.conv", conv),
        ("igan.layers.convolution.conv_transpose", conv_transpose),
        ("igan.layers.weight_norm.conv_transpose", conv_transpose),
    ]
    if importlib.util.find_spec("torch"):
        targets += [
            ("torch.nn.functional.conv2d", conv2d),
            ("torch.nn.functional.conv_transpose2d", conv_transpose2d),
        ]
    with ExitStack() as stack:
        for target, stand_in in targets:
            stack.enter_context(mock.patch(target, stand_in))
        yield


def time_rest(
    channel: Callable[[Any, int], Any], sizes: Sizes, precision: str, updates: int, rounds: int, console: Console
) -> dict[str, list[float]]:
    """Returns the seconds an update of every contender, with these stand-ins for convolutions."""
    with cheap_convolutions(channel):
        contenders = {"igan": igan_contender(sizes, precision, updates)}
        try:
            contenders |= torch_contenders(sizes, precision, updates)
        except ImportError as error:
            console.print(f"Not measured: PyTorch (pip install 'igan[parity]'): {error}", markup=False)
        seconds = measure({name: each.play for name, each in contenders.items()}, rounds)
    return {name: [time / each.updates for time in seconds[name]] for name, each in contenders.items()}


def compare_rest(sizes: Sizes, precision: str, updates: int, rounds: int, console: Console) -> None:
    """Prints the table of updates whose convolutions are stand-ins: everything else there is to an update.

    Compilers fuse one stand-in better than another, so every contender is judged by the one that costs it less.
    """
    times = {channel.__name__: time_rest(channel, sizes, precision, updates, rounds, console) for channel in CHANNELS}
    table = Table("ms an update without its convolutions, best", *times, "least", "igan is faster by")
    least = {name: min(min(each[name]) for each in times.values()) for name in times[mean_channel.__name__]}
    for name, best in least.items():
        cells = [f"{min(each[name]) * 1e3:.1f}" for each in times.values()]
        table.add_row(name, *cells, f"{best * 1e3:.1f}", f"{best / least['igan']:.2f}x")
    console.print(table)


def compare_minibatch_features(sizes: Sizes, precision: str, updates: int, rounds: int, console: Console) -> None:
    """Prints what minibatch features add to an update of experiments/cifar10.py:minibatch_discrimination.

    Measured on updates whose convolutions are stand-ins, because those of the whole update vary by more than that.
    """
    variant = "minibatch_discrimination"
    with cheap_convolutions(first_channel):
        pair = [igan_contender(sizes, precision, updates, 1, variant, each) for each in (True, False)]
        with_them, without = (
            min(times) for times in measure(dict(enumerate(each.play for each in pair)), rounds).values()
        )
    added = (with_them / pair[0].updates - without / pair[1].updates) * 1e3
    whole = igan_contender(sizes, precision, 1, 1, variant)
    update = min(measure({"update": whole.play}, rounds)["update"]) / whole.updates * 1e3
    console.print(
        f"minibatch features: {added:.1f} of {update:.1f} ms an update ({added / update:.1%}), three generator steps"
    )


def compare_convolutions(sizes: Sizes, precision: str, _: int, rounds: int, console: Console) -> None:
    """Prints the table of convolutions alone."""
    libraries = {"igan": igan_convolutions}
    if importlib.util.find_spec("torch"):
        libraries["PyTorch"] = torch_convolutions
    plays = {
        (layer, operation, library): play
        for layer in layers(sizes)
        for library, make in libraries.items()
        for operation, play in zip(OPERATIONS, make(layer, sizes.batch, precision), strict=True)
    }
    seconds = {which: min(times) for which, times in measure(plays, rounds).items()}
    table = Table(f"ms: {' / '.join(libraries)}", *OPERATIONS)
    totals = dict.fromkeys(libraries, 0.0)
    for layer in layers(sizes):
        cells = []
        for operation, uses in zip(OPERATIONS, layer.uses, strict=True):
            times = {library: seconds[layer, operation, library] for library in libraries}
            totals = {library: total + uses * times[library] for library, total in totals.items()}
            cells.append(" / ".join(f"{each * 1e3:.2f}" for each in times.values()) + f"  x {uses}")
        table.add_row(str(layer), *cells)
    console.print(f"the convolutions alone, a batch of {sizes.batch}, and how often an update uses them", table)
    sums = ", ".join(f"{library} {total * 1e3:.1f} ms" for library, total in totals.items())
    console.print(f"all of them one by one, as often as an update uses them: {sums}")


COMPARISONS = {"convolutions": compare_convolutions, "rest": compare_rest, "minibatch": compare_minibatch_features}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(COMPARISONS), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=3, help="updates a round")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--small", action="store_true", help="batch 8 and narrow networks, to see whether it runs")
    options = parser.parse_args()
    for part in options.parts.split(","):
        sizes = SMALL if options.small else Sizes()
        COMPARISONS[part](sizes, options.precision, options.updates, options.rounds, Console(width=120))


if __name__ == "__main__":
    main()
