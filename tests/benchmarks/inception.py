"""The Inception network, igan's and torch-fidelity's, side by side on the same machine: speed, and scores.

    python tests/benchmarks/inception.py [--batch_size=16] [--rounds=5]
    python tests/benchmarks/inception.py --folders SAMPLES REAL --weights=TRUNK.npz

The first measures images a second, interleaved: random weights; uint8 images of 32 x 32 in, 2,048 features out, resize
included. Run it alone: two busy programs on few cores make PyTorch's threads many times slower. The second scores two
folders of images by both programs with the weights of a trunk: its 768 features, from the files to the numbers.
torch-fidelity: pip install --no-deps torch-fidelity==0.4.0 tqdm
"""

import argparse
import importlib
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from igan.metrics import fetch, images, inception, weights
from igan.metrics.compute import Settings, compute
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


def torch_fidelity(module: str) -> Any:
    """Imports a module of torch-fidelity. Raises ImportError without it."""
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
    return importlib.import_module(f"torch_fidelity.{module}")


def torch_network(level: str) -> Any:
    """Returns torch-fidelity's network with its own initialisation, on a GPU where there is one."""
    import torch

    class Untrained(torch_fidelity("feature_extractor_inceptionv3").FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            return None

    torch.load = lambda *_, **__: None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Untrained("random", [level], feature_extractor_weights_path="none").to(device)


def torch_round(images: np.ndarray) -> Callable[[], object]:
    """Returns the same as `igan_round` for torch-fidelity's network. Raises ImportError without it."""
    import torch

    network = torch_network("2048")
    batch = torch.tensor(images).permute(0, 3, 1, 2).to(next(network.parameters()).device)

    def play() -> object:
        with torch.no_grad():
            return network(batch)[0].cpu().numpy()

    return play


def torch_trunk(trunk: Weights) -> Any:
    """Returns torch-fidelity's network up to 768 features with the weights of a trunk."""
    import torch

    network = torch_network("768")
    for name, module in network.named_modules():
        kernel = trunk.arrays.get(f"{fetch._rename(name)}/kernel") if hasattr(module, "bn") else None
        if kernel is not None:  # Batch normalisation is folded in: what is left of it adds the bias.
            with torch.no_grad():
                module.conv.weight.copy_(torch.tensor(kernel.transpose(3, 2, 0, 1)))
                module.bn.bias.copy_(torch.tensor(trunk.arrays[f"{fetch._rename(name)}/bias"]))
                module.bn.running_var.fill_(1 - fetch.BATCH_NORM_EPSILON)
    return network


def torch_features(network: Any, folder: Path, batch_size: int) -> Any:
    """Returns the 768 features of the images in a folder, in the order of their paths."""
    import torch
    from PIL import Image

    paths, parts = sorted(path for path in folder.rglob("*") if path.is_file()), []
    for start in track(range(0, len(paths), batch_size), f"torch-fidelity: {folder.name}"):
        pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths[start : start + batch_size]])
        with torch.no_grad():
            parts.append(network(torch.tensor(pixels).permute(0, 3, 1, 2))[0])
    return torch.cat(parts)


def compare_scores(folders: list[Path], path: Path, batch_size: int) -> None:
    """Prints the scores of two folders by both programs, and how far they are apart."""
    trunk = weights.load(path)
    samples, real = (images.from_folder(folder) for folder in folders)
    subset = min(1000, min(samples.count, real.count) // 2)
    settings = Settings(level="768", batch_size=batch_size, kid_subset_size=subset)
    ours = compute(["fid", "kid", "precision_recall"], samples, real, inception.network(trunk), settings)
    network = torch_trunk(trunk)
    features = [torch_features(network, folder, batch_size) for folder in folders]
    statistics = [{"mu": np.mean(x, axis=0), "sigma": np.cov(x, rowvar=False)} for x in (f.numpy() for f in features)]
    theirs = torch_fidelity("metric_fid").fid_statistics_to_metric(*statistics, verbose=False)
    kernel_distance = torch_fidelity("metric_kid").kid_features_to_metric(
        *features, kid_subsets=settings.kid_subsets, kid_subset_size=subset, rng_seed=2020, verbose=False
    )
    precision_recall = torch_fidelity("metric_prc")
    found = precision_recall.prc_features_to_metric(*features, prc_neighborhood=3, verbose=False)
    table = Table("score", "igan", "torch-fidelity", "relative difference")
    for name, value in (
        ("fid_768", theirs["frechet_inception_distance"]),
        ("kid_768", kernel_distance["kernel_inception_distance_mean"]),
        ("precision_768", found["precision"]),
        ("recall_768", found["recall"]),
    ):
        difference = abs(ours[name].value - value) / abs(value)
        table.add_row(name, f"{ours[name].value:.8g}", f"{float(value):.8g}", f"{float(difference):.1e}")
    Console(width=100).print(table)
    print(f"{ours['fid_768'].protocol}\n{ours['kid_768'].protocol}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", default="float32", help="comma-separated: float32, tensorfloat32, bfloat16")
    parser.add_argument("--folders", nargs=2, type=Path, metavar=("SAMPLES", "REAL"), help="score these by both")
    parser.add_argument("--weights", type=Path, help="the .npz file of a trunk")
    options = parser.parse_args()
    if options.folders:
        compare_scores(options.folders, options.weights, options.batch_size)
        return
    pixels = np.random.default_rng(0).integers(0, 256, (options.batch_size, 32, 32, 3), np.uint8)
    rounds = {f"igan, {name}": igan_round(pixels, name) for name in options.precisions.split(",")}
    try:
        rounds["torch-fidelity, float32"] = torch_round(pixels)
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
