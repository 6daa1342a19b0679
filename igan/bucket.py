"""A work directory in a bucket, `--workdir=gs://my-bucket/run` or `s3://...`, of a run on one host.

The run writes to a folder on its own disk, as every run does, and the folder is copied to the bucket every few seconds
and at the end. Of the bucket nothing is asked but to put, get, list and delete objects: no rename and no lock. A
checkpoint counts there once its `contents.json` is there, which is put after its other files and deleted before them;
the records up to it are put before it. So whenever the machine is lost, what is in the bucket can be gone on with.

    python -m igan.bucket gs://my-bucket/run runs/run      copies a run to a folder, for igan.sample, igan.report, ...
"""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import fsspec

from igan.errors import RunError, UserError, exit_code, one_line

SECONDS_BETWEEN = 20.0
SECONDS_TO_ANSWER = 60.0  # Without credentials some libraries look for a cloud's machine, for minutes.
TRIES = 3
CONTENTS = "contents.json"  # As igan.run.checkpoint has it: the last file of a checkpoint.
OWNER = "owner"  # An object that says which process copies to a folder.
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs"}
_STEP = re.compile(r"[^/]+/\d+")
# What a process that was killed may have left, and what is of this machine alone.
_PASSING = re.compile(r"\.lock|.*\.(partial|deleting)|.*\.orbax-checkpoint-tmp.*|damaged_.*")
_T = TypeVar("_T")
_shown: dict[Path, str] = {}  # What people call the folders that are copies.


def is_url(text: str | os.PathLike[str]) -> bool:
    """Returns whether something names a bucket; a path that was made of such a name has lost a slash.

    >>> is_url("gs://my-bucket/run"), is_url(Path("s3://my-bucket/run")), is_url("runs/mnist")
    (True, True, False)
    """
    return re.match(r"[a-z][a-z0-9+]+:/", os.fspath(text)) is not None


def refuse(path: Path) -> None:
    """Raises UserError for a bucket where a command reads a folder, saying how to copy it."""
    if is_url(path):
        url = re.sub(":/+", "://", os.fspath(path), count=1)
        raise UserError(f"{url} is in a bucket: copy it first, python -m igan.bucket {url} runs/{path.name}")


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
        self._there: set[str] = set()  # Checkpoints that are whole in the bucket.
        self._mine = ""

    def pull(self, folder: Path) -> None:
        """Copies what is in the bucket to an empty folder, without what is left of checkpoints that are not whole."""
        names = [name for name in self._names() if name != OWNER]
        self._there = {name.removesuffix(f"/{CONTENTS}") for name in names if _is_contents(name)}
        for name in names:
            if _step(name) in (None, *self._there):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                self._store.get_file(f"{self._root}/{name}", str(folder / name))
                self._put[name] = _stamp(folder / name)

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
        found = (path.relative_to(folder).as_posix() for path in folder.glob(f"*/*/{CONTENTS}"))
        steps = {step for name in found if (step := _step(name))}
        # Records first: all up to a checkpoint are on the disk before it is.
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not _step(name) and not any(map(_PASSING.fullmatch, name.split("/"))):
                self._put_file(path, name)
        for step in sorted(steps - self._there, key=lambda step: int(step.rpartition("/")[2])):
            with suppress(FileNotFoundError):  # It was retired meanwhile.
                files = [path for path in sorted((folder / step).rglob("*")) if path.is_file()]
                for path in sorted(files, key=lambda path: path.name == CONTENTS):
                    self._put_file(path, path.relative_to(folder).as_posix())
                self._there.add(step)
        for step in self._there - steps:
            self._store.rm_file(f"{self._root}/{step}/{CONTENTS}")
            self._there.discard(step)
        for name in self._names():  # Of checkpoints that do not count any more, or never did.
            if _step(name) not in (None, *self._there):
                self._store.rm_file(f"{self._root}/{name}")

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


def _is_contents(name: str) -> bool:
    return _step(name) is not None and name == f"{_step(name)}/{CONTENTS}"


