"""What is coarse and what is fine in the styles of a run: images with the styles of two latents.

    python -m igan.styles --workdir=runs/stylegan                       runs/stylegan/styles.png
    python -m igan.styles --workdir=runs/stylegan --crossover=4 --psi=0.7 --rows=4 --columns=6 --output=mixed.png

Each image has the coarse styles of the image at the left of its row, those of the layers before the crossover, and the
fine styles of the image at the top of its column (Karras et al. 2019, figure 3). Exit codes: 0 done; 1 failed; 2 the
command is wrong.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from igan.data.grids import encode_png, image_grid
from igan.errors import RunError, UserError
from igan.evaluate import add_style_options, code_of, restore, sampling_options
from igan.game import inference
from igan.layers.truncation import PSI
from igan.randomness import stream
from igan.run import drawing, workdir
from igan.run.experiment import Experiment
from igan.types import GameState, Turn
from igan.version import ShowVersion

MOST = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return code_of(_parser().parse_args(arguments), run)


def run(options: argparse.Namespace) -> None:
    """Draws the picture and writes it."""
    directory = Path(options.workdir).expanduser()
    output = Path(options.output or directory / "styles.png")
    if output.suffix != ".png":
        raise UserError(f"--output={output} is no .png file")
    for name in ("rows", "columns"):
        if not 1 <= getattr(options, name) <= MOST:
            raise UserError(f"--{name}={getattr(options, name)}: expected a number from 1 to {MOST}")
    asked = sampling_options(options)
    config = workdir.load(directory)
    built = drawing.reopen(config, options.data_dir)
    if PSI not in built.game.networks.options:
        without = " with styles_of_layers=False" if "styles_of_layers" in config.networks else ""
        raise UserError(f"{directory} is a run of the networks '{config.networks.name}', which have no styles{without}")
    drawing.checked(built, asked)
    step, state = restore(directory, built, best=False)
    picture = draw(built, state, options.rows, options.columns, options.crossover, asked)
    try:
        output.write_bytes(encode_png(picture))
    except OSError as error:
        raise RunError(f"could not write {output}: {error.strerror or error}") from error
    print(f"{options.rows} x {options.columns} images at update {step:,} in {output}")


def draw(
    built: Experiment, state: GameState, rows: int, columns: int, crossover: int, options: Mapping[str, float]
) -> np.ndarray:
    """Returns a picture of the first replica's averaged generator, uint8.

    The sources of fine styles are its first row, those of coarse styles its first column, and the corner is grey.

    Args:
      rows, columns: how many sources there are of each.
      crossover: the first layer of the fine styles.
      options: what else the networks are asked for in sampling, psi and noise.

    Raises UserError for a crossover that is no layer.
    """
    networks, step = built.game.networks, int(state.step)
    stage = built.plan.reached(step)
    turn = Turn(state.step, state.step, stage)
    player = jax.tree.map(lambda leaf: leaf[0], state.generator)
    key = stream(state.key[0], "styles")
    latents = networks.sample_latents(key, rows + columns)

    def images(coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
        both = latents[np.concatenate([coarse, fine])]
        asked = {**options, "crossover": crossover}
        made = inference.sample(networks, player.average, player.variables, turn, key, both, options=asked)
        return np.asarray(made)

    own = images(np.arange(rows + columns), np.arange(rows + columns))
    layers = 2 * int(np.log2(own.shape[1])) - 2
    if not 1 <= crossover < layers:
        raise UserError(f"--crossover={crossover}: expected a layer from 1 to {layers - 1}, of {own.shape[1]} pixels")
    of_row, of_column = np.divmod(np.arange(rows * columns), columns)
    mixed = images(of_row, rows + of_column).reshape(rows, columns, *own.shape[1:])
    low, high = networks.image_range
    corner = np.full_like(own[:1], (low + high) / 2)
    top = np.concatenate([corner, own[rows:]])
    lines = [top, *(np.concatenate([own[row : row + 1], mixed[row]]) for row in range(rows))]
    return image_grid(np.concatenate(lines), columns + 1, networks.image_range)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.styles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the work directory of a run")
    parser.add_argument("--output", help="a .png file; default: styles.png in the work directory")
    parser.add_argument("--rows", type=int, default=4, help="sources of coarse styles; default: 4")
    parser.add_argument("--columns", type=int, default=6, help="sources of fine styles; default: 6")
    parser.add_argument("--crossover", type=int, default=4, help="the first layer of the fine styles; default: 4")
    add_style_options(parser)
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its data, if not where the run found them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
