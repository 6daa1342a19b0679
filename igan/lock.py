"""A file that one process at a time holds."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from igan.errors import UserError


@contextlib.contextmanager
def held(path: Path, busy: str) -> Iterator[int]:
    """Holds a lock file, which a dead process never does, and yields its file descriptor.

    Raises UserError if another process holds it (`busy` says what that means, with "{process}" for its number), or its
    folder cannot be made or written to.

    >>> with held(Path("runs/mnist/.lock"), "process {process} is at work there"):  # doctest: +SKIP
    ...     pass
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {error.strerror}; choose another --workdir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(busy.format(process=file.read().strip())) from None
        except OSError:
            pass  # A network file system without locks.
        if not path.exists():  # Who held it has removed it since it was opened: what is locked now keeps nobody out.
            raise UserError(f"another process has just ended in {path.parent}: try again")
        with contextlib.suppress(OSError):  # A full disk: the number is for people only.
            file.truncate(0)
            file.write(f"{os.getpid()}")
            file.flush()
        yield file.fileno()