def _answered(url: str, ask: Callable[[], _T]) -> _T:
    """Returns what a bucket answers. Raises UserError if it refuses, or does not answer in time."""
    found: list[_T] = []
    errors: list[Exception] = []

    def wait() -> None:
        try:
            found.append(ask())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    if not found:
        error = errors[0] if errors else TimeoutError(f"no answer in {SECONDS_TO_ANSWER:.0f} s")
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"cannot use {url} ({reason}): check its name, the network and your credentials") from error
    return found[0]


@contextmanager
def mirrored(url: str, seconds: float = SECONDS_BETWEEN) -> Iterator[Path]:
    """Yields a folder with what a bucket holds, and copies it there every so many seconds and at the end.

    Raises UserError if the bucket cannot be used, and RunError if the last copy fails; then the folder is kept.

    >>> with mirrored("gs://my-bucket/run") as folder:  # doctest: +SKIP
    ...     train.run(config, folder)
    """
    bucket = Bucket(url)
    _answered(url, bucket.take)
    folder = Path(tempfile.mkdtemp(prefix="igan-")) / "run"
    folder.mkdir()
    _shown[folder] = url
    stop = threading.Event()
    copying = threading.Thread(target=_keep_copying, args=(bucket, folder, stop, seconds), daemon=True)
    is_copied = True
    try:
        _pull(bucket, folder)
        copying.start()
        is_copied = False
        yield folder
        _end(stop, copying)
        _push_at_last(bucket, folder)
        is_copied = True
    except BaseException as error:
        _end(stop, copying)
        if not is_copied:
            with suppress(Exception):  # The error under way matters more.
                bucket.push(folder)
                is_copied = True
        if is_copied and isinstance(error, UserError | RunError):
            raise type(error)(str(error).replace(str(folder), url)) from error
        raise
    finally:
        with suppress(Exception):
            bucket.release()
        if is_copied:
            shutil.rmtree(folder.parent, ignore_errors=True)


def shown(folder: Path) -> str:
    """Returns what a person calls a work directory: where it is a copy of a bucket, the bucket.

    >>> shown(Path("runs/mnist"))
    'runs/mnist'
    """
    return _shown.get(folder, str(folder))


def _pull(bucket: Bucket, folder: Path) -> None:
    try:
        bucket.pull(folder)
    except Exception as error:
        raise RunError(f"could not read {bucket.url}: {one_line(error)}") from error


def _end(stop: threading.Event, copying: threading.Thread) -> None:
    stop.set()
    if copying.is_alive():
        copying.join()


def _keep_copying(bucket: Bucket, folder: Path, stop: threading.Event, seconds: float) -> None:
    was_told = False
    while not stop.wait(seconds):
        try:
            bucket.push(folder)
            was_told = False
        except RunError:
            os.kill(os.getpid(), signal.SIGTERM)  # It saves, and says why at its end.
            return
        except Exception as error:  # The network may be back the next time.
            if not was_told:
                print(f"note: could not copy to {bucket.url}, trying again: {one_line(error)}", file=sys.stderr)
            was_told = True


def _push_at_last(bucket: Bucket, folder: Path) -> None:
    for left in reversed(range(TRIES)):
        try:
            bucket.push(folder)
            return
        except RunError:
            raise
        except Exception as error:
            if not left:
                raise RunError(f"could not copy to {bucket.url} ({one_line(error)}); the run is in {folder}") from error
            time.sleep(1)


def copy(url: str, folder: Path) -> None:
    """Copies the run in a bucket to a folder that is not there yet, or is empty.

    Raises UserError if there is none, or the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: give another folder, or remove it")
    bucket = Bucket(url)
    if not (names := _answered(url, bucket._names)):
        raise UserError(f"{url} holds nothing")
    folder.mkdir(parents=True, exist_ok=True)
    _pull(bucket, folder)
    print(f"{len(names):,} files of {url} in {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        "python -m igan.bucket", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="gs://... or s3://...")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    return exit_code(lambda: copy(options.url, options.folder))


if __name__ == "__main__":
    sys.exit(main())
