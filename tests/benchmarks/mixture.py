"""Ten games on a ring in one program of igan against PyTorch, eager, one game in one process, interleaved in one run.

    pip install -e ".[parity]" && python tests/benchmarks/mixture.py

Run it alone on the machine; both use its GPU where there is one. PyTorch plays one game with the same networks, batch
and optimiser; ten of them take ten times as long, or more where processes share the cores. The best round of each
counts, because noise of the machine only ever adds time.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))  # For the experiments beside the tests.

from igan.config import Config
from igan.run import experiment
from tests.benchmarks.cifar10 import torch_device
from tests.test_experiments import get_config

REPLICAS = 10
Round = Callable[[int], None]
GAMES = {"laboratory": "ring", "unrolled GAN's ring": "", "PacGAN's ring": "pacgan_ring"}


def game(name: str) -> Config:
    """The config of a game, without what is not an update."""
    config = get_config("mixture", GAMES[name] or "ring")
    if not GAMES[name]:  # The paper's networks: the defaults of the family.
        config.networks = get_config("mixture", "unrolled_ring").networks.copy_and_resolve_references()
        config.networks.latent_size, config.batch_size = 256, 512
        config.networks.generator_activation = config.networks.discriminator_activation = "relu"
        config.networks.discriminator_layers = (128,)
    config.evaluation.scores = ()
    config.replicas = REPLICAS
    return config


def igan_round(config: Config, chunk: int) -> Round:
    """Returns a function that plays whole chunks of updates of ten games."""
    config.steps_per_chunk, config.devices = chunk, 1
    built = experiment.build(config)
    state = [built.engine.initialize(1)]

    def play(chunks: int) -> None:
        for _ in range(chunks):
            state[0], metrics = built.engine.run(state[0], built.plan.stages[0], chunk)
        jax.block_until_ready((state[0], metrics))

    return play


def torch_round(config: Config, chunk: int) -> Round:
    """Returns a function that plays as many updates of one game as a straightforward programme in PyTorch."""
    import torch
    from torch import nn

    settings = config.networks

    class Maxout(nn.Module):
        def forward(self, inputs: Any) -> Any:
            return inputs.view(len(inputs), -1, settings.pieces).amax(2)

    def network(inputs: int, widths: tuple[int, ...], outputs: int, activation: str, norm: bool = False) -> Any:
        layers: list[nn.Module] = []
        for width in widths:
            layers.append(nn.Linear(inputs, width * (settings.pieces if activation == "maxout" else 1), bias=not norm))
            layers += [nn.BatchNorm1d(width)] if norm else []
            layers.append({"relu": nn.ReLU, "tanh": nn.Tanh, "maxout": Maxout}[activation]())
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))

    generator = network(
        settings.latent_size, settings.generator_layers, 2, settings.generator_activation, settings.batch_norm
    )
    discriminator = network(2, settings.discriminator_layers, 1, settings.discriminator_activation)
    device = torch_device()
    generator, discriminator = generator.to(device), discriminator.to(device)
    players = (discriminator, config.discriminator), (generator, config.generator)
    optimizers = [
        torch.optim.Adam(each.parameters(), lr=rates.learning_rate, betas=(rates.b1, rates.b2))
        for each, rates in players
    ]
    points = np.random.default_rng(0).normal(size=(100_000, 2)).astype(np.float32)
    data, size = torch.from_numpy(points).to(device), config.batch_size
    softplus = nn.functional.softplus

    def play(chunks: int) -> None:
        for _ in range(chunks * chunk):
            real = data[torch.randint(len(data), (size,), device=device)]
            with torch.no_grad():
                fake = generator(torch.randn(size, settings.latent_size, device=device))
            loss = softplus(-discriminator(real / settings.input_divisor)).mean()
            loss = loss + softplus(discriminator(fake / settings.input_divisor)).mean()
            optimizers[0].zero_grad()
            loss.backward()
            optimizers[0].step()
            fake = generator(torch.randn(size, settings.latent_size, device=device))
            loss = softplus(-discriminator(fake / settings.input_divisor)).mean()
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
        loss.item()

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunk", type=int, default=50, help="updates of a game a round")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    table = Table("", f"igan, {REPLICAS} games: updates/s", "PyTorch, one game", "igan is faster by")
    for name in GAMES:
        contenders = igan_round(game(name), options.chunk), torch_round(game(name), options.chunk)
        seconds: list[list[float]] = [[], []]
        for play in contenders:
            play(1)  # Compiles.
        for _ in track(range(options.rounds), name):
            for play, times in zip(contenders, seconds, strict=True):
                start = time.perf_counter()
                play(1)
                times.append((time.perf_counter() - start) / options.chunk)
        ours, theirs = min(seconds[0]), min(seconds[1])
        table.add_row(name, f"{1 / ours:.0f}", f"{1 / theirs:.0f}", f"{REPLICAS * theirs / ours:.1f}x")
    Console(width=100).print(f"{jax.devices()[0].device_kind}, {options.rounds} rounds of {options.chunk}", table)


if __name__ == "__main__":
    main()
