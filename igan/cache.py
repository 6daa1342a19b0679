"""igan's folder for what can be made again: where it is, and files that are whole or not there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import jax

from igan.errors import UserError


def directory() -> Path:
    """Returns igan's cache: `$XDG_CACHE_HOME/igan`, else `~/.cache/igan`. It need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "igan")  # noqa: PTH111


def compiled_programs() -> str:
    """Returns where compiled programs are kept: `$JAX_COMPILATION_CACHE_DIR`, else a folder in igan's cache."""
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(directory() / "xla")


def keep_compiled_programs(folder: str) -> None:
    """Has JAX keep compiled programs on disk, so that a second start is quick."""
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Writes a file that is never seen half written.

    Raises UserError if the disk is full or the folder cannot be written to.

    >>> write(directory() / "greeting", lambda file: file.write(b"hello"))  # doctest: +SKIP
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
