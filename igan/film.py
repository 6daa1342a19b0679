"""The samples of a run over its training: as a film, or side by side with a row for each of several runs.

    python -m igan.film runs/ring                                              runs/ring/film.gif
    python -m igan.film runs/K=0 runs/K=5 runs/K=10 --output=unrolled.png      columns: updates; rows: runs

They are the pictures that the run has written to samples/; --config.reporting.samples_interval says how often it does.
Exit codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from igan.errors import RunError, UserError, exit_code
from igan.version import ShowVersion

LONGEST = 500  # Frames of a film; of more, as many are taken.
MARGIN = 4  # Pixels between pictures.
GREY, WHITE = (60, 60, 60), (255, 255, 255)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Reads the pictures and writes what was asked for."""
    runs = [Path(each).expanduser() for each in options.runs]
    output = Path(options.output or runs[0] / "film.gif")
    if output.suffix not in (".gif", ".png"):
        raise UserError(f"--output={output} is neither a .gif nor a .png file")
    if output.suffix == ".gif" and len(runs) > 1:
        raise UserError(f"a film is of one run, here are {len(runs)}: give --output=FILE.png to have them side by side")
    for name, least in (("seconds", 0.1), ("columns", 1), ("side", 16)):
        if not least <= getattr(options, name) <= 10_000:
            raise UserError(f"--{name}={getattr(options, name)}: expected a number from {least} to 10,000")
    labels = options.labels.split(",") if options.labels else [each.name for each in runs]
    if len(labels) != len(runs):
        raise UserError(f"--labels={options.labels} are {len(labels)}, and there are {len(runs)} runs: one for each")
    try:
        if output.suffix == ".gif":
            film(pictures(runs[0]), output, options.seconds)
        else:
            rows = {label: pictures(each) for label, each in zip(labels, runs, strict=True)}
            strip(rows, options.columns, options.side).save(output)
    except OSError as error:
        raise RunError(f"could not write {output}: {error.strerror or error}") from error
    print(f"Wrote {output}")


def pictures(directory: Path) -> dict[int, Path]:
    """Returns the sample pictures of a run by the update they show, in order.

    Raises UserError where there are none.
    """
    named = [(path, re.fullmatch(r"step_(\d+)", path.stem, re.ASCII)) for path in (directory / "samples").glob("*.png")]
    found = dict(sorted((int(name[1]), path) for path, name in named if name))
    if not found:
        raise UserError(f"there are no pictures in {directory / 'samples'}: give the work directory of a run")
    return found


def film(frames: dict[int, Path], output: Path, seconds: float) -> None:
    """Writes a film of pictures, each with its update below it; the last one stays for a while.

    Args:
      frames: pictures by the update that they show.
      output: the .gif file.
      seconds: how long it takes, without the last picture.
    """
    chosen = _spread(list(frames), LONGEST)
    images = []
    for step, picture in zip(chosen, _as_large([_read(frames[step]) for step in chosen]), strict=True):
        frame = Image.new("RGB", (picture.width, picture.height + 24), WHITE)
        frame.paste(picture, (0, 0))
        ImageDraw.Draw(frame).text((6, frame.height - 20), f"update {step:,}", GREY, _font(14))
        images.append(frame)
    each = max(20, round(1000 * seconds / len(images)))
    durations = [*[each] * (len(images) - 1), max(1500, each)]
    images[0].save(output, save_all=True, append_images=images[1:], duration=durations, loop=0)


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
    steps, font = _spread(common, columns), _font(15)
    left = 12 + max(round(font.getlength(label)) for label in rows)
    tiles: dict[tuple[int, int], Image.Image] = {}
    for row, found in enumerate(rows.values()):
        for column, tile in enumerate(_as_large([_read(found[step]) for step in steps])):
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
        draw.text((left + width * (column + 0.5), 14), f"{step:,}", GREY, font, anchor="mm")
    for row, label in enumerate(rows):
        draw.text((6, 28 + height * (row + 0.5)), label, GREY, font, anchor="lm")
    return sheet


def _as_large(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Returns pictures as large as the largest, whose pixels stay squares: those of a network that grows are small."""
    size = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    return [each if each.size == size else each.resize(size, Image.Resampling.NEAREST) for each in pictures]


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is no readable picture: delete it, or make the run's samples again") from error


def _spread(values: Sequence[int], count: int) -> list[int]:
    """Returns at most so many of some values, evenly spread, with the first and the last; the last one alone.

    >>> _spread([0, 1, 2, 3, 4, 5, 6], 3), _spread([0, 1, 2], 1)
    ([0, 3, 6], [2])
    """
    if count == 1:
        return [values[-1]]
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.film", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the work directory of a run; several for a .png")
    parser.add_argument("--output", help="a .gif or .png file; default: film.gif in the work directory")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long a film takes; default: 8")
    parser.add_argument("--columns", type=int, default=6, help="pictures in a row, 1: the last; default: 6")
    parser.add_argument("--side", type=int, default=200, help="pixels of a picture in a row; default: 200")
    parser.add_argument("--labels", help="comma-separated names of the rows; default: those of the directories")
    return parser


if __name__ == "__main__":
    sys.exit(main())
