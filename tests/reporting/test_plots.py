"""Pictures hold what they say: a line of each colour, and nothing where there is nothing."""

import io

import numpy as np
from PIL import Image

from igan.reporting.plots import COLORS, plot_loss, plot_score, plot_test_errors
from igan.reporting.pooling import pool
from igan.reporting.runs import load_runs

from .synthetic import make_run


def pixels_of_color(content, color):
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return (pixels == [int(color[place : place + 2], 16) for place in (1, 3, 5)]).all(-1).sum()


def groups_in(folder):
    return pool(load_runs([folder])[0])


def test_test_errors_have_a_line_for_each_number_of_labels(tmp_path):
    for labels in (20, 50, 100, 200, 500):
        errors = [20_000 // labels, 24_000 // labels, 0]
        make_run(tmp_path / f"{labels}", dataset="mnist", errors=errors, labels=labels)
    content, without = plot_test_errors("mnist", groups_in(tmp_path))
    assert without == []
    assert all(pixels_of_color(content, color) > 200 for color in COLORS[:5])
    assert pixels_of_color(content, COLORS[5]) == 0


def test_runs_without_evaluations_have_no_line(tmp_path):
    for labels in (20, 50):
        make_run(tmp_path / f"{labels}", errors=[100], labels=labels)
    (tmp_path / "50" / "metrics.jsonl").unlink()
    content, without = plot_test_errors("cifar10", groups_in(tmp_path))
    assert without == ["50 labels"]
    assert pixels_of_color(content, COLORS[0]) > 200
    assert pixels_of_color(content, COLORS[1]) == 0
    (tmp_path / "20" / "metrics.jsonl").unlink()
    assert plot_test_errors("cifar10", groups_in(tmp_path)) == (None, ["20 labels", "50 labels"])


def test_scores_and_losses_have_a_line_for_each_variant(tmp_path):
    for variant in ("ours", "-l"):
        for seed in (1, 2):
            curve = ("fid", 20.0) if variant == "ours" else None
            make_run(tmp_path / f"{variant}{seed}", variant=variant, seed=seed, points=50, curve_of_score=curve)
    groups = groups_in(tmp_path)
    scores, losses = plot_score("fid", groups), plot_loss("g/minimax", groups)
    assert [pixels_of_color(scores, color) > 100 for color in COLORS[:2]] == [True, False]
    assert [pixels_of_color(losses, color) > 100 for color in COLORS[:2]] == [True, True]
    assert plot_score("kid", groups) is None
    assert plot_loss("g/unknown", groups) is None
