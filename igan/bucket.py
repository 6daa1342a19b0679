"""A work directory in a bucket, `--workdir=gs://my-bucket/run` or `s3://...`.

The run writes to a folder on its own disk, as every run does, and the folder is copied to the bucket every few seconds
and at the end. Of the bucket nothing is asked but to put, get, list and delete objects: no rename and no lock. A
checkpoint counts there once its `contents.json` is there, which is put after its other files and deleted before them;
the records up to it are put before it. So whenever the machine is lost, what is in the bucket can be gone on with.

Of several hosts each has such a folder, and the first one copies: it collects the whole state whenever it saves. Where
another host is lost the first one ends at once, and what it has not copied yet is played again.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import jax

from igan import hosts
from igan.errors import RunError, UserError, exit_code, one_line
from igan.store import Bucket

SECONDS_BETWEEN = 20.0
SECONDS_TO_ANSWER = 60.0  # Without credentials some libraries look for a cloud's machine, for minutes.
TRIES = 3
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
    is_first = jax.process_index() == 0
    with hosts.together():
        bucket = Bucket(url)
    folder = Path(tempfile.mkdtemp(prefix="igan-")) / "run"
    folder.mkdir()
    _shown[folder] = url
    stop = threading.Event()
    copying = threading.Thread(target=_keep_copying, args=(bucket, folder, stop, seconds), daemon=True)
    is_copied = True
    try:
        with hosts.together():  # The first one changes nothing there before all have what they go on with.
            _answered(url, bucket.take if is_first else bucket.is_mine)
            _pull(bucket, folder)
        if is_first:
            copying.start()
            is_copied = False
        yield folder
        _end(stop, copying)
        with hosts.together():  # None ends as if all were done before all is there.
            if is_first:
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
        if is_first:
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
