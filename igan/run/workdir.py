"""The small files of a work directory: `config.json`, what was asked for, and `summary.json`, what came out."""

import copy
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from igan import bucket, files, lock
from igan.config import PER_DEVICE, Config
from igan.errors import RunError, UserError
from igan.recorded import changed, completed, defaults_beside, plain
from igan.run.field_types import mismatch
from igan.version import version

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def settle(config: Config, workdir: Path, may_change: Sequence[str] = ()) -> Config:
    """Returns the config with what an earlier session in this work directory has decided.

    A run that found its data by `data.source=auto` goes on with the source it found; one with `sharding=per_device` on
    as many devices.

    Args:
      may_change: beginnings of fields that may differ besides those that always may.

    Raises UserError if the directory holds a run of another config, with the fields that differ, or is unreadable.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file, expected a directory: choose another --workdir")
    path, saved = workdir / "config.json", has_checkpoint(workdir)
    if not path.exists():
        if saved:
            raise UserError(f"{workdir} holds checkpoints but no {path.name}: restore it, or choose another --workdir")
        return config
    if not saved and (done := summary(workdir).get("steps")):
        raise UserError(
            f"{workdir} has no checkpoint left of its {done:,} updates: restore the folder checkpoints, or choose"
            " another --workdir"
        )
    config, before = copy.deepcopy(config), _read_config(path)
    if config.data.fingerprint == "":
        config.data.fingerprint = before["data"]["fingerprint"]
    if config.data.source == "auto":
        config.data.source = before["data"]["source"]
    config.went_back = tuple(before["went_back"])
    per_device = config.sharding == before["sharding"] == PER_DEVICE and config.replicas == 1
    if per_device and config.devices == 0:
        config.devices = before["devices"]
    differences = [each for each in changed(before, plain(config)) if not each.startswith(tuple(may_change))]
    decays = min(config.discriminator.constant_share, config.generator.constant_share) < 1
    if decays and before.get("epochs") != config.epochs:
        differences.append(f"epochs: was {before.get('epochs')}, now {config.epochs}, which the learning rate follows")
    if per_device and before["devices"] != config.devices:
        differences.append(f"devices: was {before['devices']}, now {config.devices}, each with its part of a batch")
    if differences:
        raise UserError(
            f"{workdir} holds a run of another config ({'; '.join(differences)}):"
            " go on with its config, or choose another --workdir"
        )
    return config


def load(workdir: Path) -> Config:
    """Returns the config of the run in a work directory. Fields younger than the run have their defaults.

    Raises UserError if there is no run, or it is in a bucket.

    >>> load(Path("runs/mnist")).labels_per_class  # doctest: +SKIP
    10
    """
    bucket.refuse(workdir)
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"{workdir} holds no run (there is no {path.name}): give a --workdir of igan.main")
    return ConfigDict(_read_config(path))


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether there is a folder of a checkpoint, whole or not."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(each.name.isdigit() for each in folder.iterdir())


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
        config["data"]["source"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not the config of a run: choose another --workdir, or remove that file") from error
    if wrong := mismatch(config, defaults_beside(config)):
        raise UserError(f"{path} is damaged: {wrong}; correct it, or choose another --workdir")
    return completed(config)


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all.

    Raises RunError if it cannot be written.
    """
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Raises RunError if it cannot be written.
    """
    try:
        files.replace(path, content)
    except OSError as error:
        raise RunError(f"could not write {path}: {error.strerror}; what is on disk stays valid") from error


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Makes a folder, and at the end removes it and those above it that were not there before, if they are empty.

    Whether it can be made is for those to say who write into it.

    >>> with made(Path("runs/refused")):  # doctest: +SKIP
    ...     raise UserError("batch_size is 0")
    """
    new: list[Path] = []
    with suppress(OSError):
        new = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in new:
            with suppress(OSError):
                each.rmdir()


@contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Creates a work directory and keeps other runs out of it as long as it is entered.

    Of a run that wrote nothing, as one that is refused, no folder is left that was not there before.

    Raises UserError if it cannot be created or written to, or another run is at work there.

    >>> with held(Path("runs/mnist")):  # doctest: +SKIP
    ...     pass
    """
    busy = f"process {{process}} is training in {workdir}: wait for it, stop it, or choose another --workdir"
    with made(workdir), lock.held(workdir / ".lock", busy):
        try:
            yield
        finally:
            with suppress(OSError):
                if [each.name for each in workdir.iterdir()] == [".lock"]:
                    (workdir / ".lock").unlink()


def summary(workdir: Path) -> dict[str, Any]:
    """Returns `summary.json` of a work directory; empty if there is none, or none that can be read."""
    try:
        found = json.loads((workdir / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of `metrics.jsonl`."""
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def best(evaluations: list[dict[str, Any]], field: str) -> list[int]:
    """Returns each replica's lowest number of errors over all evaluations.

    >>> best([{"test_errors": [9, 5]}, {"test_errors": [7, 6]}], "test_errors")
    [7, 5]
    """
    return [min(errors) for errors in zip(*(evaluation[field] for evaluation in evaluations), strict=True)]


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that the numbers depend on."""
    found = {"igan": version(), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
