"""What a discriminator says of the plane: its level lines, beside the samples of its generator and the real modes.

    python -m igan.landscape --workdir=runs/ring                  runs/ring/landscape.png, a panel for each replica

For runs on points (experiments/mixture.py). Exit codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from igan import cache
from igan.data import Dataset
from igan.errors import RunError, UserError, exit_code
from igan.evaluate import restore
from igan.game.technique import images_per_input
from igan.game.view import context, show
from igan.run import experiment, workdir
from igan.run.experiment import Experiment
from igan.types import Array, GameState, Player, Turn
from igan.version import ShowVersion

SIDE = 120  # Points along each axis at which the discriminator is asked.
MOST_PANELS = 10
LEVELS = 14


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    cache.keep_compiled_programs(cache.compiled_programs())
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Draws the newest checkpoint of a run, or the one with its best score."""
    directory = Path(options.workdir).expanduser()
    output = Path(options.output or directory / "landscape.png")
    if output.suffix != ".png":
        raise UserError(f"--output={output} is no .png file")
    config = workdir.load(directory)
    config.evaluation.best = ""
    built = experiment.reopen(config)
    if (space := built.dataset.space).kind != "points":
        raise UserError(f"{directory} is a run on {space.kind}, and level lines are drawn of points")
    if built.game.networks.classes:
        raise UserError(f"the discriminator of {directory} is told labels, and has level lines for each of them")
    # What it says of a point would be of the whole grid, and distances of all pairs of a grid are tens of gigabytes.
    for name, each in built.game.techniques.items():
        if "discriminator_features" in each.layers or each.inputs_together > 1:
            raise UserError(
                f"the discriminator of {directory} compares the points of a batch ({name}), so that no point has a"
                " level of its own: python -m igan.film shows the samples"
            )
    step, state = restore(directory, built, options.best)
    figure = draw(built, state, step, config.variant or config.experiment)
    try:
        FigureCanvasAgg(figure).print_png(str(output))
    except OSError as error:
        raise RunError(f"could not write {output}: {error.strerror or error}") from error
    print(f"Wrote {output}")


def draw(built: Experiment, state: GameState, step: int, title: str) -> Figure:
    """Returns the figure: a panel for each replica, with the modes in red and samples in blue."""
    samples = np.asarray(built.engine.sample(state, built.plan.reached(step), 1000))[:MOST_PANELS]
    assert isinstance(built.dataset, Dataset)  # Points are not streamed.
    extent = 1.35 * float(np.abs(built.dataset.test_images).max())
    axis = np.linspace(-extent, extent, SIDE)
    logits = ask(built, state, step, np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32))
    columns = min(5, len(samples))
    rows = -(-len(samples) // columns)
    side = 2.6 if len(samples) > 1 else 5
    figure = Figure(figsize=(side * columns, side * rows + 0.5), dpi=100, layout="constrained")
    between, size = (": ", "large") if columns > 2 else ("\n", "small")  # A single panel is narrower than the line.
    lines = "level lines of the discriminator, from “generated” to “real” (yellow)"
    figure.suptitle(f"{title}, update {step:,}{between}{lines}", fontsize=size)
    for place, (points, levels) in enumerate(zip(samples, logits, strict=False)):
        axes = figure.add_subplot(rows, columns, place + 1)
        values = levels.reshape(SIDE, SIDE)
        # Levels of equal shares of the plane: those of logits are crowded where it is sure.
        edges = np.unique(np.quantile(values, np.linspace(0, 1, LEVELS)))
        if len(edges) > 1:
            axes.contourf(axis, axis, values, levels=edges, cmap=colormaps["cividis"], alpha=0.45)
            axes.contour(axis, axis, values, levels=edges, colors="#555555", linewidths=0.4)
        axes.plot(*points.T, ".", markersize=1.6, color="#08306b", alpha=0.7)
        if modes := built.dataset.space.modes:
            axes.plot(*modes.centres.T, "o", markersize=7, fillstyle="none", color="#d62728", markeredgewidth=0.9)
        axes.set(xlim=(-extent, extent), ylim=(-extent, extent), xticks=[], yticks=[], aspect="equal")
    return figure


def ask(built: Experiment, state: GameState, step: int, points: np.ndarray) -> np.ndarray:
    """Returns the logits of points by each discriminator, float [R, n]; packs are of equal points."""
    game, networks = built.game, built.game.networks
    turn = Turn(jnp.int32(step), jnp.int32(step), built.plan.reached(step))
    together = images_per_input(game.techniques)

    def one(player: Player, memories: Any) -> Array:
        shown = show(game, memories, jax.random.key(0), jnp.repeat(jnp.asarray(points), together, axis=0))
        at = context(networks, jax.random.key(0), turn, train=False)
        return networks.discriminator.apply(player.average, player.variables, at, shown)[0].logits

    return np.asarray(jax.jit(jax.vmap(one))(state.discriminator, state.techniques))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.landscape", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the work directory of a run on points")
    parser.add_argument("--output", help="a .png file; default: landscape.png in the work directory")
    parser.add_argument("--best", action="store_true", help="the checkpoint with the best score, not the newest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
