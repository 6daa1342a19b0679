"""The cache on disk: the folder, files that are whole or not there, and moments of reference sets.

Moments are found by a hash of the images' content and of the protocol, so a change of either is another file.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from igan.errors import UserError
from igan.metrics.frechet_distance import Moments


def directory() -> Path:
    """Returns igan's cache: `$XDG_CACHE_HOME/igan`, else `~/.cache/igan`. It need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "igan")  # noqa: PTH111


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Writes a file that is never seen half written.

    Raises:
      UserError: the disk is full or the folder cannot be written to.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            fill(file)
        Path(temporary).replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): set XDG_CACHE_HOME to another folder") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def read_moments(content: str, protocol: str) -> Moments | None:
    """Returns the cached moments of a set of images, or None.

    Args:
      content: a hash of the images.
      protocol: network, weights, resize, precision and level.

    Raises:
      UserError: the file holds moments of another protocol or other images.
    """
    path = _moments_path(content, protocol)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = Moments(int(archive["count"]), archive["mean"], archive["covariance"])
            origin = (str(archive["content"]), str(archive["protocol"]))
    except Exception:  # Missing or damaged in whatever way: it can be made again.
        return None
    if origin != (content, protocol):
        raise UserError(f"{path} holds moments of another protocol ('{origin[1]}', not '{protocol}'): delete that file")
    return found


def write_moments(content: str, protocol: str, moments: Moments) -> None:
    """Keeps moments for `read_moments`. A cache that cannot be written is no reason to stop."""
    arrays = moments._asdict() | {"content": content, "protocol": protocol}
    with contextlib.suppress(UserError):
        write(_moments_path(content, protocol), lambda file: np.savez(file, allow_pickle=False, **arrays))


def _moments_path(content: str, protocol: str) -> Path:
    name = hashlib.sha256(f"{content}\n{protocol}".encode()).hexdigest()[:32]
    return directory() / "moments" / f"{name}.npz"
