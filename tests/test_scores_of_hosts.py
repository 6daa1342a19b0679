"""Two processes that score and sample together: the numbers of one process with as many devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import evaluate, hosts, sample
from igan.errors import UserError
from igan.metrics import extract
from igan.metrics.classifier_score import from_function
from igan.metrics.extract import FeatureNetwork
from igan.metrics.frechet_distance import combined, moments, sums
from igan.metrics.images import from_array
from igan.run import scoring, train, workdir
from tests.conftest import small_game

REPOSITORY = Path(__file__).parents[1]
PROCESS = """
import os, sys
from tests import xla
from tests.conftest import compiled_quickly
os.environ["XLA_FLAGS"] = xla.flags(int(sys.argv[1]))
from tests.test_scores_of_hosts import train_evaluate_and_sample
with compiled_quickly():
    train_evaluate_and_sample(*sys.argv[2:])
"""
TOY = FeatureNetwork(
    "toy", ("768",), {}, lambda _, images, levels: dict.fromkeys(levels, images[:, 9:14, 14, 0].astype(jnp.float32))
)
BRIGHTNESS = from_function("brightness", lambda images: images.mean(axis=(1, 2))[:, :1] * jnp.arange(3.0) / 50)


def train_evaluate_and_sample(folder: str, where: str = "") -> None:
    """What each process does, with networks that take no time in place of those that scores look with."""
    scoring.weights.load = lambda path: path  # type: ignore[assignment]
    scoring.inception.network = lambda weights: TOY  # type: ignore[assignment]
    scoring.image_classifier.load = lambda name, images, labels: BRIGHTNESS
    if where:
        hosts.join(where)
    config = small_game()
    config.devices, config.epochs, config.batch_size = 0, 1, 80  # 50 updates.
    config.techniques.semi_supervised.enabled = False
    config.evaluation.scores, config.evaluation.images, config.evaluation.reference_images = ("fid",), 101, 150
    config.evaluation.scores_interval = 20
    train.run(config, Path(folder))
    scores = ["--scores=fid,kid,classifier_score", "--images=70"]  # The second host looks at fewer than the first.
    sys.exit(
        evaluate.main([f"--workdir={folder}", *scores, "--json"])
        or sample.main([f"--workdir={folder}", "--count=37", f"--output={folder}/images.npz"])
    )


def start(devices: int, folder: Path, cache: Path, *where: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROCESS, str(devices), str(folder), *where],
        cwd=REPOSITORY,
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": str(Path.home() / ".cache" / "matplotlib")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_hosts_score_and_sample_as_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together, alone = tmp_path / "together", tmp_path / "alone"
    processes = [start(1, together, tmp_path / f"cache{n}", f"localhost:{port},2,{n}") for n in (0, 1)]
    processes.append(start(2, alone, tmp_path / "cache"))
    outputs = [process.communicate(timeout=1200) for process in processes]
    for process, (out, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error + out
    assert '"scores"' not in outputs[1][0], "the second host prints what the first does"
    lines = [[line for line in workdir.metrics(each) if "scores" in line] for each in (together, alone)]
    assert [line["step"] for line in lines[0]] == [20, 40, 50]
    for ours, theirs in zip(*lines, strict=True):
        assert ours["scores/fid_768"] == pytest.approx(theirs["scores/fid_768"], rel=1e-9)
        assert ours["is_best"] == theirs["is_best"]
    printed = [out for out, _ in outputs[::2]]
    found, expected = (json.loads(out[out.index("{\n") : out.index("\n}\n") + 2]) for out in printed)
    assert list(found["scores"]) == ["fid_768", "kid_768", "classifier_score"]
    for name, score in expected["scores"].items():
        assert found["scores"][name]["value"] == pytest.approx(score["value"], rel=1e-9)
        assert found["scores"][name]["protocol"] == score["protocol"]
    assert json.loads((together / "summary.json").read_text())["scores"] == found["scores"]
    drawn, expected = (np.load(each / "images.npz")["images"] for each in (together, alone))
    np.testing.assert_array_equal(drawn, expected)


def test_what_one_host_looks_at(monkeypatch: pytest.MonkeyPatch, random: np.random.Generator) -> None:
    """Of 21 images in batches of 8 on 4 devices, two of each of two hosts: those that its devices would have."""
    pixels = random.integers(0, 256, (21, 4, 5, 3), np.uint8)
    network = FeatureNetwork("first", ("768",), {}, lambda _, images, levels: {"768": images[:, 0, 0]})
    seen = []
    for first in (0, 2):
        monkeypatch.setattr(extract, "of_this_host", lambda devices, first=first: devices[first : first + 2])
        batches = extract.stream(
            from_array("", pixels), network._replace(devices=jax.devices()[:4]), ["768"], batch_size=8
        )
        seen.append([batch["768"] for batch in batches])
    numbers = [[(0, 4), (8, 12), (16, 20)], [(4, 8), (12, 16), (20, 21)]]
    for parts, bounds in zip(seen, numbers, strict=True):
        assert [part.tolist() for part in parts] == [pixels[a:b, 0, 0].tolist() for a, b in bounds]
    whole = moments([pixels[:, 0, 0]])
    for ours, theirs in zip(combined([sums(parts) for parts in seen]), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_an_error_of_one_host_is_one_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other host is played: it has got as far as this one, or it has not."""
    theirs: list[object] = []

    def gathered(mine: np.ndarray) -> np.ndarray:
        if mine.ndim == 0:
            return np.array([mine, len(content(theirs[0]))])
        other = content(theirs[0])
        length = max(len(mine), len(other))
        return np.stack([np.pad(each, (0, length - len(each))) for each in (mine, other)])

    def content(outcome: object) -> np.ndarray:
        return np.frombuffer(hosts.pickle.dumps(outcome), np.uint8)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gathered)
    theirs[:] = [(np.float64(1 / 3), None)]
    assert hosts.share(lambda: "mine") == ["mine", np.float64(1 / 3)]
    theirs[:] = [(None, scoring.StoppedError())]
    with pytest.raises(scoring.StoppedError):
        hosts.share(lambda: "mine")

    def fails() -> None:
        raise UserError("not finite")

    theirs[:] = [("fine", None)]
    with pytest.raises(UserError, match="not finite"):
        hosts.share(fails)
