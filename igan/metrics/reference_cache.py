"""What is known of reference sets, moments or features, kept on disk.

It is found by a hash of the images' content and of the protocol, so a change of either is another file.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from igan import cache
from igan.errors import UserError

RECIPE = 1  # Part of the hash: raise it when the resizing or the network gives other features for the same label.


def read(kind: str, content: str, protocol: str) -> dict[str, np.ndarray] | None:
    """Returns the cached arrays of a set of images, or None.

    Args:
      kind: "moments" or "features".
      content: a hash of the images.
      protocol: network, weights, resize, precision and level.

    Raises:
      UserError: the file belongs to another protocol or other images.
    """
    path = _path(kind, content, protocol)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
            origin = (str(found.pop("content")), str(found.pop("protocol")))
    except Exception:  # Missing or damaged in whatever way: it can be made again.
        return None
    if origin != (content, protocol):
        raise UserError(f"{path} holds {kind} of another protocol ('{origin[1]}', not '{protocol}'): delete that file")
    return found


def write(kind: str, content: str, protocol: str, arrays: Mapping[str, np.ndarray | int]) -> None:
    """Keeps arrays for `read`. A cache that cannot be written is no reason to stop."""
    entries = {**arrays, "content": content, "protocol": protocol}
    with contextlib.suppress(UserError):
        cache.write(_path(kind, content, protocol), lambda file: np.savez(file, allow_pickle=False, **entries))


def _path(kind: str, content: str, protocol: str) -> Path:
    name = hashlib.sha256(f"{content}\n{protocol}\n{RECIPE}".encode()).hexdigest()[:32]
    return cache.directory() / kind / f"{name}.npz"
