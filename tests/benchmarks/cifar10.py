"""igan's CIFAR-10 update with feature matching against the same update in PyTorch, interleaved in one run.

    pip install -e ".[parity]" && python tests/benchmarks/cifar10.py [--precision=bfloat16]

float32 is TF32 on a GPU, in both libraries. Run it alone on the machine: every contender plays `--rounds` rounds of
`--updates` in turn, and the best round of each counts, because noise of the machine only ever adds time. igan draws its
batches from 50,000 random images in device memory; PyTorch is handed the same batch every time. Without PyTorch only
igan's rows are printed. cifar10_parts.py tells where the time of an update goes.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of the GPU's memory.
sys.path.insert(0, str(Path(__file__).parents[2]))  # For the experiments, and the references beside the tests.

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments import cifar10
from igan.data import Dataset
from igan.run import experiment

REPLICAS = 8
# Dense tera-FLOP a second of the tensor cores, as the vendor states them: bfloat16, TF32.
PEAKS = {"H100 80GB HBM3": (989, 495), "H100 PCIe": (756, 378), "H200": (989, 495), "A100": (312, 156)}
# (forward, gradient of the images, gradient of the kernel): batches of an update that go through a network so.
USES_OF_DISCRIMINATOR = (5, 4, 3)  # Labelled, unlabelled, generated in its own step; real and generated in the other.
USES_OF_GENERATOR = (2, 1, 1)

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


def igan_contender(
    sizes: Sizes, precision: str, updates: int, replicas: int = 1, variant: str = "", minibatch_features: bool = True
) -> Contender:
    """Plays at least `updates` updates of experiments/cifar10.py, in chunks as a run does."""
    config = cifar10.get_config(variant)
    config.techniques.minibatch_discrimination.enabled &= minibatch_features
    config.replicas, config.devices, config.batch_size = replicas, 1, sizes.batch
    config.networks.precision = precision
    config.networks.generator_widths = sizes.generator_widths
    config.networks.discriminator_widths = sizes.discriminator_widths
    built = on_random_images(config, sizes.training_images)
    chunk = min(built.updates_per_chunk, updates)
    chunks = -(-updates // chunk)
    state = [built.engine.initialize(1)]

    def play() -> None:
        waiting = None
        for _ in range(chunks):
            state[0], metrics = built.engine.run(state[0], built.plan.stages[0], chunk)
            jax.block_until_ready(waiting)  # As a run does: metrics are fetched one chunk late.
            waiting = metrics
        jax.block_until_ready((state[0], waiting))

    return Contender(play, chunk * chunks, replicas * sizes.batch)


def on_random_images(config: Any, count: int) -> experiment.Experiment:
    """Returns the experiment of a config on so many images of CIFAR-10's size, with labels, that are drawn."""
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = np.arange(count, dtype=np.int32) % 10
    dataset = Dataset("random", images, labels, images[:100], labels[:100], 10, "drawn at random")
    with mock.patch.object(experiment.data, "load", lambda *_: dataset):
        return experiment.build(config)


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


def torch_contenders(sizes: Sizes, precision: str, updates: int) -> dict[str, Contender]:
    """Returns the reference in each form worth comparing with. Raises ImportError without PyTorch."""
    return {
        "PyTorch": torch_contender(sizes, precision, updates, False, False),
        "PyTorch, channels last": torch_contender(sizes, precision, updates, True, False),
        "PyTorch, channels last, torch.compile": torch_contender(sizes, precision, updates, True, True),
    }


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


def compare_updates(sizes: Sizes, precision: str, updates: int, rounds: int, console: Console) -> None:
    """Prints the table of whole updates."""
    contenders = {"igan": igan_contender(sizes, precision, updates)}
    kind, cpu = jax.devices()[0].device_kind, jax.default_backend() == "cpu"
    unknown = [f"{REPLICAS} replicas in images/s and the share of the chip's peak: there is no GPU"] if cpu else []
    if not cpu:
        contenders[f"igan, {REPLICAS} replicas"] = igan_contender(sizes, precision, updates, replicas=REPLICAS)
    try:
        contenders |= torch_contenders(sizes, precision, updates)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, help="updates a round; 3 on a CPU and 500 on a GPU if not given")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--small", action="store_true", help="batch 8 and narrow networks, to see whether it runs")
    options = parser.parse_args()
    sizes, cpu = SMALL if options.small else Sizes(), jax.default_backend() == "cpu"
    updates = options.updates or (3 if cpu else 500)
    compare_updates(sizes, options.precision, updates, options.rounds, Console(width=120))


if __name__ == "__main__":
    main()
