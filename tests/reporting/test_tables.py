"""Pooling and tables, with numbers computed by hand."""

import numpy as np
import pytest

from igan.reporting import paper
from igan.reporting.ablation import ablation_table, direction, display_name, format_score
from igan.reporting.pooling import binned_curve, mean_and_std, mean_curve, pool, pooling_warnings, titles
from igan.reporting.runs import load_runs
from igan.reporting.tables import duration, format_errors, semi_supervised_table

from .synthetic import PROTOCOL, make_run, score


def groups_in(folder):
    runs, _ = load_runs([folder])
    return pool(runs)


def mnist(workdir, errors, **options):
    return make_run(workdir, dataset="mnist", errors=errors, labels=100, **options)


def rows_of(table):
    return {row[0]: row[1:] for row in table.rows}


def test_mean_and_sample_std_by_hand():
    assert mean_and_std([90, 93, 99]) == pytest.approx((94.0, 21**0.5))  # (16 + 1 + 25) / 2 = 21
    assert mean_and_std([57]) == (57.0, None)


def test_numbers_as_text():
    assert format_errors(1677.2, 451.9, 10_000) == "1677 ± 452"
    assert format_errors(57.0, None, 1_000, percent=True) == "5.70"
    assert format_score(8.0912, 0.07) == "8.09 ± 0.07"
    assert format_score(0.001234, 0.00005) == "0.00123 ± 0.00005"
    assert format_score(123.44, None) == "123.4"
    assert format_score(0.0, None) == "0.00"
    assert [duration(seconds) for seconds in (41, 668, 30_000)] == ["41 s", "11 min 8 s", "8 h 20 min"]


def test_directions_of_known_scores():
    up = ("inception_score", "classifier_score", "precision", "recall", "density", "coverage")
    assert all(direction(name) == "↑" for name in up)
    assert all(direction(name) == "↓" for name in ("fid", "fid-768", "kid", "kid_768"))
    assert direction("my_score") == ""
    assert display_name("fid_768") == "FID 768 ↓"


def test_runs_with_the_same_config_are_pooled(tmp_path):
    mnist(tmp_path / "a", [90, 93], seed=1)
    mnist(tmp_path / "b", [99], seed=3)
    groups = groups_in(tmp_path)
    table = semi_supervised_table("mnist", groups)
    assert rows_of(table)["igan, averaged parameters"][2] == "94.0 ± 4.6, n = 3"
    assert pooling_warnings(groups) == []


def test_pooling_the_same_games_is_warned_of(tmp_path):
    mnist(tmp_path / "a", [90, 93], seed=1)
    mnist(tmp_path / "b", [93, 99], seed=2, steps=2400)
    warnings = pooling_warnings(groups_in(tmp_path))
    assert len(warnings) == 2
    assert "share 1 of their seeds (2)" in warnings[0]
    assert "differ in length" in warnings[1]


def test_other_configs_are_other_groups(tmp_path):
    for seed, rate in ((1, 0.1), (2, 0.1), (3, 0.2)):
        mnist(tmp_path / f"{seed}", [90 + seed], seed=seed, settings={"average_rate": rate, "devices": seed})
    groups = groups_in(tmp_path)
    assert [(group.settings, group.replicas) for group in groups] == [("average_rate=0.1", 2), ("average_rate=0.2", 1)]
    assert titles(groups) == ["average_rate=0.1", "average_rate=0.2"]
    rows = rows_of(semi_supervised_table("mnist", groups))
    assert rows["igan average_rate=0.2, averaged parameters"][2] == "93, n = 1"


def test_unfinished_runs_do_not_spoil_finished_ones(tmp_path):
    mnist(tmp_path / "a", [90, 93, 99])
    mnist(tmp_path / "b", [5000], seed=9, summary=False)
    groups = groups_in(tmp_path)
    assert rows_of(semi_supervised_table("mnist", groups))["igan, averaged parameters"][2] == "94.0 ± 4.6, n = 3"
    assert any(str(tmp_path / "b") in warning and "left out" in warning for warning in pooling_warnings(groups))
    table = semi_supervised_table("mnist", groups_in(tmp_path / "b"))
    assert rows_of(table)["igan, averaged parameters"][2] == "5000, n = 1 (unfinished)"


@pytest.mark.parametrize(
    ("dataset", "labels", "errors", "ensembles"),
    [
        ("cifar10", ("1,000", "2,000", "4,000", "8,000"),
         ("21.83 ± 2.01", "19.61 ± 2.09", "18.63 ± 2.32", "17.72 ± 1.82"),
         ("19.22 ± 0.54", "17.25 ± 0.66", "15.59 ± 0.47", "14.87 ± 0.89")),
        ("svhn_cropped", ("500", "1,000", "2,000"), ("18.44 ± 4.8", "8.11 ± 1.3", "6.16 ± 0.58"),
         ("-", "5.88 ± 1", "-")),
    ],
)  # fmt: skip
def test_semi_supervised_tables_of_other_data_sets(tmp_path, dataset, labels, errors, ensembles):
    make_run(tmp_path / "a", dataset=dataset, errors=[2000, 2200], labels=1000, test_examples=20_000)
    table = semi_supervised_table(dataset, groups_in(tmp_path))
    assert table.header[1:] == labels
    assert rows_of(table)["paper"] == errors
    assert rows_of(table)["paper, ensemble of 10"] == ensembles
    place = labels.index("1,000")
    assert rows_of(table)["igan, averaged parameters"][place] == "10.50 ± 0.71, n = 2"
    assert rows_of(table)["igan, ensemble"][place] == "9.98, 2 models"
    assert [table.rows[number][0] for number in sorted(table.quoted)] == ["paper", "paper, ensemble of 10"]


