"""Records what every experiment computes, so that another commit can be held against it bit for bit.

    python tests/bit_identity.py record BEFORE.json     # in a checkout of the older commit, with a copy of this file
    python tests/bit_identity.py compare BEFORE.json    # in the newer one: what that file holds

Each takes an hour on two cores; `record BEFORE.json --quick` plays each game with one number of replicas and devices.

50 updates of every experiment and every row of the paper's ablation, narrow, with one and two replicas and on one and
two virtual devices: hashes of all arrays of the last checkpoint (parameters, averages, optimisers, statistics) and of
all that metrics.jsonl says. On one kind of processor, with one version of JAX: elsewhere XLA rounds differently. What
is recorded already is not recorded again, so that it can be stopped and goes on.

But for the first game, noise comes from `jax.random`: the cipher of `igan.layers.noise` takes most of the time to
compile, and has tests of its own.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

try:
    from igan.run import train
except ImportError:  # Commits before the folder igan/run.
    from igan import train  # type: ignore[attr-defined, no-redef]

from experiments import cifar10, imagenet, mnist, svhn
from igan.layers import noise

UPDATES = 50
NARROW = {
    "mnist": {"latent_size": 8, "generator_layers": (12, 12), "discriminator_layers": (16, 12)},
    "cifar10": {"latent_size": 8, "generator_widths": (12, 8), "discriminator_widths": (6, 8)},
    "svhn": {"latent_size": 8, "generator_widths": (12, 8), "discriminator_widths": (6, 8)},
    "imagenet": {
        "latent_size": 16,
        "generator_widths": (12, 8, 8),
        "noise_channels": (4, 2, 2),
        "discriminator_widths": (6, 8),
        "discriminator_strides": (2, 2),
        "dense_width": 16,
    },
}
ALL = ((1, 1), (2, 1), (1, 2), (2, 2))  # (replicas, devices)
GAMES = [
    *((mnist, "mnist", variant) for variant in ("", "unsupervised")),
    *((cifar10, "cifar10", variant) for variant in cifar10.VARIANTS),
    *((svhn, "svhn", variant) for variant in svhn.VARIANTS),
    (imagenet, "imagenet", ""),
]


class Run(NamedTuple):
    """One game, with a number of replicas and of devices."""

    module: Any
    name: str
    variant: str
    replicas: int
    devices: int

    @property
    def title(self) -> str:
        return f"{self.name}:{self.variant} replicas={self.replicas} devices={self.devices}"


def make_folder(folder: Path) -> None:
    """Writes 240 random images of 16 x 16 pixels in four classes."""
    random = np.random.default_rng(0)
    for number in range(240):
        path = folder / f"class{number % 4}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)


def configure(module: Any, name: str, variant: str, images: Path) -> Any:
    """Returns the narrow config of an experiment, of exactly 50 updates."""
    config = module.get_config(variant)
    config.networks.update(NARROW[name])
    config.data.source, config.batch_size, config.epochs = "embedded", 80, 1  # Of 4,000 digits.
    if name != "mnist":
        config.data.source, config.data.name = "auto", f"folder:{images}"
        config.batch_size, config.epochs = 20, 5  # Of 216 images, the others are for testing.
        config.labels_per_class = min(10, config.labels_per_class)
    if name == "imagenet":
        config.data.image_size, config.epochs = 16, 5
    config.initial_images = config.techniques.virtual_batch_norm.reference_size = 20
    config.techniques.minibatch_discrimination.update(kernels=4, dimensions=3)
    config.steps_per_chunk = config.evaluation.interval = 10
    config.checkpoint.interval = UPDATES
    return config


def digest(array: np.ndarray) -> str:
    """Returns a hash of an array's type, shape and bytes."""
    content = f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def outcome(config: Any, folder: Path) -> dict[str, str]:
    """Trains and returns a hash of each array of the last checkpoint, and of each kind of line that was logged."""
    summary = train.run(config, folder)
    assert summary["steps"] == UPDATES, summary["steps"]
    restored = ocp.PyTreeCheckpointer().restore(folder.resolve() / "checkpoints" / str(UPDATES))
    hashes = {name: digest(np.asarray(array)) for name, array in restored.items()}
    logged: dict[str, list] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for name, value in json.loads(line).items():
            if name != "seconds":
                logged.setdefault(name, []).append(value)
    return hashes | {f"logged {name}": digest(np.array(values)) for name, values in logged.items()}


def runs(quick: bool) -> Iterator[Run]:
    """Yields what is played: every game with all pairs of numbers, or with one of them, another one for each game."""
    for number, (module, name, variant) in enumerate(GAMES):
        for replicas, devices in (ALL[number % len(ALL)],) if quick else ALL:
            yield Run(module, name, variant, replicas, devices)


def record(path: Path, wanted: Iterable[Run]) -> dict[str, dict[str, str]]:
    """Returns the outcomes of these runs by title, and keeps them in a file."""
    found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    exact, first = noise.uniform, next(runs(quick=False)).title
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_folder(folder / "images")
        for run in wanted:
            if run.title in found:
                continue
            # noise.uniform is looked up where it is called.
            noise.uniform = (
                exact if run.title == first else lambda key, shape: jax.random.uniform(key, shape, minval=2**-17)
            )
            config = configure(run.module, run.name, run.variant, folder / "images")
            config.replicas, config.devices = run.replicas, run.devices
            found[run.title] = outcome(config, folder / run.title)
            path.write_text(json.dumps(found, indent=1))
            print(f"{len(found)}: {run.title}, {len(found[run.title])} hashes", file=sys.stderr)
    return found


def main(verb: str, path: str, *options: str) -> int:
    """Runs the command; returns its exit code."""
    if verb == "record":
        record(Path(path), runs(quick="--quick" in options))
        return 0
    before = json.loads(Path(path).read_text())
    found = record(Path(f"{path}.compared"), [run for run in runs(quick=False) if run.title in before])
    different = [
        f"{game}: {name}"
        for game, hashes in before.items()
        for name in hashes
        if found.get(game, {}).get(name) != hashes[name]
    ]
    total = sum(map(len, before.values()))
    print("\n".join([*different, f"{len(different)} of {total} hashes in {len(before)} games differ"]))
    return 1 if different or not total else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
