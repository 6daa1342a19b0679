"""Pictures hold what they say: a line of each colour, and nothing where there is nothing."""

import io
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from igan.reporting import plots
from igan.reporting.assemble import assemble
from igan.reporting.curves import LOGGED
from igan.reporting.plots import COLORS, plot_loss, plot_score, plot_test_errors
from igan.reporting.pooling import chart_labels, keyed_titles, pool
from igan.reporting.runs import load_runs
from igan.reporting.tables import details_table

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
    scores, losses = plot_score("fid", groups, LOGGED), plot_loss("g/minimax", groups)
    assert [pixels_of_color(scores, color) > 100 for color in COLORS[:2]] == [True, False]
    assert [pixels_of_color(losses, color) > 100 for color in COLORS[:2]] == [True, True]
    assert plot_score("kid", groups, LOGGED) is None
    assert plot_loss("g/unknown", groups) is None


WIDTHS = [[1000 - 50 * place, 500, 250, 250, 250] for place in range(8)]
LEGENDS = {
    "eight groups of other network sizes": [{"networks": {"name": "fully_connected", "discriminator_layers": each,
                                                          "generator_layers": each}} for each in WIDTHS],
    "twelve short names": [{"average_rate": place / 16} for place in range(1, 13)],
    "a single one": [{}],
    "one endless name": [{"networks": {"name": "x" * 3000}}, {}],
}  # fmt: skip


@pytest.mark.parametrize("settings", LEGENDS.values(), ids=LEGENDS.keys())
def test_legends_leave_the_curves_their_room(tmp_path, monkeypatch, settings):
    for place, each in enumerate(settings):
        make_run(tmp_path / f"{place}", dataset="mnist", errors=[90, 99], labels=100, settings=each, points=9)
    figures = []
    monkeypatch.setattr(plots, "png", lambda figure: figures.append(figure) or b"")
    groups = groups_in(tmp_path)
    plot_loss("d/minimax", groups)
    plot_test_errors("mnist", groups)
    for figure in figures:
        figure.draw_without_rendering()
        axes, legend = figure.axes[0].get_window_extent(), figure.legends[0].get_window_extent()
        assert axes.width > 0.75 * figure.bbox.width
        assert axes.height > 2.2 * figure.dpi
        assert not axes.overlaps(legend)
        assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width and legend.y0 >= 0
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(set(texts)) == len(texts) >= len(settings)


def test_long_names_have_a_letter_that_the_tables_explain(tmp_path):
    for place, widths in enumerate(WIDTHS):
        networks = {"name": "fully_connected", "discriminator_layers": widths}
        make_run(tmp_path / f"{place}", errors=[90], labels=100, settings={"networks": networks}, points=9)
    groups = groups_in(tmp_path)
    labels = chart_labels(groups)
    assert labels[0] == "A: discriminator_layers=(650, 500…"
    assert [label[:3] for label in labels] == [f"{letter}: " for letter in "ABCDEFGH"]
    assert [row[0] for row in details_table(groups).rows][7] == ("H: discriminator_layers=(1000, 500, 250, 250, 250)")
    (section,) = assemble(load_runs([tmp_path])[0], [], datetime.now()).sections
    texts = [gallery.text for gallery in section.galleries]
    assert len(texts) == 2
    assert all("letters are those of the table “What the numbers are made of”" in text for text in texts)


def test_short_names_need_no_letters(tmp_path):
    for rate in (0.1, 0.2):
        make_run(tmp_path / f"{rate}", errors=[90], labels=100, settings={"average_rate": rate})
    groups = groups_in(tmp_path)
    assert chart_labels(groups) == keyed_titles(groups) == ["average_rate=0.1", "average_rate=0.2"]
