"""torch-fidelity without torchvision, the real weights and CIFAR-10 where they are, and a cache of the tests' own."""

import importlib
import os
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

SHARED = [os.environ.get("IGAN_SHARED"), Path(__file__).resolve().parents[3] / "shared"]


def shared(path: str) -> Path:
    """Returns a file of the shared data; skips the test where there is none."""
    for folder in SHARED:
        if folder and (found := Path(folder, "data", path)).exists():
            return found
    pytest.skip(f"neither $IGAN_SHARED nor ../shared holds data/{path}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "igan"


@pytest.fixture(scope="session")
def trunk() -> Path:
    return shared("weights/inception2015_trunk_fp16.npz")


@pytest.fixture(scope="session")
def cifar10():
    """The real data set, decoded once."""
    from igan.data import load

    return load("cifar10", "tfds", str(shared("tfds/cifar10").parent))


@pytest.fixture(scope="session")
def mnist():
    from igan.data import load

    return load("mnist", "tfds", str(shared("tfds/mnist").parent))


@pytest.fixture(scope="session")
def fidelity():
    """Imports a module of torch-fidelity, which imports torchvision only for things that are not needed here."""
    pytest.importorskip("torch")
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not installed: pip install --no-deps torch-fidelity==0.4.0 tqdm")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("torchvision") is None:
            names = (
                "torchvision",
                "torchvision.datasets",
                "torchvision.transforms",
                "torchvision.transforms.functional",
            )
            modules = {name: types.ModuleType(name) for name in names}
            modules["torchvision"].__dict__.update(datasets=modules[names[1]], transforms=modules[names[2]])
            modules["torchvision.transforms"].__dict__.update(functional=modules[names[3]])
            for dataset in ("CIFAR10", "CIFAR100", "STL10"):
                setattr(modules["torchvision.datasets"], dataset, type(dataset, (), {}))
            for name, module in modules.items():
                patch.setitem(sys.modules, name, module)
        yield lambda name: importlib.import_module(f"torch_fidelity.{name}")


@pytest.fixture
def two_sets() -> tuple[np.ndarray, np.ndarray]:
    """Features of 400 "generated" and 300 "real" images that overlap in part: float32 [n, 24], not negative."""
    random = np.random.default_rng(3)
    mixing = random.normal(size=(24, 24))
    generated = random.normal(size=(400, 24)) @ mixing + 0.6
    real = random.normal(size=(300, 24)) @ mixing * 1.2
    return np.maximum(generated, 0).astype(np.float32), np.maximum(real, 0).astype(np.float32)
