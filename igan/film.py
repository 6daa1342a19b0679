"""The samples of a run over its training: as a film, or side by side with a row for each of several runs.

    python -m igan.film runs/ring                                              runs/ring/film.gif
    python -m igan.film runs/K=0 runs/K=5 runs/K=10 --output=unrolled.png      columns: updates; rows: runs

The frames are the pictures that the run has written to samples/; --config.reporting.samples_interval says how often it
does. A run that ends makes a small film of itself, film.webp.
Exit codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from igan.errors import RunError, UserError, exit_code
from igan.reporting import frames
from igan.reporting.frames import GREY, WHITE, as_large, font, pictures, read, spread
from igan.version import ShowVersion

LONGEST, LARGEST = 500, 4000  # Frames of a film; pixels along a side. Of more, as many are taken.
MARGIN = 4  # Pixels between pictures.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Reads the pictures and writes what was asked for."""
    runs = [Path(each).expanduser() for each in options.runs]
    output = Path(options.output or runs[0] / "film.gif")
    if output.suffix not in (".webp", ".gif", ".png"):
        raise UserError(f"--output={output} is neither a .webp, .gif nor a .png file")
    if output.suffix != ".png" and len(runs) > 1:
        raise UserError(f"a film is of one run, here are {len(runs)}: give --output=FILE.png to have them side by side")
    for name, least in (("seconds", 0.1), ("columns", 1), ("side", 16)):
        if not least <= getattr(options, name) <= 10_000:
            raise UserError(f"--{name}={getattr(options, name)}: expected a number from {least} to 10,000")
    labels = options.labels.split(",") if options.labels else [each.name for each in runs]
    if len(labels) != len(runs):
        raise UserError(f"--labels={options.labels} are {len(labels)}, and there are {len(runs)} runs: one for each")
    try:
        if output.suffix != ".png":
            kind = output.suffix.removeprefix(".")
            output.write_bytes(frames.film(pictures(runs[0]), kind, options.seconds, LONGEST, LARGEST))
        else:
            rows = {label: pictures(each) for label, each in zip(labels, runs, strict=True)}
            strip(rows, options.columns, options.side).save(output)
    except OSError as error:
        raise RunError(f"could not write {output}: {error.strerror or error}") from error
    print(f"Wrote {output}")


def strip(rows: dict[str, dict[int, Path]], columns: int, side: int) -> Image.Image:
    """Returns pictures of several runs side by side: a row for each, a column for each of some updates.

    Args:
      rows: by the name of a run, its pictures by the update that they show. The columns are the updates that all have.
      columns: at most so many, the first and the last among them; 1: the last.
      side: pixels along the longer side of each picture.

    Raises UserError where the runs have no update in common.
    """
    common = sorted(set.intersection(*(set(each) for each in rows.values())))
    if not common:
        raise UserError(f"{', '.join(rows)} have no picture of the same update: set the same samples_interval for all")
    steps, letters = spread(common, columns), font(15)
    left = 12 + max(round(letters.getlength(label)) for label in rows)
    tiles: dict[tuple[int, int], Image.Image] = {}
    for row, found in enumerate(rows.values()):
        for column, tile in enumerate(as_large([read(found[step]) for step in steps])):
            tile.thumbnail((side, side), Image.Resampling.LANCZOS)
            tiles[row, column] = tile
    width = max(tile.width for tile in tiles.values()) + MARGIN
    height = max(tile.height for tile in tiles.values()) + MARGIN
    sheet = Image.new("RGB", (left + width * len(steps), 28 + height * len(rows)), WHITE)
    draw = ImageDraw.Draw(sheet)
    for (row, column), tile in tiles.items():
        corner = left + width * column, 28 + height * row
        sheet.paste(tile, corner)
        draw.rectangle((corner[0] - 1, corner[1] - 1, corner[0] + tile.width, corner[1] + tile.height), outline=GREY)
    for column, step in enumerate(steps):
        draw.text((left + width * (column + 0.5), 14), f"{step:,}", GREY, letters, anchor="mm")
    for row, label in enumerate(rows):
        draw.text((6, 28 + height * (row + 0.5)), label, GREY, letters, anchor="lm")
    return sheet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.film", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the work directory of a run; several for a .png")
    parser.add_argument("--output", help="a .webp, .gif or .png file; default: film.gif in the work directory")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long a film takes; default: 8")
    parser.add_argument("--columns", type=int, default=6, help="pictures in a row, 1: the last; default: 6")
    parser.add_argument("--side", type=int, default=200, help="pixels of a picture in a row; default: 200")
    parser.add_argument("--labels", help="comma-separated names of the rows; default: those of the directories")
    return parser


if __name__ == "__main__":
    sys.exit(main())
