"""Images of a run's averaged generator, from a checkpoint.

    python -m igan.sample --workdir=runs/cifar10                                   # 100 of them in one picture
    python -m igan.sample --workdir=runs/cifar10 --count=50000 --output=images.npz
    python -m igan.sample --workdir=runs/cifar10 --count=1000 --output=images/     # a file each
    python -m igan.sample --workdir=runs/biggan --class=3 --truncation=0.5         # of networks that have such
    python -m igan.sample --workdir=runs/biggan --class=all                        # a row for each class: classes.png
    python -m igan.sample --workdir=runs/stylegan --psi=0.7 --psi_layers=8         # of networks that have styles
    python -m igan.sample --workdir=runs/cifar10 --interpolate                     # rows: interpolations.png
    python -m igan.sample --workdir=runs/cifar10 --nearest --count=8               # learnt by heart? nearest.png

Image i is a pure function of the run's seed and of i, the one that scores look at. Several hosts that are given the
same command with --hosts draw a part each, and the first one writes. Exit codes: 0 done; 1 failed; 2 the command is
wrong.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from igan import hosts, memory, writing
from igan.config import Config
from igan.errors import RunError, UserError
from igan.evaluate import add_hosts, add_sampling_options, code_of, on_all_hosts, remark, restore, sampling_options
from igan.metrics.images import Images, read_once
from igan.run import drawing, workdir
from igan.run.experiment import Experiment
from igan.types import GameState
from igan.version import ShowVersion

PICTURE = 10_000  # Images that one picture may hold.
MOST = 2**31 - 1  # Images: each has a number of its own in 32 bits.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return code_of(_parser().parse_args(arguments), lambda options: on_all_hosts(options, run))


def run(options: argparse.Namespace) -> None:
    """Draws the images and writes them."""
    directory = Path(options.workdir).expanduser()
    output = check(options, directory)
    with hosts.together():
        config, built, classes, draw = prepare(options, directory, output)
        step, state = restore(directory, built, options.best)
    drawn, columns = drawing.dealt(draw(state, options.replica, options.count)), options.interpolate or 0
    if len(classes) > 1 and output.suffix == ".png" and not columns:
        drawn, columns = class_by_class(drawn, len(classes)), options.count // len(classes)
    if jax.process_index():
        writing.follow(drawn)
        return
    try:
        if options.nearest:
            memory.write(config, built, drawn, output)
        else:
            writing.write(drawn, built.dataset.space.shape[-1], output, columns)
    except OSError as error:
        raise RunError(f"could not write {output}: {error.strerror or error}") from error
    print(f"{options.count:,} images at update {step:,} in {output}")


def prepare(
    options: argparse.Namespace, directory: Path, output: Path
) -> tuple[Config, Experiment, Sequence[int], Callable[[GameState, int, int], Images]]:
    """Returns the config, the experiment, the classes that are asked for, and what draws their images.

    Raises UserError where the command is wrong.
    """
    config = workdir.load(directory)
    if options.count is None:
        options.count = 10 if options.nearest else 100
    if options.count < 1 or not 0 <= options.replica < config.replicas:
        raise UserError(
            f"--count={options.count} --replica={options.replica}: expected a count of at least 1, and a replica"
            f" from 0 to {config.replicas - 1}"
        )
    if output.suffix == ".png" and options.count > PICTURE:
        raise UserError(
            f"--count={options.count:,} is too many for one picture, which holds {PICTURE:,}: give --output=FOLDER or"
            " --output=FILE.npz"
        )
    built = drawing.reopen(config, options.data_dir, with_data=options.nearest)
    if (space := built.dataset.space).kind != "images":
        raise UserError(f"{directory} is a run on {space.kind}, and images are what igan.sample writes")
    classes = classes_of(options.classes, built.game.networks.classes)
    draw = drawing.make_draw(built, sampling_options(options), classes, options.interpolate or 0)
    if row := options.interpolate or (len(classes) if len(classes) > 1 and output.suffix == ".png" else 0):
        options.count = -(-options.count // row) * row  # Whole rows, or as many of each class.
    announce(options.count, space.shape, output)
    return config, built, classes, draw


def check(options: argparse.Namespace, directory: Path) -> Path:
    """Returns where the images go.

    Raises UserError for what cannot be written there, and for rows that are none.
    """
    name = "samples"
    if options.nearest or options.interpolate:
        name = "nearest" if options.nearest else "interpolations"
    elif options.classes and (options.classes == "all" or "," in options.classes):
        name = "classes"
    output = Path(options.output or directory / f"{name}.png")
    if options.nearest and (options.interpolate or output.suffix != ".png"):
        raise UserError("--nearest is a picture of samples: give --output=FILE.png, and leave --interpolate out")
    if options.nearest and jax.process_count() > 1:
        raise UserError("--nearest looks at the training images of one host: leave --hosts out")
    if options.interpolate is not None and not 2 <= options.interpolate <= 100:
        raise UserError(f"--interpolate={options.interpolate}: expected 2 to 100 images a row, or --interpolate for 10")
    if not (output.suffix in (".png", ".npz") or writing.is_folder(output)):
        raise UserError(f"--output={output} is neither a .png nor an .npz file, nor a folder")
    if writing.is_folder(output) and output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output={output} is not empty, and old images would count as new ones: give a new folder")
    return output


def class_by_class(images: Images, classes: int) -> Images:
    """Returns images that are dealt to classes in turn in the order of their classes: a row each, in a picture."""
    once = read_once(images)
    order = np.arange(images.count).reshape(-1, classes).T.ravel()
    return images._replace(read=lambda start, stop: once.read(0, images.count)[order[start:stop]])


def classes_of(text: str | None, known: int) -> Sequence[int]:
    """Returns the labels that --class asks for: numbers, or all there are.

    >>> classes_of("3,1", known=10), classes_of("all", known=2), classes_of(None, known=10)
    ([3, 1], range(0, 2), [])

    Raises UserError for anything else.
    """
    if text is None:
        return []
    if text == "all":
        return range(known) or [0]
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise UserError(f"--class={text}: expected the number of a class, several with commas between them, or all")
    return [int(part) for part in text.split(",")]


def announce(count: int, shape: tuple[int, ...], output: Path) -> None:
    """Says how many images will be written and how much they take.

    Raises UserError if that does not fit on the disk.

    >>> announce(1000, (28, 28, 1), Path("images.npz"))
    """
    needed = writing.size(count, shape, output)
    writing.check_room(output, needed)
    if count > MOST:
        raise UserError(f"--count={count:,}: expected at most {MOST:,}")
    height, width, channels = shape
    remark(
        f"{count:,} images of {width} x {height} pixels and {channels} channel(s), at most"
        f" {writing.in_bytes(needed)} in {output}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.sample", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the work directory of a run")
    parser.add_argument("--count", type=int, help="images; default: 100, or 10 with --nearest; whole rows of a picture")
    parser.add_argument("--output", help="a .png or .npz file, or a folder; default: samples.png in the work directory")
    parser.add_argument(
        "--interpolate", type=int, nargs="?", const=10, metavar="N", help="rows of N images from one to another"
    )
    parser.add_argument("--nearest", action="store_true", help="beside each image its nearest training images")
    parser.add_argument("--replica", type=int, default=0, help="whose generator, of a run with several; default: 0")
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its data, if not where the run found them")
    parser.add_argument("--class", dest="classes", metavar="CLASS", help="a number, several like 3,5, or all; by turns")
    add_sampling_options(parser)
    parser.add_argument("--best", action="store_true", help="the checkpoint with the best score, not the newest")
    add_hosts(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
