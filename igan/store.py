"""A folder in a bucket, and what is put there and deleted in which order. `igan.bucket` uses it.

Of the bucket nothing is asked but to put, get, list and delete objects.
"""

import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import fsspec

from igan.errors import RunError, UserError, one_line

CONTENTS = "contents.json"  # As igan.run.checkpoint has it: the last file of a checkpoint.
OWNER = "owner"  # An object that says which process copies to a folder.
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs"}
_STEP = re.compile(r"[^/]+/\d+")
# What a process that was killed may have left, and what is of this machine alone.
_PASSING = re.compile(r"\.lock|.*\.(partial|deleting)|.*\.orbax-checkpoint-tmp.*|damaged_.*")


class Bucket:
    """A folder in a bucket. Raises UserError where it cannot be reached: package, credentials, name."""

    def __init__(self, url: str) -> None:
        self.url = url
        scheme = url.partition("://")[0]
        try:
            # Others write there as well: what was listed once may have changed.
            self._store, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise UserError(f"--workdir={url} needs a package: pip install {PACKAGES.get(scheme, scheme)}") from error
        except ValueError as error:
            raise UserError(f"--workdir={url}: {one_line(error)}; expected a folder, gs://... or s3://...") from error
        self._root = root.rstrip("/")
        self._put: dict[str, tuple[int, int]] = {}  # By name: time and size of the file that was copied last.
        self._there: dict[str, tuple[int, int]] = {}  # Whole checkpoints there: the stamp of their contents.
        self._mine = ""

    def pull(self, folder: Path) -> None:
        """Copies what is in the bucket to an empty folder, without what is left of checkpoints that are not whole."""
        names = [name for name in self._names() if name != OWNER]
        whole = {name.removesuffix(f"/{CONTENTS}") for name in names if _is_contents(name)}
        for name in names:
            if _step(name) in (None, *whole):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                self._store.get_file(f"{self._root}/{name}", str(folder / name))
                self._put[name] = _stamp(folder / name)
        self._there = {step: self._put[f"{step}/{CONTENTS}"] for step in whole}

    def take(self) -> None:
        """Makes this process the one that copies to the bucket; whoever did so before finds out and stops."""
        self._mine = uuid.uuid4().hex
        self._store.pipe_file(f"{self._root}/{OWNER}", self._mine.encode())

    def release(self) -> None:
        """Undoes `take`."""
        if self.is_mine():
            self._store.rm_file(f"{self._root}/{OWNER}")

    def is_mine(self) -> bool:
        try:
            return self._store.cat_file(f"{self._root}/{OWNER}").decode() == self._mine
        except FileNotFoundError:
            return False

    def push(self, folder: Path) -> None:
        """Copies what has changed in a folder, so that at any moment what is in the bucket can be gone on with.

        Raises RunError if another process has taken over, and what the store raises if it cannot be reached.
        """
        if not self.is_mine():
            raise RunError(f"another run has taken over {self.url}; the files of this one are in {folder}")
        paths = {path.relative_to(folder).as_posix(): path for path in folder.glob(f"*/*/{CONTENTS}")}
        steps = {step: _stamp(path) for name, path in paths.items() if (step := _step(name))}
        # What the run has gone back from, or played anew, does not count under the records of what it plays now.
        for step in [step for step, stamp in self._there.items() if _is_undone(step, stamp, steps)]:
            self._forget(step)
        self._sweep()
        # Records first: all up to a checkpoint are on the disk before it is.
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not _step(name) and not any(map(_PASSING.fullmatch, name.split("/"))):
                self._put_file(path, name)
        for step in sorted(steps.keys() - self._there, key=_number):
            with suppress(FileNotFoundError):  # It was retired meanwhile.
                files = [path for path in sorted((folder / step).rglob("*")) if path.is_file()]
                for path in sorted(files, key=lambda path: path.name == CONTENTS):
                    self._put_file(path, path.relative_to(folder).as_posix())
                self._there[step] = steps[step]
        if retired := self._there.keys() - steps:
            for step in retired:
                self._forget(step)
            self._sweep()

    def _forget(self, step: str) -> None:
        self._remove(f"{step}/{CONTENTS}")
        del self._there[step]

    def _sweep(self) -> None:
        """Removes files of checkpoints that do not count any more, or never did."""
        for name in self._names():
            if _step(name) not in (None, *self._there):
                self._remove(name)

    def _remove(self, name: str) -> None:
        self._store.rm_file(f"{self._root}/{name}")
        self._put.pop(name, None)

    def _put_file(self, path: Path, name: str) -> None:
        stamp = _stamp(path)
        if self._put.get(name) != stamp:
            self._store.put_file(str(path), f"{self._root}/{name}")
            self._put[name] = stamp

    def _names(self) -> list[str]:
        return [name[len(self._root) :].lstrip("/") for name in self._store.find(self._root)]


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _step(name: str) -> str | None:
    """Returns the checkpoint that a file is of.

    >>> _step("best/600/d/0"), _step("samples/step_00000600.png")
    ('best/600', None)
    """
    found = _STEP.match(name)
    return found[0] if found and name.startswith(f"{found[0]}/") else None


def _number(step: str) -> int:
    return int(step.rpartition("/")[2])


def _is_undone(step: str, stamp: tuple[int, int], steps: Mapping[str, tuple[int, int]]) -> bool:
    """Returns whether a checkpoint that was copied is another one by now, or was set aside; not so if it was retired.

    >>> _is_undone("checkpoints/3", (1, 1), {"checkpoints/2": (0, 1)}), _is_undone("a/3", (1, 1), {"a/4": (2, 1)})
    (True, False)
    """
    if step in steps:
        return steps[step] != stamp
    folder = step.rpartition("/")[0]
    return not any(each.rpartition("/")[0] == folder and _number(each) > _number(step) for each in steps)


def _is_contents(name: str) -> bool:
    return _step(name) is not None and name == f"{_step(name)}/{CONTENTS}"
