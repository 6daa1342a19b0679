"""Records what every experiment computes, so that another commit can be held against it bit for bit.

    python tests/bit_identity.py record BEFORE.json     # in a checkout of the older commit, with a copy of this file
    python tests/bit_identity.py compare BEFORE.json    # in the newer one

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
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


def runs() -> Iterator[tuple[Any, str, str, int, int]]:
    """Yields what is played: each game with both numbers of replicas and of devices, the first ones with all pairs."""
    for number, (module, name, variant) in enumerate(GAMES):
        first = name not in {each[1] for each in GAMES[:number]}
        for replicas, devices in ALL if first else (ALL[0], ALL[3]) if number % 2 else ALL[1:3]:
            yield module, name, variant, replicas, devices


def record(path: Path) -> dict[str, dict[str, str]]:
    """Returns the outcomes of all games by name, and keeps them in a file."""
    found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_folder(folder / "images")
        for number, (module, name, variant, replicas, devices) in enumerate(runs()):
            title = f"{name}:{variant} replicas={replicas} devices={devices}"
            if title in found:
                continue
            if number:
                noise.uniform = lambda key, shape: jax.random.uniform(key, shape, minval=2**-17)
            config = configure(module, name, variant, folder / "images")
            config.replicas, config.devices = replicas, devices
            found[title] = outcome(config, folder / title)
            path.write_text(json.dumps(found, indent=1))
            print(f"{len(found)} of {len(list(runs()))}: {title}, {len(found[title])} hashes", file=sys.stderr)
    return found


def main(verb: str, path: str) -> int:
    """Runs the command; returns its exit code."""
    if verb == "record":
        record(Path(path))
        return 0
    before, found = json.loads(Path(path).read_text()), record(Path(path).with_suffix(f".{os.getpid()}.json"))
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
    sys.exit(main(*sys.argv[1:3]))
