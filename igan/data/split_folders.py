"""Which sub-folders of an image folder are its splits, and which only look like it.

Taken for classes, they would give a data set of the two classes "train" and "test" without a word.

    train, training                          the images to train on; whatever the case
    test, testing, eval, evaluation          those to test on
    val, valid, validation, dev              the same, where there is none of the line above
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from igan.data import image_files
from igan.errors import UserError

KINDS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("val", "valid", "validation", "dev"),
}
EXPECTED = "expected either classes, or 'train' beside 'test' or 'val', and nothing else"


class Split(NamedTuple):
    """The names of the two folders of a split, and of one that is not used."""

    train: str
    test: str
    left_out: str = ""

    def describe(self) -> str:
        """Returns where the two parts come from, to be a part of a line.

        >>> Split("train", "test", "val").describe()
        "of the folders 'train' and 'test' (not used: 'val')"
        """
        unused = f" (not used: {self.left_out!r})" if self.left_out else ""
        return f"of the folders {self.train!r} and {self.test!r}{unused}"


def find(path: str, folders: Mapping[str, str]) -> Split | None:
    """Returns the split that the sub-folders of a folder are, or None where they are classes.

    Args:
      path: the folder.
      folders: name -> path of its sub-folders.

    Raises UserError where they look like splits and are not two that belong together.

    >>> find("mnist", {"Train": "mnist/Train", "Valid": "mnist/Valid"})
    Split(train='Train', test='Valid', left_out='')
    """
    if not any(map(_kind, folders)) and not _look_like_splits(list(folders)):
        return None
    by_kind = {kind: [name for name in folders if _kind(name) == kind] for kind in KINDS}
    for names in by_kind.values():
        if len(names) > 1:
            raise _not_understood(path, folders, f"{names[0]!r} and {names[1]!r} say the same: rename or remove one")
    train, test, validation = (names[0] if names else "" for names in by_kind.values())
    others = [name for name in folders if not _kind(name) and image_files.below(folders[name])]
    if train and (test or validation):
        if others:
            raise _not_understood(path, folders, f"rename or remove {others[0]!r}, which is no split")
        return Split(train, test, validation) if test else Split(train, validation)
    if test or validation:
        raise _not_understood(path, folders, f"there is no 'train' beside {test or validation!r}: add or rename it")
    # Beside other classes, a folder of images and no more may well be that of the trains.
    if train and (not others or image_files.entries(folders[train])[0]):
        whole = f"--config.data.name=folder:{folders[train]}, of which every tenth image is then for testing"
        raise _not_understood(path, folders, f"there is no 'test' beside {train!r}: add or rename it, or use {whole}")
    if _look_like_splits(others):
        raise _not_understood(path, folders, "rename them")
    return None


def check_classes(path: str, folders: Mapping[str, str], classes: Mapping[str, list[str]]) -> None:
    """Raises UserError where the folder of a class is split again: its test images would be trained on.

    Args:
      path: the folder that the classes lie in.
      folders: name -> path of the folders of the classes.
      classes: name -> paths of the images below them.

    >>> check_classes("sets", {"mnist": "sets/mnist"}, {"mnist": ["sets/mnist/7/1.png", "sets/mnist/7/2.png"]})
    """
    for name, folder in folders.items():
        inside = (file[len(folder) + 1 :].partition(os.sep) for file in classes[name])
        inner = sorted({first for first, separator, _ in inside if separator})
        if "train" in (kinds := {*map(_kind, inner)}) and kinds & {"test", "validation"}:
            hint = (
                f"use --config.data.name=folder:{folder}" if len(folders) == 1 else "put the splits above the classes"
            )
            raise UserError(f"{path}: the class folder {name!r} is split again, into {_listed(inner)}: {hint}")


def _kind(name: str) -> str:
    """Returns what a folder of this name is known to be for; "" for one of a class."""
    return next((kind for kind, known in KINDS.items() if name.lower() in known), "")


def _look_like_splits(names: list[str]) -> bool:
    """Whether most names hold the word of a split, as in train2017 beside val2017, or trainA beside testA."""
    words = [re.findall("[A-Z]?[a-z]+|[A-Z]+", name) for name in names]
    kinds = [next(filter(None, map(_kind, each)), "") for each in words]
    return "train" in kinds and len({*kinds} - {""}) > 1 and sum(map(bool, kinds)) >= len(names) / 2


def _not_understood(path: str, folders: Mapping[str, str], hint: str) -> UserError:
    found = _listed(list(folders))
    return UserError(f"{path} seems to be split by hand, but it is not clear how: it holds {found}, {EXPECTED}; {hint}")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
