"""igan's CIFAR-10 update with feature matching against the same update in PyTorch, interleaved in one run.

    pip install -e ".[parity]" && python tests/benchmarks/cifar10.py [--precision=bfloat16]

float32 is TF32 on a GPU, in both libraries. Run it alone on the machine: every contender plays `--rounds` rounds of
`--updates` in turn, and the best round of each counts, because noise of the machine only ever adds time. igan draws its
batches from 50,000 random images in device memory; PyTorch is handed the same batch every time. On a CPU two more
tables tell the convolutions from the rest of the update: of each convolution alone, and of the update with a stand-in
for all of them, which has their shapes and passes gradients on but costs next to nothing. Without PyTorch only igan's
rows are printed.
"""

import argparse
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of the GPU's memory.
sys.path.insert(0, str(Path(__file__).parents[2]))  # For the experiments, and the references beside the tests.

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments import cifar10
from igan import experiment
from igan.data import Dataset
from igan.layers.convolution import conv, conv_transpose

REPLICAS = 8
# Dense tera-FLOP a second of the tensor cores, as the vendor states them: bfloat16, TF32.
PEAKS = {"H100 80GB HBM3": (989, 495), "H100 PCIe": (756, 378), "H200": (989, 495), "A100": (312, 156)}
# (forward, gradient of the images, gradient of the kernel): batches of an update that go through a network so.
USES_OF_DISCRIMINATOR = (5, 4, 3)  # Labelled, unlabelled, generated in its own step; real and generated in the other.
USES_OF_GENERATOR = (2, 1, 1)
OPERATIONS = ("forward", "images' gradient", "kernel's gradient")

Play = Callable[[], None]


class Sizes(NamedTuple):
    batch: int = 100
    generator_widths: tuple[int, int, int] = (512, 256, 128)
    discriminator_widths: tuple[int, int] = (96, 192)
    training_images: int = 50_000


SMALL = Sizes(8, (32, 16, 8), (8, 16), 5_000)


