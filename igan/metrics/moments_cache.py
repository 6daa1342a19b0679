"""Moments of reference sets, kept on disk.

They are found by a hash of the images' content and of the protocol, so a change of either is another file.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from igan import cache
from igan.errors import UserError
from igan.metrics.frechet_distance import Moments


def read(content: str, protocol: str) -> Moments | None:
    """Returns the cached moments of a set of images, or None.

    Args:
      content: a hash of the images.
      protocol: network, weights, resize, precision and level.

    Raises:
      UserError: the file holds moments of another protocol or other images.
    """
    path = _path(content, protocol)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = Moments(int(archive["count"]), archive["mean"], archive["covariance"])
            origin = (str(archive["content"]), str(archive["protocol"]))
    except Exception:  # Missing or damaged in whatever way: it can be made again.
        return None
    if origin != (content, protocol):
        raise UserError(f"{path} holds moments of another protocol ('{origin[1]}', not '{protocol}'): delete that file")
    return found


def write(content: str, protocol: str, moments: Moments) -> None:
    """Keeps moments for `read`. A cache that cannot be written is no reason to stop."""
    arrays = moments._asdict() | {"content": content, "protocol": protocol}
    with contextlib.suppress(UserError):
        cache.write(_path(content, protocol), lambda file: np.savez(file, allow_pickle=False, **arrays))


def _path(content: str, protocol: str) -> Path:
    name = hashlib.sha256(f"{content}\n{protocol}".encode()).hexdigest()[:32]
    return cache.directory() / "moments" / f"{name}.npz"
