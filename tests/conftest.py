"""Eight virtual CPU devices for every test, and a persistent compilation cache so that a second test run is quick.

Programs compile quickly, but for tests that use `optimized`: noise is another cipher's, and the compiler does not try
hard, unless IGAN_LONG_TESTS asks for all tests.
"""

import contextlib
import gc
import multiprocessing
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from tests import xla

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla.flags(devices=8)}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "igan" / "xla-tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "0" if xla.LONG else "1")

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from igan.config import default
from igan.layers import noise
from igan.types import Array, Key
from tests.command import REPOSITORY, Command, Outcome, run_in

UNIFORM = noise.uniform
gc.set_threshold(20_000, 20, 50)  # Tracing makes much, and all of it was looked through every 700 objects.


def small_game() -> ConfigDict:
    """The MNIST game of the paper, small: on the embedded digits, narrow layers, one device."""
    config = default()
    config.data.source = "embedded"
    config.devices = 1
    config.batch_size = 16
    config.initial_images = 32
    config.steps_per_chunk = 5
    config.networks.generator_layers = (12, 12)
    config.networks.discriminator_layers = (16, 12)
    config.networks.latent_size = 8
    config.techniques.semi_supervised.enabled = True
    config.techniques.feature_matching.enabled = True
    config.techniques.minimax.enabled = True
    config.techniques.minimax.discriminator_weight = 0.5
    config.techniques.minimax.generator_weight = 0.0
    return config


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long(reason): runs with IGAN_LONG_TESTS=1 only")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not xla.LONG and (marker := item.get_closest_marker("long")):
            item.add_marker(pytest.mark.skip(reason=f"IGAN_LONG_TESTS=1: {marker.args[0]}"))


@pytest.fixture
def small() -> ConfigDict:
    return small_game()


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def quick_uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Noise by a cipher that compiles quickly, in place of `igan.layers.noise.uniform`, which is unrolled."""
    return jax.random.uniform(key, shape, minval=2**-17)  # Never 0, whose normal quantile is infinite.


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "uniform", quick_uniform)
        yield


@pytest.fixture(scope="module", autouse=True)
def _compiled_quickly() -> Iterator[None]:
    with compiled_quickly():
        yield
    jax.clear_caches()  # Seven gigabytes by the end of a suite.


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """For `pytestmark`: programs as users have them, but for the kernels of `xla.OLD_KERNELS`."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "uniform", UNIFORM)
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """Where processes are forked from that have imported igan already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["igan.main"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        yield context


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> pathlib.Path:
    """Forty images of 8 x 8 pixels, of one class; they are only read."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    (folder / "all").mkdir()
    for index in range(40):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "all" / f"{index}.png")
    return folder


@pytest.fixture
def command(processes, tmp_path: pathlib.Path) -> Command:
    """Runs `python -m igan.main` with these arguments in an empty folder."""

    def run(*arguments: str, **environment: str) -> Outcome:
        cache = f"--compilation_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}"
        return run_in(processes, [*arguments, cache], tmp_path, environment)

    return run


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser, for files that import `tests.browser`."""
    from tests.browser import CHROMIUM, FLAGS, playwright

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
