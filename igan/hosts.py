"""One run on several hosts: each plays the same updates on its own devices, and the first one writes them down.

There is one process a host (or a GPU), and what is computed on all devices must be asked for by all processes, in the
same order. So every host runs the whole of igan.run.train; what the others write and print goes nowhere.
"""

import contextlib
import json
import os
import pickle
import re
import secrets
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from igan.errors import RunError, UserError, one_line, tell

FOUND = "auto"
SECONDS_TO_JOIN = 300
SECONDS_TO_SEE = 60  # What another host has written: clients of NFS look for new files twice a minute at least.
Result = TypeVar("Result")


def join(where: str) -> None:
    """Joins the processes of a run, before anything else is asked of JAX. It waits until all have come.

    Args:
      where: "auto" where JAX finds out by itself: on a TPU pod, under srun or mpirun. "ADDRESS:PORT,COUNT,NUMBER"
        elsewhere: where process 0 can be reached, how many there are, and which one this is.

    Raises UserError if that cannot be understood or does not work. JAX ends the process if not all of them come within
    five minutes.

    >>> join("10.0.0.1:1234,2,0")  # doctest: +SKIP
    """
    arguments: dict[str, Any] = {}
    if where != FOUND:
        parts = re.fullmatch(r"([^,\s]+:\d{1,5}),(\d{1,6}),(\d{1,6})", where)
        address, count, number = parts.groups() if parts else ("", 0, 0)
        if not int(number) < int(count):
            raise UserError(f"--hosts={where}: expected 'auto', or ADDRESS:PORT,COUNT,NUMBER such as 10.0.0.1:1234,2,0")
        arguments = {"coordinator_address": address, "num_processes": int(count), "process_id": int(number)}
        arguments["cluster_detection_method"] = "deactivate"
    print(f"--hosts={where}: waiting for all of them, at most {SECONDS_TO_JOIN} s", flush=True)
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=SECONDS_TO_JOIN)
    except (ValueError, RuntimeError) as error:
        nothing_found = "no TPU pod, srun or mpirun is here; give ADDRESS:PORT,COUNT,NUMBER"
        reason = nothing_found if where == FOUND else one_line(error)
        raise UserError(f"--hosts={where}: cannot join: {reason}") from error


@contextlib.contextmanager
def records(directory: Path) -> Iterator[Path]:
    """Yields the folder for a run's records: `directory` for the first host, a copy that is thrown away for others.

    What the others print is thrown away as well, but for errors. All of them find what an earlier session has recorded.
    """
    with quiet(), contextlib.ExitStack() as stack:
        folder = directory
        if jax.process_index():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="igan-")))
            for name in ("config.json", "metrics.jsonl"):
                with contextlib.suppress(OSError):  # The first one says what is wrong with it.
                    shutil.copy(directory / name, folder)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("records")  # The first one changes nothing before all have copied it.
        yield folder


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Throws away what is printed on all hosts but the first, but for errors."""
    with contextlib.ExitStack() as stack:
        if jax.process_index():
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Goes on where all hosts came through the block; where one could not, it says why and the others end too.

    Raises RunError on those that did come through.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        if jax.process_count() > 1:
            everyone = np.flatnonzero(multihost_utils.process_allgather(np.array(failed)))
            if len(everyone) and not failed:
                raise RunError(f"host {everyone[0]} could not begin; what it printed says why")


def share(work: Callable[[], Result]) -> list[Result]:
    """Returns what each host makes of its part of some work; where that is an error of one of them, all raise it.

    Results travel as they are: float64 stays float64.

    >>> share(lambda: 1.5)  # On one host.
    [1.5]
    """
    if jax.process_count() == 1:
        return [work()]
    outcome: tuple[Any, Exception | None]
    try:
        outcome = (work(), None)
    except (UserError, RunError, OSError) as error:
        outcome = (None, error)
    content = np.frombuffer(pickle.dumps(outcome), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.array(len(content), np.uint32)))
    everyone = multihost_utils.process_allgather(np.pad(content, (0, int(sizes.max()) - len(content))))
    found = [pickle.loads(each[:size].tobytes()) for each, size in zip(everyone, sizes, strict=True)]
    for _, error in found:
        if error is not None:
            raise error
    return [result for result, _ in found]


def check_sees(directory: Path) -> None:
    """Raises UserError on all hosts unless each sees what the first one writes into a directory, which is there."""
    if jax.process_count() == 1:
        return
    mark = directory / share(lambda: f".seen-{secrets.token_hex(8)}")[0]
    is_first = jax.process_index() == 0
    share(mark.touch if is_first else lambda: None)
    sees = share(lambda: is_first or _appears(mark))
    if is_first:
        mark.unlink(missing_ok=True)
    if not all(sees):
        raise UserError(
            f"--workdir={directory} is on a disk that host {sees.index(False)} does not see: choose a folder that all"
            " hosts share, as on a network file system"
        )


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + SECONDS_TO_SEE
    while not (found := path.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def check_same(**things: Any) -> None:
    """Raises UserError on all hosts if they do not agree on something, given by name and made of what JSON knows."""
    if jax.process_count() > 1:
        digests = [zlib.crc32(json.dumps(thing, sort_keys=True).encode()) for thing in things.values()]
        everyone = multihost_utils.process_allgather(np.array(digests, np.uint32))
        for name, values in zip(things, np.transpose(everyone), strict=True):
            if len(np.unique(values)) > 1:
                raise UserError(f"the hosts differ in {name}: start all of them with the same command and data")


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Where one of several hosts fails, ends its process at once, so that the others end too instead of waiting for it.

    Nothing is tidied up, because that would wait for the others. What is on disk stays valid, as after a kill.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        if isinstance(error, jax.errors.JaxRuntimeError):
            error = RunError(
                "another host is gone, or a device failed; the same command on all hosts goes on from the last"
                f" checkpoint: {one_line(error)}"
            )
        code = 1
        if isinstance(error, UserError | RunError):
            code = tell(error)
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Copies arrays that every host has whole to the devices; each host copies what its own devices need."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def one(array: Any) -> jax.Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(one, tree)


def put_nothing(tree: Any, sharding: NamedSharding) -> Any:
    """Returns the shapes of what `put` returns, for devices that are not here."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def rows(sharding: NamedSharding, count: int) -> range:
    """Returns which of `count` rows the devices of this host hold, of an array whose rows are split by `sharding`."""
    indices = sharding.addressable_devices_indices_map((count,)).values()
    bounds = [index[0].indices(count)[:2] for index in indices if index]
    return range(min(start for start, _ in bounds), max(stop for _, stop in bounds))


def pick(tree: Any, index: int) -> Any:
    """Returns one entry along the leading axis of arrays of a mesh, on a device of every host that takes part."""

    def entry(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[index], tree)

    if jax.process_count() == 1:
        return entry(tree)
    mesh = jax.tree.leaves(tree)[0].sharding.mesh
    found = jax.jit(entry, out_shardings=NamedSharding(mesh, PartitionSpec()))(tree)
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), found)


def gather(tree: Any) -> Any:
    """Returns arrays of a mesh as ones that every host can fetch, without waiting for them."""

    def one(array: jax.Array) -> jax.Array:
        if array.is_fully_addressable or array.is_fully_replicated:
            return array
        assert isinstance(array.sharding, NamedSharding)
        return jax.device_put(array, NamedSharding(array.sharding.mesh, PartitionSpec()))

    return jax.tree.map(one, tree)
