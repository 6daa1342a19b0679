"""The small files of a work directory: `config.json`, what was asked for, and `summary.json`, what came out."""

import copy
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import igan
from igan.config import Config, changed
from igan.errors import RunError, UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def settle(config: Config, workdir: Path) -> Config:
    """Returns the config with what an earlier session in this work directory has decided.

    A run that found its data by `data.source=auto` goes on with the source it found.

    Raises UserError if the directory holds a run of another config, with the fields that differ, or is unreadable.
    """
    path = workdir / "config.json"
    try:
        before = json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; choose another --workdir, or remove that file") from error
    if before is None:
        return config
    config = copy.deepcopy(config)
    if config.data.source == "auto":
        config.data.source = before["data"]["source"]
    differences = changed(before, plain(config))
    if differences:
        raise UserError(
            f"{workdir} holds a run of another config ({'; '.join(differences)}):"
            " go on with its config, or choose another --workdir"
        )
    return config


def plain(config: Config) -> dict[str, Any]:
    """Returns a config as what comes back from its JSON file."""
    return json.loads(config.to_json())


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all.

    Raises RunError if it cannot be written.
    """
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(path)
    except OSError as error:
        raise RunError(f"could not write {path}: {error.strerror}; what is on disk stays valid") from error


def create(workdir: Path) -> None:
    """Creates a work directory.

    Raises UserError if it cannot be created or written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {workdir}: {error.strerror}; choose another --workdir") from error


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
    found = {"igan": igan.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
