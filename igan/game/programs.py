"""Programs that are compiled when they are called for, or ahead of that while the devices compute something else."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Programs:
    """Compiled programs by what is static in them, each compiled once: when it is called for, or ahead of that.

    >>> programs = Programs(lambda stage, updates: f"{stage} for {updates}")
    >>> programs.prepare("small", 50)  # Returns at once, whatever there is to compile.
    >>> programs("small", 50)
    'small for 50'
    """

    def __init__(self, compile: Callable[..., Any]) -> None:
        self._compile, self._lock = compile, threading.Lock()
        self._programs: dict[tuple[Any, ...], Future[Any]] = {}

    def prepare(self, *static: Any) -> None:
        """Begins to compile a program, in a thread of its own, unless it is there or on its way."""
        with self._lock:
            if static not in self._programs:
                worker = ThreadPoolExecutor(1, thread_name_prefix="igan-compile")
                self._programs[static] = worker.submit(self._compile, *static)
                worker.shutdown(wait=False)

    def __call__(self, *static: Any) -> Any:
        with self._lock:
            mine = static not in self._programs
            future = self._programs.setdefault(static, Future())
        if mine:
            try:
                future.set_result(self._compile(*static))
            except BaseException as error:
                future.set_exception(error)
                with self._lock:  # Whoever asks again may have more luck.
                    del self._programs[static]
        return future.result()
