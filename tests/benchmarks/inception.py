"""Images a second of the Inception network, igan's and torch-fidelity's, interleaved on the same machine.

    python tests/benchmarks/inception.py [--batch_size=16] [--rounds=5]

Random weights; uint8 images of 32 x 32 in, 2,048 features out, resize included. Run it alone: two busy programs on few
cores make PyTorch's threads many times slower. torch-fidelity: pip install --no-deps torch-fidelity==0.4.0 tqdm
"""

import argparse
import sys
import time
import types
from collections.abc import Callable

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from igan.metrics import inception
from igan.metrics.weights import Weights


def igan_round(images: np.ndarray, precision: str) -> Callable[[], object]:
    """Returns a function that extracts the features of the images once."""
    random = np.random.default_rng(0)
    arrays = {
        name: random.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))), shape).astype(np.float32)
        for name, shape in inception.shapes(["2048"]).items()
    }
    network = inception.network(Weights("random", "0" * 8, arrays), precision=precision)
    params = jax.device_put(network.params)
    compute = jax.jit(network.apply, static_argnums=2)
    return lambda: np.asarray(compute(params, images, ("2048",))["2048"])


def torch_round(images: np.ndarray) -> Callable[[], object]:
    """Returns the same for torch-fidelity's network. Raises ImportError without it."""
    import torch

    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:  # It is imported by torch-fidelity, and not needed for this.
        names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
        for name in names:
            sys.modules[name] = types.ModuleType(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
        for dataset in ("CIFAR10", "CIFAR100", "STL10"):
            setattr(sys.modules["torchvision.datasets"], dataset, type(dataset, (), {}))
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):  # Its own initialisation will do.
            return None

    torch.load = lambda *_, **__: None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = Untrained("random", ["2048"], feature_extractor_weights_path="none").to(device)
    batch = torch.tensor(images).permute(0, 3, 1, 2)

    def play() -> object:
        with torch.no_grad():
            return network(batch.to(device))[0].cpu().numpy()

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", default="float32", help="comma-separated: float32, tensorfloat32, bfloat16")
    options = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (options.batch_size, 32, 32, 3), np.uint8)
    rounds = {f"igan, {name}": igan_round(images, name) for name in options.precisions.split(",")}
    try:
        rounds["torch-fidelity, float32"] = torch_round(images)
    except ImportError as error:
        print(f"no comparison: {error}")
    for play in rounds.values():
        play()  # Compiles.
    seconds: dict[str, list[float]] = {name: [] for name in rounds}
    for _ in track(range(options.rounds), "measuring"):
        for name, play in rounds.items():
            start = time.perf_counter()
            play()
            seconds[name].append(time.perf_counter() - start)
    table = Table("", "images/s, best", "median", "against the last")
    last = min(seconds[list(rounds)[-1]])
    for name, times in seconds.items():
        speeds = [f"{options.batch_size / value:.1f}" for value in (min(times), float(np.median(times)))]
        table.add_row(name, *speeds, f"{last / min(times):.2f}x")
    Console(width=100).print(
        f"{jax.devices()[0].device_kind}, batch {options.batch_size}, {options.rounds} rounds", table
    )


if __name__ == "__main__":
    main()
