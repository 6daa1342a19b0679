"""Scores images that are anywhere, made by any program.

    python -m igan.metrics SAMPLES REAL                                   # two folders of images
    python -m igan.metrics samples.npz tfds:cifar10/train --scores=fid
    python -m igan.metrics SAMPLES --scores=inception_score --json

SAMPLES and REAL are folders, .npy or .npz files of uint8 images, or splits of tensorflow-datasets. Every number is
printed with its protocol. The weights of the Inception network come from `python -m igan.metrics.fetch`, or from
--weights=PATH; with those of a trunk there are distances of 768 features, and their names say so.
Exit codes: 0 done; 1 failed; 2 the command or the images are wrong.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from igan import cache
from igan.errors import UserError, exit_code
from igan.metrics import images, inception, weights
from igan.metrics.compute import SCORES, Settings, check_names, compute, notes
from igan.metrics.images import Images
from igan.metrics.inception_score import PROTOCOLS
from igan.metrics.resize import METHODS
from igan.metrics.score import Score
from igan.version import ShowVersion


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    cache.keep_compiled_programs(cache.compiled_programs())
    flags = {"--config.evaluation.inception_weights": "--weights", "--config.data.dir": "--data_dir"}
    return exit_code(lambda: show(_run(options), options.json), flags=flags)


def show(scores: Mapping[str, Score], as_json: bool) -> None:
    """Prints scores, a line each, or all of them as one JSON object."""
    if as_json:
        print(json.dumps({name: score._asdict() for name, score in scores.items()}, indent=2, ensure_ascii=False))
        return
    for name, score in scores.items():
        print(f"{name}: {score}")


def _run(options: argparse.Namespace) -> dict[str, Score]:
    # What was typed comes first, and the weights, which were perhaps never thought of, last.
    scores = [name.strip() for name in options.scores.split(",") if name.strip()]
    check_names(scores)
    inception.check_options(options.resize, options.precision)
    generated = open_images(options.samples, options.data_dir)
    reference = open_images(options.real, options.data_dir) if options.real else None
    network = inception.network(weights.load(options.weights), options.resize, options.precision)
    if reference and (sizes := [each.read(0, 1).shape[1:3] for each in (generated, reference)])[0] != sizes[1]:
        (height, width), (real_height, real_width) = sizes
        differ = f"{generated.name} is {width}x{height} and {reference.name} is {real_width}x{real_height}"
        print(f"note: {differ}: the distance between them is one of sharpness too", file=sys.stderr)
    if not scores:
        scores = ["inception_score"] if "logits_unbiased" in network.levels else []
        scores += ["fid", "kid", "precision_recall"] if reference else []
    if not scores:
        raise UserError(
            f"nothing to compute from one set and a part of the network: give a second set, or {weights.HOW_TO_FETCH}"
        )
    fields = {name: value for name, value in vars(options).items() if name in Settings._fields}
    with notes(lambda note: print(note, file=sys.stderr)):
        return compute(scores, generated, reference, network, Settings(**fields))


def open_images(address: str, data_directory: str = "") -> Images:
    """Opens a folder, an array file, or `tfds:NAME/SPLIT` with the split `train` or `test`.

    Raises:
      UserError: nothing there, or not images.
    """
    if not address:
        raise UserError("an empty name for images: give a folder, an .npy or .npz file, or tfds:NAME/SPLIT")
    if not address.startswith("tfds:"):
        return images.from_path(address)
    from igan.data import load  # Imported here because it is slow, and most users have folders.

    name, _, split = address.removeprefix("tfds:").rpartition("/")
    if split not in ("train", "test") or not name:
        raise UserError(f"'{address}' does not name a split: write tfds:cifar10/train or tfds:cifar10/test")
    dataset = load(name, "tfds", data_directory)
    array = dataset.train_images if split == "train" else dataset.test_images
    return images.from_array(f"{name} {split}", array)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("samples", help="the images to score")
    parser.add_argument("real", nargs="?", help="the images to compare them with")
    parser.add_argument("--scores", default="", help=f"comma-separated, of {', '.join(SCORES)}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--weights", type=Path, help="a .safetensors file of igan.metrics.fetch, or a trunk's .npz")
    parser.add_argument("--resize", default="tf1-bilinear", help=f"one of {', '.join(METHODS)}")
    parser.add_argument("--precision", default="float32", help=f"one of {', '.join(inception.PRECISIONS)}")
    parser.add_argument("--level", default="", help="features of the distances: 64, 192, 768, 1280 or 2048")
    parser.add_argument(
        "--inception_score_protocol",
        default="",
        help=f"one of {', '.join(PROTOCOLS)}; default: openai-is with 50,000 images or more, else ten-splits",
    )
    parser.add_argument("--shuffle_seed", type=int, help="shuffle before the splits; a must where classes are sorted")
    defaults = Settings()
    parser.add_argument("--kid_subsets", type=int, default=defaults.kid_subsets)
    parser.add_argument("--kid_subset_size", type=int, default=0, help="default: 1,000, or half of the images if fewer")
    for name in ("precision_recall_neighbours", "density_coverage_neighbours"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name), help="k")
    parser.add_argument("--batch_size", type=int, default=0, help="images on all devices at once; default: what fits")
    parser.add_argument("--data_dir", default="", help="where tensorflow-datasets keeps its data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
