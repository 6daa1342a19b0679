"""What gradient penalties and spectral norm cost: a step of the discriminator with and without, interleaved in one run.

    python tests/benchmarks/penalties.py --rounds=10

The networks `convolutional` on random images of CIFAR-10's size, with a single logit and `non_saturating`. Their
weights are weight-normalised, which spectral norm replaces; against plain weights it is held in the networks `dcgan`,
whose discriminator then has no normalisation of another kind. Run it alone on the machine. Each game plays `--steps`
steps of the discriminator a round, in turn. A ratio is taken within each round, because then both sides of it had the
same machine, and the median of them counts; that of the best times is beside it. The aims: a gradient penalty at most
2.5 times the step without, R1 in every 16th step at most 15 % more, spectral norm less than 10 % more.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from igan import models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.game.technique import Game
from igan.types import Batch, Examples, GameState, Turn

SHAPE = (32, 32, 3)
# What a game is compared with, by its networks.
BASES = {"convolutional": "no penalty", "dcgan": "plain weights"}
OF_DCGAN = "spectral_norm, else plain weights"
GAMES: dict[str, dict[str, dict[str, Any]]] = {
    "no penalty": {},
    "plain weights": {},
    "gradient_penalty": {"gradient_penalty": {}},
    "dragan": {"dragan": {}},
    "r1": {"r1": {}},
    "r1 every 16 steps": {"r1": {"interval": 16}},
    "r1 and r2": {"r1": {}, "r2": {}},
    "spectral_norm": {"spectral_norm": {}},  # Instead of the discriminator's weight norm.
    OF_DCGAN: {"spectral_norm": {}},
}


def family_of(name: str) -> str:
    """Returns the networks of a game."""
    return "dcgan" if name in (OF_DCGAN, BASES["dcgan"]) else "convolutional"


def settings_of(family: str, widths: tuple[int, ...]) -> dict[str, Any]:
    """Returns the networks' settings; `dcgan` halves its images once more, with twice as many channels."""
    if family == "dcgan":
        widths = (*widths, 2 * widths[-1])
        return {"discriminator_widths": widths, "generator_widths": widths[::-1], "discriminator_norm": "none"}
    return {"discriminator_widths": widths, "generator_widths": (*widths[::-1], widths[0])}


def round_of(name: str, options: argparse.Namespace) -> Callable[[], None]:
    """Returns a function that plays `options.steps` steps of the discriminator of a game."""
    configs = {each: {"enabled": True} | settings for each, settings in GAMES[name].items()}
    loaded = technique.load({"non_saturating": {"enabled": True}} | configs)
    settings = {"name": family_of(name)} | settings_of(family_of(name), tuple(options.widths))
    networks = models.load(settings, space.images(SHAPE), None, technique.layers(loaded))
    tx = optax.adam(3e-4, b1=0.5)
    game = Game(networks, loaded, tx, tx, optimizer.average_rate(1e-4))
    real = Examples(jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (options.batch_size, *SHAPE)), jnp.float32))

    def play(state: GameState) -> GameState:
        def one(state: GameState, count: jax.Array) -> tuple[GameState, None]:
            turn = Turn(state.step, count, networks.stages[0])
            key = jax.random.fold_in(state.key, count)
            return step.update_discriminator(game, state, turn, key, Batch(real))[0], None

        return jax.lax.scan(one, state, jnp.arange(options.steps))[0]

    compiled, state = jax.jit(play), [jax.jit(lambda key: step.initialize(game, key, real))(jax.random.key(0))]

    def go() -> None:
        state[0] = jax.block_until_ready(compiled(state[0]))

    return go


def main() -> None:
    compared = [name for name in GAMES if name not in BASES.values()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=16, help="steps of the discriminator a round, multiples of 16")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--widths", type=int, nargs=2, default=(32, 64), help="channels of the discriminator")
    parser.add_argument("--games", nargs="+", choices=compared, default=compared)
    options = parser.parse_args()
    if options.steps % 16 or options.steps < 1:
        parser.error("--steps must be a multiple of 16, so that each round has its share of lazy penalties")
    bases = [base for family, base in BASES.items() if family in map(family_of, options.games)]
    rounds = {name: round_of(name, options) for name in (*bases, *options.games)}
    for play in rounds.values():
        play()  # Compiles.
    seconds: dict[str, list[float]] = {name: [] for name in rounds}
    load = [os.getloadavg()[0]]
    for _ in track(range(options.rounds), "measuring"):
        for name, play in rounds.items():
            start = time.perf_counter()
            play()
            seconds[name].append((time.perf_counter() - start) / options.steps)
        load.append(os.getloadavg()[0])
    table = Table("", "ms a step, best", "median", "times the step without: median", "of the best")
    for name, times in seconds.items():
        without = np.array(seconds[BASES[family_of(name)]])
        best, ratio = min(times), float(np.median(times / without))
        table.add_row(
            name, f"{best * 1e3:.1f}", f"{np.median(times) * 1e3:.1f}", f"{ratio:.2f}", f"{best / without.min():.2f}"
        )
    what = f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}, batch {options.batch_size}"
    widths = " and ".join(map(str, options.widths))
    Console(width=110).print(
        f"{what}, widths {widths}, float32, {options.rounds} rounds of {options.steps} steps; load of the machine"
        f" {min(load):.1f} to {max(load):.1f}",
        table,
    )


if __name__ == "__main__":
    main()
