"""Fetches the published weights of the Inception network, once.

    python -m igan.metrics.fetch                  # downloads 96 MB
    python -m igan.metrics.fetch --from=FILE.pth  # from a file that is already here

The file is the PyTorch port that pytorch-fid and torch-fidelity publish. Its SHA-256 is verified, it is read without
running what it contains, batch normalisation is folded into the convolutions, and the result is kept in the cache.
"""

import argparse
import hashlib
import queue
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from igan import cache
from igan.errors import RunError, UserError, exit_code
from igan.metrics import inception, torch_file, weights

FILE = "pt_inception-2015-12-05-6726825d.pth"
ADDRESSES = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)
SECONDS = 8.0  # Without an answer for so long there is no network.
BATCH_NORM_EPSILON = 1e-3
# The names of one branch's convolutions here, in the order of that branch's in PyTorch.
_TOWERS = {
    "branch1x1": "conv",
    "branch3x3": "conv",
    "branch_pool": "tower_2_conv",
    **{f"branch{n}x{n}_{i + 1}": f"tower_conv_{i}" for n in (3, 5, 7) for i in range(3)},
    **{f"branch{n}_{i + 1}": f"tower_1_conv_{i}" for n in ("3x3dbl", "7x7dbl", "7x7x3") for i in range(5)},
    "branch3x3_2a": "tower_mixed_conv",
    "branch3x3_2b": "tower_mixed_conv_1",
    "branch3x3dbl_3a": "tower_1_mixed_conv",
    "branch3x3dbl_3b": "tower_1_mixed_conv_1",
}
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")


def fetch(source: str | Path | None = None) -> Path:
    """Puts the weights into the cache and returns their path.

    Args:
      source: the published `.pth` file, or None to download it.

    Raises:
      UserError: no network, no such file, a file with another hash.
      RunError: the download broke off; the next one goes on from there.
    """
    file = Path(source) if source else cache.directory() / FILE
    if source is None and not file.is_file():
        _download(file)
    if not file.is_file():
        raise UserError(f"there is no {file}: download {ADDRESSES[0]}")
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != weights.SOURCE_SHA256:
        if source is None:
            file.unlink()
        raise UserError(
            f"{file} has the SHA-256 {found[:16]}... and not {weights.SOURCE_SHA256[:16]}...: it is another file "
            f"or was cut off; download {ADDRESSES[0]} again"
        )
    path = weights.path_in_cache()
    weights.save(fold(torch_file.read(content)), path, found)
    inception.network(weights.load(path))  # Raises unless everything is there in its right shape.
    if source is None:
        file.unlink()
    return path


def fold(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Folds batch normalisation into the convolutions before it, in float64, and renames them.

    Args:
      state: a state dict of the PyTorch port, names like `Mixed_5b.branch1x1.conv.weight`; kernels are OIHW.

    Returns:
      float32 arrays as `igan.metrics.weights.Weights` describes them.

    Raises:
      UserError: it is not a state dict of that network.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        for name in (name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")):
            gamma, beta, mean, variance = (
                state[f"{name}.bn.{part}"].astype(np.float64)
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
            kernel = state[f"{name}.conv.weight"].transpose(2, 3, 1, 0) * scale
            arrays[f"{_rename(name)}/kernel"] = kernel.astype(np.float32)
            arrays[f"{_rename(name)}/bias"] = (beta - mean * scale).astype(np.float32)
        arrays["softmax/kernel"] = state["fc.weight"].T.astype(np.float32)
        arrays["softmax_bias"] = state["fc.bias"].astype(np.float32)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"this is not the Inception network of pytorch-fid or torch-fidelity: {error} is off"
        ) from error
    return arrays


def _rename(name: str) -> str:
    if name in _STEM:
        index = _STEM.index(name)
        return f"conv_{index}" if index else "conv"
    block, branch = name.removeprefix("Mixed_").split(".")
    index = _BLOCKS.index(block)
    prefix = f"mixed_{index}" if index else "mixed"
    tower = _TOWERS[branch]
    if block == "6a":  # Its first tower is the long one.
        tower = tower.replace("tower_1_", "tower_")
    return f"{prefix}_{tower}".removesuffix("_0")


def _download(destination: Path) -> None:
    """Downloads to a `.part` file, from where it broke off last time, and renames it when it is whole."""
    part = destination.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    obstacles = []
    for address in ADDRESSES:
        have = part.stat().st_size if part.exists() else 0
        try:
            response = _open(address, have)
        except OSError as error:
            obstacles.append(str(getattr(error, "reason", error)) or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code == 416:  # There is nothing after what we have, so that is not it.
                    part.unlink(missing_ok=True)
                continue  # This address has gone; the other may be there.
            break
        with response:
            _receive(response, part, have if response.status == 206 else 0)
        part.replace(destination)
        return
    raise UserError(
        f"the weights cannot be downloaded ({'; '.join(obstacles)}). On a machine with a network get {ADDRESSES[0]}, "
        f"put the file here, and run: python -m igan.metrics.fetch --from={FILE}"
    )


def _open(address: str, have: int) -> Any:
    """Opens an address at an offset; raises OSError after `SECONDS` without an answer."""
    # A name server that does not answer blocks for longer than any socket timeout: a daemon thread can be left behind.
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=SECONDS))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="igan-fetch").start()
    try:
        answer = answers.get(timeout=SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {SECONDS:.0f} s") from None
    if isinstance(answer, OSError):
        raise answer
    if isinstance(answer, Exception):
        raise OSError(f"{type(answer).__name__}: {answer}") from answer
    return answer


def _receive(response: Any, part: Path, have: int) -> None:
    total = have + int(response.headers.get("Content-Length") or 0)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, part.open("ab" if have else "wb") as file:
        task = progress.add_task("Inception weights", total=total or None, completed=have)
        try:
            while block := response.read(2**18):
                file.write(block)
                progress.advance(task, len(block))
        except (OSError, HTTPException) as error:
            raise RunError(f"the download broke off ({error}): the same command goes on from there") from error
    if total and part.stat().st_size < total:
        raise RunError(
            f"the download broke off after {part.stat().st_size:,} of {total:,} bytes: the same command goes on"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        "python -m igan.metrics.fetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--from", dest="source", metavar="PATH", help="the published .pth file, where it is already here"
    )
    options = parser.parse_args(arguments)
    return exit_code(
        lambda: print(f"The weights are in {fetch(options.source)}"), "interrupted: the same command goes on from there"
    )


if __name__ == "__main__":
    sys.exit(main())
