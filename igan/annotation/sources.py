"""Sources of a study's images: what `igan.metrics` reads, and runs of igan, which are sampled on the spot."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igan import files
from igan.annotation.pool import Source
from igan.annotation.schema import is_study
from igan.errors import UserError
from igan.metrics import images
from igan.metrics.images import Images

RECORD = "studies.json"  # In the work directory of a run: paths of studies that are elsewhere, seen from there.


def open_real(address: str, data_directory: str = "") -> Source:
    """Returns real images from a folder, an array file, or a split of tensorflow-datasets.

    Raises UserError for what is not there or no images, and for a run, whose images are generated.
    """
    if is_run(address):
        raise UserError(f"--real={address} is a run of igan: give it as --generated={address}")
    opened = _open_images(address, data_directory)
    return Source("real", True, address, f"{opened.count:,} images of {opened.name}", opened)


def open_generated(text: str, count: int, data_directory: str = "") -> Source:
    """Returns generated images from `SOURCE` or `NAME=SOURCE`, where a run's work directory is a source too.

    Args:
      count: images to draw from a run.

    Raises UserError for what is not there or no images.
    """
    name, equals, address = text.partition("=")
    # Folders may have equals signs in their names, as those of sweeps do.
    if not equals or Path(text).expanduser().exists():
        name, address = "", text
    if is_run(address):
        opened, description, _ = sample_run(Path(address).expanduser(), count, data_directory)
    else:
        opened = _open_images(address, data_directory)
        description = f"{opened.count:,} images of {opened.name}"
    name = name or Path(address).expanduser().resolve().name or "generated"
    if name == "real" or not name.isprintable() or len(name) > 80:
        raise UserError(f"--generated={text}: give the generator another name, as --generated=mine={address}")
    return Source(name, False, address, description, opened)


def is_run(address: str) -> bool:
    """Whether an address is the work directory of a run of igan."""
    return (Path(address).expanduser() / "config.json").is_file()


def newest_run(folder: Path) -> Path:
    """Returns the run with the newest checkpoint in a folder.

    Raises UserError if there is none.
    """
    runs = [each.parent for each in folder.glob("*/checkpoints") if (each.parent / "config.json").is_file()]
    if not runs:
        raise UserError(
            f"there is no trained run in {folder}: give --real=IMAGES --generated=IMAGES, or train one first:"
            " python -m igan.main --config=experiments/mnist.py"
        )
    return max(runs, key=lambda run: (run / "checkpoints").stat().st_mtime)


def both_of_run(run: Path, count: int, data_directory: str = "") -> tuple[Source, Source]:
    """Returns a run's own data, test images where there are enough, and images of its generator."""
    generated, description, (train, test) = sample_run(run, count, data_directory, True)
    own = test if len(test) >= min(count, len(train)) or len(test) >= 1000 else train
    part = "test" if own is test else "training"
    data = images.from_array(f"{run.name}'s {part} images", own)
    return (
        Source("real", True, f"{run}: {part} images", f"{data.count:,} {part} images of the run's data", data),
        Source(run.name, False, str(run), description, generated),
    )


def sample_run(
    run: Path, count: int, data_directory: str = "", with_data: bool = False
) -> tuple[Images, str, tuple[np.ndarray, np.ndarray]]:
    """Returns images of a run's averaged generator, a description of them, and the run's data (train, test).

    Image i is the one that scores look at.

    Raises UserError for a run that has no checkpoint, or is not on images.
    """
    from igan.evaluate import restore  # With all of JAX, which folders of images do without.
    from igan.run import drawing, workdir

    built = drawing.reopen(workdir.load(run), data_directory or None, with_data)
    if (space := built.dataset.space).kind != "images":
        raise UserError(f"{run} is a run on {space.kind}, and people judge images")
    step, state = restore(run, built, best=False)
    none = np.zeros((0, *space.shape), np.uint8)
    data = (
        getattr(built.dataset, "train_images", none),  # Data that are streamed are not at hand.
        getattr(built.dataset, "test_images", none),
    )
    return drawing.make_draw(built)(state, 0, count), f"{run} at update {step:,}, averaged generator", data


def _open_images(address: str, data_directory: str) -> Images:
    from igan.metrics.__main__ import open_images  # With all of JAX.

    return open_images(address, data_directory)


def record_study(path: Path, sources: Sequence[Mapping[str, Any]]) -> None:
    """Writes into the work directory of each run among a study's sources where the study is; the report looks there."""
    for source in sources:
        run = Path(source["address"]).expanduser().resolve()
        if not source["real"] and is_run(source["address"]):
            there = os.path.relpath(path.resolve(), run)  # Both may move, together.
            known = [each for each in _recorded(run) if each != there]
            with contextlib.suppress(OSError):  # Runs may be archived where nobody can write; answers are not there.
                files.replace(run / RECORD, (json.dumps([*known, there], indent=2) + "\n").encode())


def find_studies(run: Path) -> list[Path]:
    """Returns the studies of a run that are there: those in its work directory, and those recorded there."""
    found = [*sorted(run.glob("*.db")), *(run.resolve() / each for each in _recorded(run))]
    return list(dict.fromkeys(each.resolve() for each in found if is_study(each)))


def _recorded(run: Path) -> list[str]:
    try:
        found = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
