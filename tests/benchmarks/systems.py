"""Updates of four published systems on 32 x 32 pixels at full width: igan against PyTorch, interleaved in one run.

    pip install -e ".[parity]" && python tests/benchmarks/systems.py [--systems sngan_resnet biggan] [--replicas=8]

The recipes of `experiments/`, in the last stage of those that grow, on random images; StyleGAN without style mixing and
with R1 in every step. PyTorch plays the same step, one game, eager, in the layout that is faster of the two, with as
many parameters; --replicas=R compares R games of igan in one program with R times PyTorch's one. Run it alone on the
machine. A ratio is taken within each round, and the median of them counts. On a CPU a batch of the recipes, 64, takes
minutes an update: --batch_size=8 is the default there. float32, which is TF32 on a GPU in both.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of the GPU's memory.
sys.path.insert(0, str(Path(__file__).parents[2]))  # For the experiments, and the references beside the tests.

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import gans, growing
from tests.benchmarks.cifar10 import measure, on_random_images, torch_device
from tests.outcome import state_at

SYSTEMS = ("sngan_resnet", "biggan", "pggan", "stylegan")


def game(name: str, batch_size: int, replicas: int) -> Any:
    """Returns the config of a recipe for this batch; its generator's is as many times larger as it was."""
    # Row E is row F without style mixing.
    config = gans.get_config(name) if name in gans.SETUPS else growing.get_config({"stylegan": "e"}.get(name, name))
    ratio = (config.generator.batch_size or config.batch_size) // config.batch_size
    config.batch_size, config.generator.batch_size = batch_size, ratio * batch_size if ratio > 1 else 0
    config.replicas, config.devices, config.initial_images = replicas, 1, batch_size
    if "batch_sizes" in config.networks:
        stage = 10 * batch_size
        config.networks.update(batch_sizes=(), train_images=stage, fade_images=stage)
    if config.techniques.r1.enabled:
        config.techniques.r1.interval = 1
        config.techniques.minibatch_stddev.group = min(4, batch_size)
    return config


def igan_play(config: Any, updates: int) -> tuple[Callable[[], None], Any]:
    """Returns a function that plays updates of the last stage, and the state that they begin with."""
    built = on_random_images(config, max(1000, 8 * config.batch_size))
    stage = built.plan.stages[-1]
    state = [state_at(built, stage.start)]
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), (state[0].generator.params, state[0].discriminator.params))

    def play() -> None:
        state[0], metrics = built.engine.run(state[0], stage, updates)
        jax.block_until_ready((state[0], metrics))

    return play, params


def torch_plays(name: str, config: Any, params: Any, updates: int) -> Mapping[str, Callable[[], None]]:
    """Returns the same of PyTorch for each layout. Raises ImportError without PyTorch."""
    import torch

    from tests.benchmarks import systems_torch
    from tests.models.growing import by_name

    device, found = torch_device(), {}
    for title, layout in (("PyTorch", torch.contiguous_format), ("PyTorch, channels last", torch.channels_last)):
        rest = ()
        if name in growing.SETUPS:  # Its reference begins with igan's arrays, by their names.
            named = [
                {path: torch.tensor(value, dtype=torch.float32) for path, value in by_name(each).items()}
                for each in params
            ]
            rest = ([{path: _laid_out(array, layout) for path, array in each.items()} for each in named],)
        update, parameters = getattr(systems_torch, name)(device, config.batch_size, config, *rest, layout=layout)
        ours = sum(leaf.size for leaf in jax.tree.leaves(params))
        if parameters != ours:
            raise AssertionError(f"{name}: PyTorch trains {parameters:,} numbers, igan {ours:,}")

        def play(update: Callable[[], float] = update) -> None:
            for _ in range(updates):
                update()

        found[title] = play
    return found


def _laid_out(array: Any, layout: Any) -> Any:
    return array.contiguous(memory_format=layout) if array.ndim == 4 else array


def main() -> None:
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--batch_size", type=int, default=8 if on_cpu else 64)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--updates", type=int, default=1 if on_cpu else 20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in ("batch_size", "replicas", "updates", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}, expected 1 or more")
    table = Table(
        "", "igan: seconds an update", "PyTorch, one game", "its layout", "igan is faster by: median", "of the best"
    )
    for name in options.systems:
        config = game(name, options.batch_size, options.replicas)
        play, params = igan_play(config, options.updates)
        try:
            others = torch_plays(name, config, params, options.updates)
        except ImportError as error:
            print(f"PyTorch is left out: {error}", file=sys.stderr)
            others = {}
        seconds = {title: np.array(times) for title, times in measure({"igan": play, **others}, options.rounds).items()}
        ours = seconds.pop("igan")
        row = [name, f"{ours.min() / options.updates:.3f}"]
        if seconds:
            title, theirs = min(seconds.items(), key=lambda pair: pair[1].min())
            ratios = options.replicas * theirs / ours
            best = options.replicas * theirs.min() / ours.min()
            row += [f"{theirs.min() / options.updates:.3f}", title, f"{np.median(ratios):.2f}", f"{best:.2f}"]
        table.add_row(*row)
    what = f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}, batch {options.batch_size}"
    Console(width=110).print(f"{what}, {options.replicas} replicas, {options.rounds} rounds", table)


if __name__ == "__main__":
    main()
