"""Images of a run's averaged generator, from a checkpoint.

    python -m igan.sample --workdir=runs/cifar10                                   # 100 of them in one picture
    python -m igan.sample --workdir=runs/cifar10 --count=50000 --output=images.npz
    python -m igan.sample --workdir=runs/cifar10 --count=1000 --output=images/     # a file each

Image i is a pure function of the run's seed and of i, the one that scores look at. Exit codes: 0 done; 1 failed; 2 the
command is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from igan import cache
from igan.errors import RunError, UserError, exit_code
from igan.evaluate import restore
from igan.metrics.images import Images
from igan.reporting.grids import encode_png, image_grid
from igan.run import experiment, scoring, workdir

BATCH = 256
PICTURE = 10_000  # Images that one picture may hold.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    cache.keep_compiled_programs(cache.compiled_programs())
    return exit_code(lambda: run(options), flags={"--config.data.dir": "--data_dir"})


def run(options: argparse.Namespace) -> None:
    """Draws the images and writes them."""
    directory = Path(options.workdir).expanduser()
    output = Path(options.output or directory / "samples.png")
    if not (output.suffix in (".png", ".npz") or is_folder(output)):
        raise UserError(f"--output={output} is neither a .png nor an .npz file, nor a folder")
    if is_folder(output) and output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output={output} is not empty, and old images would count as new ones: give a new folder")
    config = workdir.load(directory)
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
    if options.data_dir is not None:
        config.data.dir = options.data_dir
    config.data.fingerprint = ""  # What is generated does not depend on the data.
    built = experiment.reopen(config)
    step, state = restore(directory, built, options.best)
    generated = scoring.make_draw(built)(state, options.replica, options.count)
    try:
        write(generated, built.dataset.space.shape[-1], output)
    except OSError as error:
        raise RunError(f"could not write {output}: {error.strerror or error}") from error
    print(f"{options.count:,} images at update {step:,} in {output}")


def is_folder(output: Path) -> bool:
    """Whether a path is one of a folder: without a suffix of letters, of which runs/lr0.001 has none."""
    return output.is_dir() or not output.suffix[1:].isalpha()


def write(images: Images, channels: int, output: Path) -> None:
    """Writes images into one picture (`.png`), an array uint8 [n, height, width, channels] (`.npz`), or a folder."""
    to_folder = is_folder(output)
    if to_folder:
        output.mkdir(parents=True, exist_ok=True)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    for start in track(range(0, images.count, BATCH), "Generating", console=Console(stderr=True)):
        pixels = images.read(start, min(start + BATCH, images.count))[..., :channels]
        if not to_folder:
            kept.append(pixels)
            continue
        for number, image in enumerate(pixels, start):
            (output / f"{number:06d}.png").write_bytes(encode_png(image[..., 0] if channels == 1 else image))
    if to_folder:
        return
    if output.suffix == ".npz":
        np.savez_compressed(output, images=np.concatenate(kept))
    else:
        columns = max(1, round(images.count**0.5))
        output.write_bytes(encode_png(image_grid(np.concatenate(kept), columns, (0, 255))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.sample", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the work directory of a run")
    parser.add_argument("--count", type=int, default=100, help="images; default: 100")
    parser.add_argument("--output", help="a .png or .npz file, or a folder; default: samples.png in the work directory")
    parser.add_argument("--replica", type=int, default=0, help="whose generator, of a run with several; default: 0")
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its data, if not where the run found them")
    parser.add_argument("--best", action="store_true", help="the checkpoint with the best score, not the newest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