class Layer(NamedTuple):
    """A convolution of square images, or a transposed one that doubles their sides, and how often an update uses it."""

    side: int
    kernel: int
    stride: int
    padding: int
    inputs: int
    outputs: int
    transposed: bool
    uses: tuple[int, int, int]

    @property
    def output_side(self) -> int:
        return 2 * self.side if self.transposed else (self.side + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def multiply_adds(self) -> int:
        """Of one image, forward; each of the gradients takes as many."""
        places = self.side if self.transposed else self.output_side
        return places**2 * self.kernel**2 * self.inputs * self.outputs

    def __str__(self) -> str:
        kind = "transposed" if self.transposed else f"stride {self.stride}"
        return f"{self.side} px, {self.kernel} x {self.kernel}, {self.inputs} to {self.outputs}, {kind}"


class Contender(NamedTuple):
    play: Play
    updates: int  # Of one call of `play`.
    images: int  # Unlabelled images of an update.


def layers(sizes: Sizes) -> list[Layer]:
    """Returns the convolutions of both networks, on images of 32 x 32."""
    found, side, inputs, wide = [], 32, 3, sizes.discriminator_widths[1]
    plan = [(3, width, stride, 1) for width in sizes.discriminator_widths for stride in (1, 1, 2)]
    for kernel, outputs, stride, padding in [*plan, (3, wide, 1, 0), (1, wide, 1, 0), (1, wide, 1, 0)]:
        # The discriminator's own step needs no gradient of the pixels.
        uses = USES_OF_DISCRIMINATOR if found else (5, 1, 3)
        found.append(Layer(side, kernel, stride, padding, inputs, outputs, False, uses))
        side, inputs = found[-1].output_side, outputs
    for level, (inputs, outputs) in enumerate(itertools.pairwise((*sizes.generator_widths, 3))):
        found.append(Layer(4 * 2**level, 5, 2, 2, inputs, outputs, True, USES_OF_GENERATOR))
    return found


def flops(sizes: Sizes) -> int:
    """Returns the floating-point operations of an update's convolutions and dense layers, counted by hand."""
    dense = 3 * 100 * 16 * sizes.generator_widths[0] + 9 * 10 * sizes.discriminator_widths[1]
    return 2 * sizes.batch * (dense + sum(sum(layer.uses) * layer.multiply_adds for layer in layers(sizes)))


def igan_contender(sizes: Sizes, precision: str, updates: int, replicas: int) -> Contender:
    """Plays at least `updates` updates of experiments/cifar10.py, in chunks as a run does."""
    config = cifar10.get_config()
    config.replicas, config.devices, config.batch_size = replicas, 1, sizes.batch
    config.networks.precision = precision
    config.networks.generator_widths = sizes.generator_widths
    config.networks.discriminator_widths = sizes.discriminator_widths
    images = np.random.default_rng(0).integers(0, 256, (sizes.training_images, 32, 32, 3), np.uint8)
    labels = np.arange(len(images), dtype=np.int32) % 10
    dataset = Dataset("random", images, labels, images[:100], labels[:100], 10, "drawn at random")
    with mock.patch.object(experiment.data, "load", lambda *_: dataset):
        built = experiment.build(config)
    chunk = min(built.updates_per_chunk, updates)
    chunks = -(-updates // chunk)
    state = [built.engine.initialize(1)]

    def play() -> None:
        waiting = None
        for _ in range(chunks):
            state[0], metrics = built.engine.run(state[0], chunk)
            jax.block_until_ready(waiting)  # As a run does: metrics are fetched one chunk late.
            waiting = metrics
        jax.block_until_ready((state[0], waiting))

    return Contender(play, chunk * chunks, replicas * sizes.batch)


def torch_contender(sizes: Sizes, precision: str, updates: int, channels_last: bool, compiled: bool) -> Contender:
    """Plays `updates` updates of the reference, with the fused Adam. Raises ImportError without PyTorch."""
    import torch

    from tests.references import convolutional_torch, mnist_torch

    device = torch_device()
    options = (mnist_torch.CUDA_OPTIONS if device == "cuda" else mnist_torch.CPU_OPTIONS) if compiled else None
    game = convolutional_torch.Game(
        convolutional_torch.Generator(widths=sizes.generator_widths).to(device),
        convolutional_torch.Discriminator(widths=sizes.discriminator_widths).to(device),
        convolutional_torch.Rules(),
        optimizer=lambda trained: torch.optim.Adam(trained, lr=3e-4, betas=(0.5, 0.999), fused=True),
        autocast=precision == "bfloat16",
        compile_options=options,
    )
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.rand(3, sizes.batch, 3, 32, 32, device=device).mul(2).sub(1)
    unlabelled, labelled, of_generator = (each.contiguous(memory_format=layout) for each in images)
    batch = convolutional_torch.Batch(unlabelled, labelled, torch.arange(len(labelled)).to(device) % 10, [of_generator])

    def play() -> None:
        for _ in range(updates):
            losses = game.step(batch)
        losses["feature matching"].item()

    return Contender(play, updates, sizes.batch)


def torch_device() -> str:
    """Returns the kind of device that JAX uses, for PyTorch. Raises ImportError where PyTorch cannot use it."""
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise ImportError(f"the installed one does not see the {jax.devices()[0].device_kind}")
    torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions use by default and XLA too.
    torch.backends.cudnn.benchmark = True
    return "cuda"


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


def measure(plays: dict[Any, Play], rounds: int) -> dict[Any, list[float]]:
    """Returns the seconds of each, a number a round, in turn."""
    for play in [*plays.values()] * 2:  # Compiles, and warms up.
        play()
    seconds: dict[Any, list[float]] = {name: [] for name in plays}
    for _ in track(range(rounds), "measuring"):
        for name, play in plays.items():
            start = time.perf_counter()
            play()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def cheap_convolution(images: Any, kernel: Any, stride: int, padding: int) -> Any:
    """Stands in for `conv`: the mean of the channels at each place, times the mean of each feature's weights."""
    places = [(side + 2 * padding - kernel.shape[0]) // stride + 1 for side in images.shape[1:3]]
    rows, columns = (slice(0, stride * (count - 1) + 1, stride) for count in places)
    return images.mean(3, keepdims=True)[:, rows, columns] * kernel.mean((0, 1, 2))


def cheap_transposed(images: Any, kernel: Any) -> Any:
    """Stands in for `conv_transpose`."""
    return images.mean(3, keepdims=True).repeat(2, 1).repeat(2, 2) * kernel.mean((0, 1, 2))


def cheap_torch_convolution(images: Any, kernel: Any, bias: Any, stride: int, padding: int) -> Any:
    """The stand-in of `functional.conv2d`."""
    places = [(side + 2 * padding - kernel.shape[2]) // stride + 1 for side in images.shape[2:]]
    rows, columns = (slice(0, stride * (count - 1) + 1, stride) for count in places)
    seen = images.mean(1, keepdim=True)[:, :, rows, columns]
    return seen * kernel.mean((1, 2, 3)).view(-1, 1, 1) + bias.view(-1, 1, 1)


def cheap_torch_transposed(images: Any, kernel: Any, bias: Any, stride: int, *_: int, **__: int) -> Any:
    """The stand-in of `functional.conv_transpose2d`."""
    seen = images.mean(1, keepdim=True).repeat_interleave(stride, 2).repeat_interleave(stride, 3)
    made = seen * kernel.mean((0, 2, 3)).view(-1, 1, 1)
    return made if bias is None else made + bias.view(-1, 1, 1)


def compare_rest(sizes: Sizes, precision: str, updates: int, rounds: int, console: Console) -> None:
    """Prints the table of updates whose convolutions are stand-ins: everything else there is to an update."""
    with ExitStack() as stack:
        for target, stand_in in (
            ("igan.layers.weight_norm.conv", cheap_convolution),
            ("igan.layers.convolution.conv_transpose", cheap_transposed),
            ("igan.layers.weight_norm.conv_transpose", cheap_transposed),
        ):
            stack.enter_context(mock.patch(target, stand_in))
        contenders = {"igan": igan_contender(sizes, precision, updates, replicas=1)}
        try:
            from torch.nn import functional

            stack.enter_context(mock.patch.object(functional, "conv2d", cheap_torch_convolution))
            stack.enter_context(mock.patch.object(functional, "conv_transpose2d", cheap_torch_transposed))
            contenders["PyTorch"] = torch_contender(sizes, precision, updates, False, False)
            contenders["PyTorch, channels last"] = torch_contender(sizes, precision, updates, True, False)
            contenders["PyTorch, channels last, torch.compile"] = torch_contender(sizes, precision, updates, True, True)
        except ImportError:
            pass
        seconds = measure({name: each.play for name, each in contenders.items()}, rounds)
    table = Table("without its convolutions", "ms an update, best", "median", "igan is faster by")
    best = {name: min(seconds[name]) / each.updates for name, each in contenders.items()}
    for name, each in contenders.items():
        median, ahead = np.median(seconds[name]) / each.updates, best[name] / best["igan"]
        table.add_row(name, f"{best[name] * 1e3:.1f}", f"{median * 1e3:.1f}", f"{ahead:.2f}x")
    console.print(table)


def compare_updates(sizes: Sizes, precision: str, updates: int, rounds: int, console: Console) -> None:
    """Prints the table of whole updates."""
    contenders = {"igan": igan_contender(sizes, precision, updates, replicas=1)}
    kind, cpu = jax.devices()[0].device_kind, jax.default_backend() == "cpu"
    unknown = [f"{REPLICAS} replicas in images/s and the share of the chip's peak: there is no GPU"] if cpu else []
    if not cpu:
        contenders[f"igan, {REPLICAS} replicas"] = igan_contender(sizes, precision, updates, replicas=REPLICAS)
    try:
        contenders["PyTorch"] = torch_contender(sizes, precision, updates, False, False)
        contenders["PyTorch, channels last"] = torch_contender(sizes, precision, updates, True, False)
        contenders["PyTorch, channels last, torch.compile"] = torch_contender(sizes, precision, updates, True, True)
    except ImportError as error:
        unknown += [f"PyTorch (pip install 'igan[parity]'): {error}"]
    seconds = measure({name: each.play for name, each in contenders.items()}, rounds)
    peak = next((peaks[precision == "float32"] for name, peaks in PEAKS.items() if name in kind), None)
    if peak is None and not cpu:
        unknown += [f"the share of the chip's peak: that of a {kind} is not known here"]
    table = Table("", "ms an update, best", "median", "images/s", "share of peak", "igan is faster by")
    best = {name: min(seconds[name]) / each.updates for name, each in contenders.items()}
    for name, each in contenders.items():
        speed = each.images / best[name]
        share = "" if peak is None else f"{flops(sizes) / sizes.batch * speed / peak / 1e12:.0%}"
        ahead, median = sizes.batch / best["igan"] / speed, np.median(seconds[name]) / each.updates
        table.add_row(name, f"{best[name] * 1e3:.2f}", f"{median * 1e3:.2f}", f"{speed:,.0f}", share, f"{ahead:.2f}x")
    console.print(f"{kind}, batch {sizes.batch}, {precision}, {flops(sizes) / 1e9:.1f} GFLOP an update", table)
    console.print(*(f"Not measured: {what}." for what in unknown), sep="\n", markup=False)


def compare_convolutions(sizes: Sizes, precision: str, rounds: int, console: Console) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, help="updates a round; 3 on a CPU and 500 on a GPU if not given")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--small", action="store_true", help="batch 8 and narrow networks, to see whether it runs")
    parser.add_argument("--parts", help="of updates, convolutions and rest; default: all on a CPU, updates on a GPU")
    options = parser.parse_args()
    sizes, console, cpu = SMALL if options.small else Sizes(), Console(width=120), jax.default_backend() == "cpu"
    updates = options.updates or (3 if cpu else 500)
    parts = (options.parts or ("updates,convolutions,rest" if cpu else "updates")).split(",")
    if "updates" in parts:
        compare_updates(sizes, options.precision, updates, options.rounds, console)
    if "convolutions" in parts:
        compare_convolutions(sizes, options.precision, options.rounds, console)
    if "rest" in parts:
        compare_rest(sizes, options.precision, updates, options.rounds, console)


if __name__ == "__main__":
    main()