def test_all_labels_have_the_last_column(tmp_path):
    make_run(tmp_path / "a", errors=[1000], labels=0)
    table = semi_supervised_table("cifar10", groups_in(tmp_path))
    assert table.header[-1] == "all"
    assert rows_of(table)["igan, averaged parameters"][-1] == "10.00, n = 1"


def test_ablation_in_the_order_of_the_paper(tmp_path):
    for variant, value, labels in (("-l", 4.5, None), ("ours", 7.9, 0), ("mine", 8.5, 0), ("-ls", 6.9, 0)):
        for seed in (1, 2, 3):
            scores = {"inception_score": score(value + seed / 10, 0.05), "fid": score(60 - value - seed)}
            errors = [1500] if labels == 0 else []
            make_run(
                tmp_path / f"{variant}{seed}", variant=variant, labels=labels, errors=errors, seed=seed, scores=scores
            )
    make_run(tmp_path / "unscored", variant="-vbn+bn", labels=0, errors=[1400])
    table = ablation_table("cifar10", groups_in(tmp_path))
    assert [row[0] for row in table.rows] == ["real data", *paper.ABLATION, "mine"]
    columns = ("labels", "n", "paper: Inception score ↑", "inception score ↑", "FID ↓", "test error % ↓")
    assert table.header == ("variant", *columns)
    rows = rows_of(table)
    assert rows["ours"] == ("all", "3", "8.09 ± .07", "8.10 ± 0.10", "50.10 ± 1.00", "15.00 ± 0.00")
    assert rows["-l"] == ("no", "3", "4.36 ± .04", "4.70 ± 0.10", "53.50 ± 1.00", "-")
    assert rows["-vbn+bn"] == ("all", "1", "7.54 ± .07", "-", "-", "14.00")
    assert rows["real data"][2] == "11.24 ± .12"
    assert rows["-mbf"] == ("", "", "3.87 ± .03", "", "", "")
    assert rows["mine"][2] == "-"
    assert {(table.rows[row][0], column) for row, column in table.best} == {("mine", 4), ("mine", 5), ("-vbn+bn", 6)}
    assert any(PROTOCOL in note for note in table.notes)
    assert any("50,000 samples" in note and "Table 3" in note for note in table.notes)
    # The ablation's errors are not those of the paper's semi-supervised table.
    assert (
        rows_of(semi_supervised_table("cifar10", groups_in(tmp_path)))["igan, averaged parameters"][-1]
        == "15.00 ± 0.00, n = 3"
    )


def test_scores_of_different_protocols_are_never_pooled(tmp_path):
    make_run(tmp_path / "a", variant="ours", scores={"fid": score(10.0, None, "one")})
    make_run(tmp_path / "b", variant="ours", seed=2, scores={"fid": score([30.0, 34.0], None, "two")})
    table = ablation_table("cifar10", groups_in(tmp_path))
    assert table.header[4:6] == ("FID ↓ [1]", "FID ↓ [2]")
    assert rows_of(table)["ours"][3:5] == ("10.00, n = 1", "32.00 ± 2.83")
    assert any("several protocols" in note for note in table.notes)
    assert {"FID ↓ [1]: one", "FID ↓ [2]: two"} <= set(table.notes)


def test_a_single_value_keeps_the_spread_of_its_protocol(tmp_path):
    make_run(tmp_path / "a", dataset="mnist", variant="unsupervised", scores={"inception_score": score(5.1, 0.04)})
    table = ablation_table("mnist", groups_in(tmp_path))
    assert rows_of(table)["unsupervised"] == ("no", "1", "5.10 ± 0.04†", "-")
    assert "real data" not in rows_of(table)


def test_no_ablation_without_anything_to_add(tmp_path):
    mnist(tmp_path / "a", [90])
    assert ablation_table("mnist", groups_in(tmp_path)) is None
    make_run(tmp_path / "b", dataset="folder:faces", test_examples=0)
    assert ablation_table("folder:faces", groups_in(tmp_path / "b")) is None
    assert semi_supervised_table("folder:faces", groups_in(tmp_path / "b")) is None


def test_curve_is_the_mean_over_all_replicas_at_common_steps(tmp_path):
    mnist(tmp_path / "a", [90, 93], seed=1)
    mnist(tmp_path / "b", [99], seed=3, steps=2400)  # Evaluated at 1200 and 2400.
    (group,) = groups_in(tmp_path)
    ((step, mean, std),) = mean_curve(group, "test_errors")
    assert (step, mean) == (1200, (90 + 93 + 198) / 3)
    assert std == pytest.approx(np.std([90, 93, 198], ddof=1))
    assert mean_curve(group, "scores/fid") == []


def test_binned_curve_averages_stretches_of_each_run(tmp_path):
    make_run(tmp_path / "a", seed=1, points=1000, steps=1000)
    make_run(tmp_path / "b", seed=2, points=1000, steps=1000)
    (group,) = groups_in(tmp_path)
    curve = binned_curve(group, "d/minimax", bins=10)
    per_run = [[values[0] for _, values in run.curves["d/minimax"]] for run in group.runs]
    # Edges at 0, 100.1, 200.2, ...: the first bin has steps 1 to 100, the last 901 to 1000.
    first = [np.mean(values[:100]) for values in per_run]
    assert len(curve) == 10
    assert curve[0] == pytest.approx((50.05, np.mean(first), np.std(first, ddof=1)))
    assert curve[-1][1] == pytest.approx(np.mean([np.mean(values[900:]) for values in per_run]))
