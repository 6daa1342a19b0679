"""Weights of the Inception network: where they are kept, how they are read, and by what name a score quotes them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from igan import cache
from igan.errors import UserError

NAME = "inception-2015-12-05"
SOURCE_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # Of the published PyTorch file.
# In the words of igan.main; the other commands have flags of their own for it (`igan.errors.exit_code`).
HOW_TO_FETCH = "run 'python -m igan.metrics.fetch' once, or give a file with --config.evaluation.inception_weights"


class Weights(NamedTuple):
    """Arrays by flat name: `<convolution>/kernel` (HWIO) and `/bias`, `softmax/kernel`, `softmax_bias`; float32."""

    name: str
    digest: str  # The first eight digits of a SHA-256: of the published file, or of the trunk's.
    arrays: Mapping[str, np.ndarray]


def path_in_cache() -> Path:
    """Returns where `igan.metrics.fetch` keeps the whole network."""
    return cache.directory() / f"{NAME}-{SOURCE_SHA256[:8]}.safetensors"


def load(path: str | Path | None = None) -> Weights:
    """Reads weights.

    Args:
      path: a `.safetensors` file that `igan.metrics.fetch` wrote; an `.npz` file of a trunk, the first part of the
        network, with the entries `<convolution>/w` and `/b`; None for the file in the cache.

    Raises:
      UserError: no such file, a damaged one, or one of another kind.
    """
    file = Path(path) if path else path_in_cache()
    if not file.is_file():
        raise UserError(f"there are no Inception weights at {file}: {HOW_TO_FETCH}")
    readers = {".safetensors": _read_safetensors, ".npz": _read_trunk}
    if file.suffix not in readers:
        hint = ": convert it with 'python -m igan.metrics.fetch --from=PATH'" if file.suffix == ".pth" else ""
        raise UserError(f"{file} is neither a .safetensors nor an .npz file{hint}")
    try:
        return readers[file.suffix](file)
    except UserError:
        raise
    except Exception as error:  # The readers raise their own kinds for files that are cut off or of another format.
        raise UserError(f"{file} cannot be read ({type(error).__name__}): {HOW_TO_FETCH}") from error


def save(arrays: Mapping[str, np.ndarray], path: Path, source_sha256: str) -> None:
    """Writes a `.safetensors` file that `load` reads, with the hash of the file the arrays came from."""
    metadata = {"source_sha256": source_sha256, "content_sha256": content_hash(arrays)}
    content = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    cache.write(path, lambda file: file.write(content))


def content_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a SHA-256 of the names, types, shapes and bytes of arrays, whatever their order."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_safetensors(path: Path) -> Weights:
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
    if metadata.get("content_sha256") != content_hash(arrays):
        raise UserError(f"{path} is damaged (its content has another hash than it says): {HOW_TO_FETCH}")
    return Weights(_name(arrays, metadata["source_sha256"]), metadata["source_sha256"][:8], arrays)


def _read_trunk(path: Path) -> Weights:
    letters = {"w": "kernel", "b": "bias"}
    with np.load(path, allow_pickle=False) as archive:
        arrays = {
            f"{name}/{letters[letter]}": archive[f"{name}/{letter}"].astype(np.float32)
            for name, letter in (entry.rsplit("/", 1) for entry in archive.files)
        }
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(_name(arrays, digest), digest[:8], arrays)


def _name(arrays: Mapping[str, np.ndarray], digest: str) -> str:
    if digest == SOURCE_SHA256:
        return NAME
    return f"{NAME} with other weights" if "softmax/kernel" in arrays else f"{NAME} trunk"
