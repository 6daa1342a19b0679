"""The one writer of a study: a thread that commits all jobs that wait in one transaction."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import apsw

from igan.annotation import schema, store
from igan.errors import RunError

MOST_AT_ONCE = 256
Result = TypeVar("Result")
Job = Callable[[apsw.Connection], Any]


class Writer:
    """Runs functions of a connection, each whole or not at all, and returns once the disk has what they wrote."""

    def __init__(self, path: Path) -> None:
        self._path, self._connection = path, schema.connect(path)
        self._identity = _identity(path)
        self._deleted = store.deleted(self._connection)
        self._jobs: queue.SimpleQueue[tuple[Job, Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[apsw.Connection], Result]) -> Result:
        """Returns what a job returns, when it is committed.

        Raises RunError if it could not be stored, and what the job raises; in both cases nothing of it is stored.
        """
        future: Future[Result] = Future()
        self._jobs.put((job, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finishes the jobs that wait and closes the file."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            with contextlib.suppress(queue.Empty):
                while len(jobs) < MOST_AT_ONCE and jobs[-1] is not None:
                    jobs.append(self._jobs.get_nowait())
            self._commit([job for job in jobs if job is not None])
            if jobs[-1] is None:
                if store.deleted(self._connection) != self._deleted:
                    schema.compact(self._connection)
                self._connection.close()
                return

    def _commit(self, jobs: list[tuple[Job, Future]]) -> None:
        done: list[tuple[Future, Any, BaseException | None]] = []
        try:
            if _identity(self._path) != self._identity:  # SQLite would go on in a file that nobody finds again.
                raise RunError(f"{self._path} was replaced while it was served")
            with schema.writing(self._connection):
                for job, future in jobs:
                    done.append((future, *self._attempt(job)))
        except BaseException as error:  # The disk is full, say. Whoever waits must be told.
            reason = RunError(f"not stored: {error}")
            done = [(future, None, reason) for _, future in jobs]
        for future, result, error in done:
            if future.set_running_or_notify_cancel():  # A request that was given up may have been cancelled.
                future.set_exception(error) if error else future.set_result(result)

    def _attempt(self, job: Job) -> tuple[Any, BaseException | None]:
        self._connection.execute("SAVEPOINT job")
        try:
            result = job(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # Some errors, as of a full disk, end the whole transaction.
            self._connection.execute("ROLLBACK TO job; RELEASE job")
            return None, RunError(f"not stored: {error}") if isinstance(error, apsw.Error) else error
        self._connection.execute("RELEASE job")
        return result, None


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
