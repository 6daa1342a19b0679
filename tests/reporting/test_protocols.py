"""Two protocols are two measurements: no column, no mean and no curve has numbers of both, and the page says why."""

import json
from datetime import datetime

import numpy as np
import pytest

from igan.metrics.frechet_distance import Moments, frechet_distance
from igan.metrics.score import Score
from igan.reporting.ablation import ablation_table
from igan.reporting.assemble import assemble
from igan.reporting.pooling import mean_curve, pool
from igan.reporting.runs import load_runs, read_run
from igan.run import scoring

from .synthetic import make_run

NETWORK = "Inception-2015 (pt 6726825d), TF1 bilinear to 299, 2048-d features"


def protocol(generated=50_000, reference="cifar10 train", count=50_000, options=None, statistics=500):
    """As a score of a run is written down."""
    moments = (Moments(number, np.zeros(1), np.eye(1)) for number in (generated, count))
    said = frechet_distance(*moments, f"{NETWORK}; reference {reference}").protocol
    return scoring._together([Score(0.0, None, said)], options or {}, statistics)["protocol"]


OTHERS = {
    "against test images": protocol(reference="cifar10 test", count=10_000),
    "of 10,000 images": protocol(generated=10_000),
    "of both, as of 2020": protocol(generated=10_000, reference="cifar10 test", count=10_000),
    "of truncated latents": protocol(options={"truncation": 0.5}),
    "by standing statistics": protocol(options={"standing_passes": 16}),
    "by statistics of fewer latents": protocol(statistics=200),
    "without statistics": protocol(statistics=0),
}


def log(workdir, protocols, value):
    """Scores while it trained, one an evaluation."""
    lines = [
        {"step": 400 * place, "scores/fid": [value + place]}
        | {"scores": {"fid": {"value": [value + place], "std": None, "protocol": each}}}
        for place, each in enumerate(protocols, start=1)
    ]
    with (workdir / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def run(folder, said, value, seed):
    scores = {"fid": {"value": [value], "std": None, "protocol": said}}
    workdir = make_run(folder, variant="mine", seed=seed, scores=scores)
    log(workdir, [said] * 3, value)
    return workdir


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_numbers_of_two_protocols_share_no_column_no_mean_and_no_curve(tmp_path, other):
    usual = protocol()
    assert usual != other
    for name, said, value, seed in (("a", usual, 10.0, 1), ("b", usual, 14.0, 2), ("c", other, 30.0, 3)):
        run(tmp_path / name, said, value, seed)
    loaded = load_runs([tmp_path])[0]
    (group,) = pool(loaded)  # But for their seeds they are one experiment.
    table = ablation_table("cifar10", [group])
    assert [name for name in table.header if name.startswith("FID")] == ["FID ↓ [1]", "FID ↓ [2]"]
    protocols = [note.split(": ", 1)[1] for note in table.notes if note.startswith("FID ↓ [")]
    cells = dict(zip(protocols, table.rows[0][3:5], strict=True))
    assert cells[usual] == "12.00 ± 2.83, n = 2" and cells[other] == "30.00, n = 1"
    assert any("cannot be compared" in note for note in table.notes)
    assert [mean for _, mean, _ in mean_curve(group, "scores/fid", usual)] == [13.0, 14.0, 15.0]
    assert [mean for _, mean, _ in mean_curve(group, "scores/fid", other)] == [31.0, 32.0, 33.0]
    assert mean_curve(group, "scores/fid") == []


def test_the_page_says_why(tmp_path):
    for name, said, value, seed in (("a", protocol(), 10.0, 1), ("b", OTHERS["of 10,000 images"], 14.0, 2)):
        run(tmp_path / name, said, value, seed)
    report = assemble(*load_runs([tmp_path]), datetime(2026, 1, 1))
    assert any("fid was measured by several protocols, which cannot be compared" in each for each in report.warnings)
    (gallery,) = (each for each in report.sections[0].galleries if each.title == "Scores during training")
    captions = [picture.caption for picture in gallery.pictures]
    assert len(captions) == 2 == len({picture.name for picture in gallery.pictures})
    for said in (protocol(), OTHERS["of 10,000 images"]):
        assert f"FID ↓, by one of 2 protocols, which cannot be compared: {said}" in captions


def test_a_run_whose_protocol_changed_has_a_curve_of_the_newest_alone(tmp_path):
    workdir = make_run(tmp_path / "a")
    log(workdir, [OTHERS["of 10,000 images"], protocol(), protocol()], 10.0)
    found, warnings = read_run(workdir)
    assert found.curves["scores/fid"] == ((800, (12.0,)), (1200, (13.0,)))
    assert found.curve_protocols == {"scores/fid": protocol()}
    assert len(warnings) == 1 and "scores/fid by another protocol than its newest value (10,000 against" in warnings[0]
