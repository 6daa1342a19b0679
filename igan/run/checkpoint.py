"""Orbax, wrapped once: a training state goes to disk and comes back bit for bit, or one line says why not.

`<directory>/<step>/` is one checkpoint. Beside them may lie `damaged_<step>/`, set aside and never touched again, and,
while a save or a removal is under way, folders with `_TEMPORARY` names, which the next start sweeps away.
"""

import contextlib
import errno
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from igan import files, hosts
from igan.errors import RunError, UserError, one_line
from igan.run import orbax_log
from igan.run.leaves import State, arrays_by_name, described, rebuild, specs_by_name
from igan.types import Array

_TEMPORARY = re.compile(r"\d+\.(orbax-checkpoint-tmp.*|deleting)")
# {"arrays": {name: dtype and shape}, "files": {path: SHA-256 of its bytes}}
_CONTENTS = "contents.json"
_DISK_FULL = ("No space left on device", "File too large", "Disk quota exceeded")


class _UnusableError(Exception):
    """What is wrong with one checkpoint; an older one may do."""


class Checkpoints:
    """The checkpoints of one run, the newest `keep` of them.

    `note` receives one line whenever something was found that a person should know; it prints to stderr by default.
    With `read_only` nothing on disk is changed: that is how another process looks at a training that is going on. With
    `own_disks` several hosts have a folder each: the first one writes whole states, and at the start all have the same.

    >>> with Checkpoints(workdir / "checkpoints", keep=3) as checkpoints:
    ...     found = checkpoints.restore_latest(like=state)
    ...     start, state = found if found else (0, state)
    ...     checkpoints.save(600, state)  # Returns at once; `state` may be donated to the next step.

    Raises UserError if `keep` is below 2 or the directory cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        keep: int,
        note: Callable[[str], object] | None = None,
        read_only: bool = False,
        own_disks: bool = False,
    ) -> None:
        if keep < 2:
            raise UserError(f"{keep} checkpoints to keep are too few: expected 2 or more, as one may get damaged.")
        self._directory, self._keep, self._read_only = Path(directory).absolute(), keep, read_only
        self._note = note or (lambda line: print(line, file=sys.stderr, flush=True))
        self._own_disks = own_disks and jax.process_count() > 1
        self._saving: int | None = None
        self._contents: dict[str, dict[str, Any]] = {}
        orbax_log.silence()
        # Orbax calls back just before the rename that makes a checkpoint count: there is none without its contents.
        options = ocp.AsyncOptions(post_finalization_callback=self._write_contents)
        here = jax.process_index()
        alone = {"primary_host": here, "active_processes": {here}, "barrier_sync_key_prefix": f"host{here}"}
        processes = ocp.options.MultiprocessingOptions(**(alone if self._own_disks else {}))
        # Orbax would have every device write its part of what is replicated: a compilation for every shape.
        arrays = ocp.type_handlers.ArrayHandler(use_replica_parallel=False)
        types = ocp.type_handlers.create_type_handler_registry(
            (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
        )
        handler = ocp.PyTreeCheckpointHandler(type_handler_registry=types, multiprocessing_options=processes)
        self._orbax = ocp.AsyncCheckpointer(handler, async_options=options, multiprocessing_options=processes)
        if not read_only:
            _make_writable(self._directory)
            self._on_one_process(self._remove_temporary_folders)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.wait()
        except RunError as error:
            if kind is None:
                raise
            self._note(str(error))  # The exception under way matters more.
        finally:
            self._orbax.close()

    def steps(self) -> list[int]:
        """Returns the steps whose checkpoints are complete on disk, in ascending order."""
        if not self._directory.is_dir():
            return []
        return sorted(int(path.name) for path in self._directory.iterdir() if re.fullmatch(r"\d+", path.name))

    def save(self, step: int, state: State) -> None:
        """Starts to write `state` as the checkpoint of `step`, once the save before it is on disk.

        When this returns, the values have left the state's buffers or are protected: the caller may donate them. A step
        that is on disk already is not written again, because a run is a pure function of its step.

        Raises RunError if the save before this one, or the start of this one, failed (see `wait`).
        """
        self.wait()
        is_there = step in self.steps()
        if hosts.share(lambda: is_there)[0] if self._own_disks else is_there:
            return
        # Nothing is being written now; what is left of a failed save may have come after it was swept.
        self._on_one_process(self._remove_temporary_folders)
        arrays = arrays_by_name(state)
        if self._own_disks:
            arrays = {name: np.asarray(hosts.gather(array).addressable_data(0)) for name, array in arrays.items()}
            if jax.process_index():
                return
        self._saving, self._contents = step, {"arrays": described(arrays)}
        try:
            self._orbax.save(self._directory / str(step), args=ocp.args.PyTreeSave(arrays))
        except Exception as error:
            self._fail(error)

    def wait(self) -> None:
        """Blocks until all saves are on disk, then removes all but the newest `keep` checkpoints.

        Raises RunError with one line if the save failed: which step, where, why, how much room there is, and which
        steps are still valid. What was written of it is removed; the checkpoints before it are untouched.
        """
        if self._saving is None:
            return
        try:
            self._orbax.wait_until_finished()
        except Exception as error:
            self._fail(error)
        self._saving = None
        self._on_one_process(lambda: _remove_all(self._retire(step) for step in self.steps()[: -self._keep]))

    def restore_latest(self, like: State) -> tuple[int, State] | None:
        """Returns (step, state) of the newest checkpoint that is whole and fits, or None where there is none at all.

        `like` is a pytree of the saved structure: arrays, or `jax.ShapeDtypeStruct`s, whose shardings the restored
        arrays get (the default device without one). Unusable checkpoints that are newer than the one returned are named
        through `note` and renamed to `damaged_<step>`.

        Raises RunError if there are checkpoints and not one can be used (nothing is renamed then: a second start must
        not train from the beginning without a word), or if a sound one cannot be read, for lack of memory say.
        """
        self.wait()
        wanted = specs_by_name(like)
        found = self._restore_newest(wanted)
        if self._own_disks:
            hosts.check_same(checkpoints=found and found[0])
            if found:
                found = found[0], {name: hosts.put(found[1][name], spec.sharding) for name, spec in wanted.items()}
        return found and (found[0], rebuild(like, found[1]))

    def _restore_newest(self, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> tuple[int, dict[str, Array]] | None:
        """Returns the arrays of the newest checkpoint that is whole and fits; with own disks in this host's memory."""
        unusable: dict[int, str] = {}
        for step in reversed(self.steps()):
            try:
                arrays = _read(self._orbax, self._directory / str(step), wanted, in_memory=self._own_disks)
            except _UnusableError as error:
                unusable[step] = str(error)
                continue
            except Exception as error:
                raise RunError(f"step {step} in {self._directory} could not be read: {one_line(error)}.") from error
            for bad_step, reason in unusable.items():
                self._set_aside(bad_step, reason, instead=step)
            return step, arrays
        if unusable:
            reasons = "; ".join(f"step {step}: {reason}" for step, reason in unusable.items())
            raise RunError(f"no usable checkpoint in {self._directory}: {reasons}.")
        return None

    def _write_contents(self) -> None:
        folder = next(self._directory.glob(f"{self._saving}.orbax-checkpoint-tmp*"))
        # Orbax has yet to write the time into _CHECKPOINT_METADATA, which nobody reads.
        written = [path for path in folder.rglob("*") if path.is_file() and path.name != "_CHECKPOINT_METADATA"]
        self._contents["files"] = {str(path.relative_to(folder)): _digest(path) for path in sorted(written)}
        (folder / _CONTENTS).write_text(json.dumps(self._contents, indent=1))
        # Orbax is about to give the folder its name, and older checkpoints go after that: a disk or machine that fails
        # then must not leave an empty file under that name.
        for path in (*folder.rglob("*"), folder):
            files.reach_disk(path)

    def _fail(self, error: Exception) -> None:
        step, self._saving = self._saving, None
        reason = next((phrase for phrase in _DISK_FULL if phrase in str(error)), None) or one_line(error)
        try:
            if jax.process_count() == 1 or self._own_disks:  # Others would have to join in, and know nothing of it.
                with contextlib.suppress(Exception):
                    self._orbax.wait_until_finished()  # Or Orbax tells of this error again, during the next restore.
                self._remove_temporary_folders()
            free = f"{shutil.disk_usage(self._directory).free / 1e6:.1f} MB free"
        except OSError:
            free = "the folder is gone"
        valid = ", ".join(map(str, self.steps())) or "none"
        raise RunError(
            f"step {step} could not be saved in {self._directory}: {reason} ({free}); steps still valid: {valid}."
        ) from error

    def _set_aside(self, step: int, reason: str, instead: int) -> None:
        line = f"checkpoint {self._directory / str(step)} cannot be used: {reason}; going back to step {instead}"
        if self._read_only:
            self._note(f"{line}.")
            return
        names = (f"damaged_{step}{suffix}" for suffix in ("", *(f"_{count}" for count in range(2, 1000))))
        aside = next(self._directory / name for name in names if not (self._directory / name).exists())
        self._on_one_process(lambda: (self._directory / str(step)).rename(aside))
        self._note(f"{line}; kept as {aside.name}.")

    def _retire(self, step: int) -> Path:
        # A removal may be killed half-way too: what is left of it must not look like a checkpoint.
        return (self._directory / str(step)).rename(self._directory / f"{step}.deleting")

    def _remove_temporary_folders(self) -> None:
        _remove_all([path for path in self._directory.iterdir() if _TEMPORARY.fullmatch(path.name)])

    def _on_one_process(self, change: Callable[[], object]) -> None:
        if jax.process_index() == 0 or self._own_disks:
            change()
        if jax.process_count() > 1 and not self._own_disks:
            multihost_utils.sync_global_devices("checkpoints")


