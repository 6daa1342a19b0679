"""Files that are whole or not there, whether a process is killed or a machine loses power."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Writes a file so that at any moment the old one or the whole new one is there.

    Raises OSError, and leaves the old one then.

    >>> replace(Path("summary.json"), b"{}")  # doctest: +SKIP
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(content)
        reach_disk(temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def reach_disk(path: Path) -> None:
    """Returns when what was written to a file or a folder is on the disk itself. Raises OSError.

    >>> reach_disk(Path.cwd())
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
