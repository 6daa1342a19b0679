"""The MNIST step of igan against the same step in PyTorch, interleaved in one run on the same data shapes.

    pip install -e ".[parity]" && python tests/benchmarks/mnist.py

Run it alone on the machine. Every contender plays rounds of `--steps` updates in turn; the best round of each counts,
because noise of the machine only ever adds time. Without PyTorch only igan's own rows are printed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))  # For the references beside the tests.

from igan.config import default
from igan.run import experiment
from igan.run.experiment import Experiment

BATCH = 100
Round = Callable[[], None]


def build(steps: int, **changes: object) -> Experiment:
    """Returns igan's MNIST game, changed as given, in dispatches of `steps` updates."""
    config = default()
    config.data.source = "embedded"
    config.devices = 1
    config.steps_per_chunk = steps
    config.techniques.semi_supervised.enabled = True
    config.techniques.feature_matching.enabled = True
    config.techniques.minimax.enabled = True
    config.techniques.minimax.discriminator_weight = 0.5
    config.techniques.minimax.generator_weight = 0.0
    config.update_from_flattened_dict(changes)
    return experiment.build(config)


def igan_round(steps: int, **changes: object) -> Round:
    """Returns a function that plays `steps` updates of igan's MNIST game, changed as given."""
    built = build(steps, **changes)
    engine = built.engine
    state = [engine.initialize(1)]

    def play() -> None:
        state[0], metrics = engine.run(state[0], built.plan.stages[0], steps)
        jax.block_until_ready((state[0], metrics))

    return play


def matmul_round(steps: int) -> Round:
    """Returns a function that does `steps` times the matrix products of one update and nothing else."""
    discriminator = [(784, 1000), (1000, 500), (500, 250), (250, 250), (250, 250), (250, 10)]
    generator = [(100, 500), (500, 500), (500, 784)]
    shapes = []
    for index, (inputs, outputs) in enumerate(discriminator):
        shapes += [(3 * BATCH, inputs, outputs), (inputs, 3 * BATCH, outputs)]  # The discriminator's step.
        shapes += [(3 * BATCH, outputs, inputs)] if index else []
        shapes += 2 * [(BATCH, inputs, outputs)] + [(BATCH, outputs, inputs)]  # The generator's, through it.
    for index, (inputs, outputs) in enumerate(generator):
        shapes += 2 * [(BATCH, inputs, outputs)] + [(inputs, BATCH, outputs)]
        shapes += [(BATCH, outputs, inputs)] if index else []
    pairs = [(jnp.ones((rows, inner)), jnp.ones((inner, columns))) for rows, inner, columns in shapes]
    multiply = jax.jit(lambda pairs: [left @ right for left, right in pairs])

    def play() -> None:
        for _ in range(steps):
            jax.block_until_ready(multiply(pairs))

    return play


def torch_round(steps: int, compiled: bool = False, straightforward: bool = False) -> Round:
    """Returns a function that plays `steps` updates of the same game in PyTorch.

    The reference is tuned: one discriminator pass over all three batches and the fused Adam. `straightforward` is
    what one writes first: a pass for each batch, and `torch.optim.Adam` as it comes.
    """
    import torch

    from tests.references import mnist_numpy, mnist_torch

    class StraightforwardGame(mnist_torch.Game):
        def discriminator_losses(self, batch: mnist_numpy.Batch, draws: None) -> tuple[torch.Tensor, torch.Tensor]:
            with torch.no_grad():
                generated = self.generator(self.draw_latent(batch.unlabelled_images))
            seen = (batch.labelled_images, batch.unlabelled_images, generated)
            labelled, unlabelled, fake = (self.discriminator(images)[0] for images in seen)
            return mnist_torch.semi_supervised_losses(labelled, batch.labels, unlabelled, fake)

    def plain_adam(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=3e-3, betas=(0.5, 0.999))

    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = (mnist_torch.CUDA_OPTIONS if device == "cuda" else mnist_torch.CPU_OPTIONS) if compiled else None
    parameters = mnist_numpy.initial_parameters(0, mnist_numpy.GENERATOR_WIDTHS, mnist_numpy.DISCRIMINATOR_WIDTHS)
    if straightforward:
        game = StraightforwardGame(parameters, device=device, optimizer=plain_adam)
    else:
        game = mnist_torch.Game(parameters, device=device, compile_options=options)
    random = np.random.default_rng(0)
    images = [random.random((BATCH, 784)) for _ in range(3)]
    batch = mnist_numpy.Batch(images[0], random.integers(0, 10, BATCH), images[1], images[2])
    batch = mnist_torch.to_torch(batch, device=device)

    def play() -> None:
        for _ in range(steps):
            losses = game.step(batch)
        losses["feature_matching"].item()

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="updates a round")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    no_noise = {"networks.input_noise": 0.0, "networks.hidden_noise": 0.0}
    sgd = {"discriminator.optimizer": "sgd", "generator.optimizer": "sgd"}
    rounds = {
        "igan": igan_round(options.steps),
        "igan without noise": igan_round(options.steps, **no_noise),
        "igan without noise and Adam": igan_round(options.steps, **no_noise, **sgd),
        "its matrix products alone": matmul_round(options.steps),
    }
    try:
        rounds["PyTorch, straightforward"] = torch_round(options.steps, straightforward=True)
        rounds["PyTorch, tuned"] = torch_round(options.steps)
        rounds["PyTorch, tuned, torch.compile"] = torch_round(options.steps, compiled=True)
    except ImportError:
        print("PyTorch is not installed (pip install 'igan[parity]'): no comparison.")
    seconds: dict[str, list[float]] = {name: [] for name in rounds}
    for play in rounds.values():
        play()  # Compiles.
    for _ in track(range(options.rounds), "measuring"):
        for name, play in rounds.items():
            start = time.perf_counter()
            play()
            seconds[name].append((time.perf_counter() - start) / options.steps)
    table = Table("", "ms a step, best", "median", "steps/s", "igan is faster by")
    ours = min(seconds["igan"])
    for name, times in seconds.items():
        best = min(times)
        table.add_row(
            name, f"{best * 1e3:.1f}", f"{np.median(times) * 1e3:.1f}", f"{1 / best:.1f}", f"{best / ours:.2f}x"
        )
    Console(width=100).print(f"{jax.devices()[0].device_kind}, batch {BATCH}, float32, {options.rounds} rounds", table)


if __name__ == "__main__":
    main()
