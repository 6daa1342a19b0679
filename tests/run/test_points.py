"""A whole run on data that are no images: from the first picture to the summary."""

import json

import numpy as np
import pytest
from PIL import Image

import igan.models
from igan import data, sample
from igan.data.dataset import Dataset
from igan.errors import UserError
from igan.run import experiment, train
from tests.plane import PLANE

FAMILY = '''
"""Networks for points of the plane."""

import flax.linen as nn
import jax

from igan.models.functional import critique, network
from igan.types import Networks

PLACES = ()
TAKES = ("points",)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latents, context):
        return nn.Dense(2)(nn.tanh(nn.Dense(8)(latents)))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, points, context):
        features = nn.tanh(nn.Dense(8)(points))
        return critique(nn.Dense(1)(features), features, None)


def make(shape, classes, layers):
    latents = lambda key, count: jax.random.normal(key, (count, 4))
    return Networks(network(Generator()), network(Discriminator()), latents, image_range=(-1.0, 1.0))
'''


@pytest.fixture
def config(small, tmp_path, monkeypatch):
    angles = np.random.default_rng(0).integers(0, 8, 100) * np.pi / 4
    points, labels = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), np.zeros(100, np.int32)
    ring = Dataset("ring", points, labels, points[:0], labels[:0], 1, "drawn", no_images=PLANE)
    monkeypatch.setattr(data, "load", lambda *arguments: ring)
    (tmp_path / "families").mkdir()
    (tmp_path / "families/plane.py").write_text(FAMILY)
    monkeypatch.setattr(igan.models, "__path__", [*igan.models.__path__, str(tmp_path / "families")])
    with small.unlocked():
        small.networks = {"name": "plane"}
    for name, each in small.techniques.items():
        each.enabled = name == "non_saturating"
    small.epochs, small.replicas = 2, 2
    return small


def test_a_run_on_points(config, tmp_path):
    summary = train.run(config, tmp_path / "run")
    assert summary["finished"] and summary["steps"] == 12 and "test_errors" not in summary
    pictures = sorted((tmp_path / "run/samples").glob("*.png"))
    assert pictures and np.asarray(Image.open(pictures[0])).shape == (5, 14)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert any("d/non_saturating" in line for line in lines)


def test_what_is_of_images_alone_is_refused(config, tmp_path, capsys):
    train.run(config, tmp_path / "run")
    assert sample.main([f"--workdir={tmp_path / 'run'}"]) == 2
    assert "run on points" in capsys.readouterr().err
    config.evaluation.scores = ("fid",)
    with pytest.raises(UserError, match="fid is a score of images, and the data are points"):
        train.run(config, tmp_path / "scored")


def test_data_that_the_networks_do_not_take_are_refused(config, monkeypatch):
    with config.unlocked():
        config.networks = igan.models.defaults("fully_connected")
    with pytest.raises(UserError, match=r"'fully_connected' are for images, and the data are points.*plane") as error:
        experiment.build(config)
    assert "\n" not in str(error.value)