def _read(
    orbax: ocp.AsyncCheckpointer, folder: Path, wanted: Mapping[str, jax.ShapeDtypeStruct], in_memory: bool
) -> dict[str, Array]:
    contents = _checked_contents(folder)  # Before Orbax sees it: on a broken file it prints pages of tracebacks.
    expected, found = described(wanted), contents["arrays"]
    for name in (*expected, *found):
        if expected.get(name) != found.get(name):
            was, has = expected.get(name, "nothing"), found.get(name, "nothing")
            raise _UnusableError(f"{name}: expected {was}, found {has}")
    arguments = {
        name: ocp.RestoreArgs(restore_type=np.ndarray) if in_memory else ocp.ArrayRestoreArgs(sharding=spec.sharding)
        for name, spec in wanted.items()
    }
    return orbax.restore(folder, args=ocp.args.PyTreeRestore(dict(wanted), restore_args=arguments))


def _checked_contents(folder: Path) -> dict[str, dict[str, Any]]:
    if not (folder / _CONTENTS).exists():
        raise _UnusableError(f"it has no {_CONTENTS}" if any(folder.iterdir()) else "it is empty")
    try:
        contents = json.loads((folder / _CONTENTS).read_bytes())
        if not all(isinstance(contents[part], dict) for part in ("arrays", "files")):
            raise TypeError
    except (ValueError, TypeError, KeyError) as error:
        raise _UnusableError(f"its {_CONTENTS} is broken") from error
    for name, digest in contents["files"].items():
        try:
            if _digest(folder / name) != digest:
                raise _UnusableError(f"its file {name} is not what was written")
        except FileNotFoundError as error:
            raise _UnusableError(f"its file {name} is missing") from error
        except OSError as error:
            if error.errno != errno.EIO:  # A bad sector is damage; a lack of permission or of file handles is not.
                raise
            raise _UnusableError(f"its file {name} cannot be read") from error
    return contents


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write checkpoints to {directory}: {reason}. Choose another --workdir.") from error


def _remove_all(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
