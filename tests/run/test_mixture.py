"""Mixtures from the command to the report, with their scores; scores of other data are refused."""

import json
import statistics

import numpy as np
import pytest
from PIL import Image

from igan import evaluate, report
from igan.errors import UserError
from igan.run import experiment, scoring, train
from tests.test_experiments import get_config

SCORES = ("modes", "high_quality", "reverse_kl")


def tiny(variant: str = "ring"):
    config = get_config("mixture", variant)
    config.data.name = f"{config.data.name}:train=160"
    config.devices, config.replicas, config.epochs, config.batch_size, config.steps_per_chunk = 1, 2, 2, 16, 5
    config.initial_images = 32
    config.networks.generator_layers = config.networks.discriminator_layers = (8,)
    config.evaluation.scores_interval = config.reporting.samples_interval = 10
    config.evaluation.images = config.reporting.samples = 200
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture") / "run"
    return folder, train.run(tiny(), folder)


def test_a_run_is_scored_and_pictured(finished):
    folder, summary = finished
    assert summary["finished"] and summary["dataset"] == "ring:train=160" and set(summary["scores"]) == set(SCORES)
    for name in SCORES:
        assert len(summary["scores"][name]["value"]) == 2
        assert "200 samples, 8 modes of std 0.01, high quality within 3 std" in summary["scores"][name]["protocol"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "scores/modes" in line] == [10, 20]
    picture = np.asarray(Image.open(max((folder / "samples").glob("*.png"))))
    assert picture.shape == (200, 401, 3) and len(np.unique(picture.reshape(-1, 3), axis=0)) > 3
    assert json.loads((folder / "config.json").read_text())["data"]["source"] == "points"


def test_a_checkpoint_has_the_scores_of_its_run(finished, capsys):
    folder, summary = finished
    assert evaluate.main([f"--workdir={folder}", f"--scores={','.join(SCORES)}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == summary["scores"]


def test_a_report_shows_them(finished, tmp_path, capsys):
    folder, _ = finished
    assert report.main([str(folder), f"--output={tmp_path}"]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "modes ↑" in text and "high quality ↑" in text and "reverse KL ↓" in text and "samples_run_seed1.png" in text


def test_scores_of_other_data_are_refused(small):
    config = tiny()
    config.evaluation.scores = ("modes", "fid")
    with pytest.raises(UserError, match="fid is a score of images, and the data are points: use modes,high_quality"):
        scoring.check(config, experiment.build(config))
    spiral = tiny("spiral")
    spiral.evaluation.scores = ("modes",)
    with pytest.raises(UserError, match="modes is a score of mixtures, and spiral:train=160 is none: leave it out"):
        scoring.check(spiral, experiment.build(spiral))
    small.evaluation.scores = ("classifier_score", "reverse_kl")
    with pytest.raises(UserError, match="reverse_kl is a score of mixtures, and mnist5k is none"):
        scoring.check(small, experiment.build(small))


@pytest.mark.long("some fifteen minutes")
def test_steps_ahead_keep_the_modes_that_the_plain_game_loses(tmp_path):
    """Figure 1 of Metz et al. (2017), three games each: without steps all samples are in one place."""
    modes = {}
    for steps in (0, 5):  # Ten find no more, and take twice as long.
        config = get_config("mixture", "unrolled_figure")
        config.devices, config.replicas = 1, 3
        config.techniques.unrolled.update(enabled=bool(steps), steps=max(1, steps))
        modes[steps] = train.run(config, tmp_path / str(steps))["scores"]["modes"]["value"]
    assert max(modes[0]) <= 2 and statistics.median(modes[5]) == 8, modes
