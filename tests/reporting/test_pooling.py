"""What is averaged: runs that differ in nothing but their seeds and what changes no result. What differs is named."""

import copy
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igan.config import default
from igan.recorded import changed, plain
from igan.reporting import experiments
from igan.reporting.pooling import pool, titles
from igan.reporting.runs import load_runs, read_run
from igan.reporting.settings import UNSET, canonical, names_of, value_text
from igan.reporting.tables import semi_supervised_table
from tests.xla import LONG

from .synthetic import make_run

SQUEEZED = {"logit_squeezing": {"enabled": True, "strength": 10.0}}
NAMES = ("seed", "replicas", "labels_per_class", "experiment", "variant")


def config_of(**changes):
    """The whole config of a labelled run, with some fields changed: sections joined by two underscores."""
    config = plain(default()) | {"experiment": "mnist"}
    config["techniques"]["semi_supervised"]["enabled"] = True
    config["techniques"]["minimax"]["enabled"] = True
    for field, value in changes.items():
        put(config, field.split("__"), value)
    return config


def put(config, path, value):
    for section in path[:-1]:
        config = config.setdefault(section, {})
    config[path[-1]] = value


def run_with(workdir, config, labels=100, seed=1, errors=(90,), **options):
    """A run with a whole config instead of the few fields of a synthetic one."""
    config = config | {"seed": seed, "labels_per_class": labels // 10}
    return make_run(
        workdir, dataset="mnist", errors=errors, labels=labels, seed=seed, settings=config, variant=config["variant"],
        **options,
    )  # fmt: skip


def groups_in(folder):
    return pool(load_runs([folder])[0])


def first_column(groups):
    return [row[0] for row in semi_supervised_table("mnist", groups).rows if row[0].endswith("averaged parameters")]


def test_a_technique_that_older_runs_do_not_know_is_switched_off_in_them(tmp_path):
    run_with(tmp_path / "old", config_of(), errors=[223])
    config = config_of()
    config["techniques"] |= SQUEEZED
    run_with(tmp_path / "new", config, errors=[886], seed=2)
    groups = groups_in(tmp_path)
    assert titles(groups) == ["logit_squeezing.enabled=False", "logit_squeezing.enabled=True"]
    assert [group.errors for group in groups] == [[223], [886]]
    assert first_column(groups) == [f"igan {title}, averaged parameters" for title in titles(groups)]


def test_a_technique_switched_off_separates_nothing_whatever_its_other_fields(tmp_path):
    for seed, strength in ((1, None), (2, 1.0), (3, 10.0)):
        config = config_of(techniques__label_smoothing__real_target=strength or 0.9)
        if strength:
            config["techniques"]["logit_squeezing"] = {"enabled": False, "strength": strength}
        run_with(tmp_path / f"{seed}", config, seed=seed)
    assert [group.replicas for group in groups_in(tmp_path)] == [3]


def test_a_strength_is_named_beside_a_run_without_the_technique(tmp_path):
    run_with(tmp_path / "without", config_of())
    for strength in (1.0, 10.0):
        config = config_of(techniques__logit_squeezing={"enabled": True, "strength": strength})
        run_with(tmp_path / f"{strength}", config)
    assert titles(groups_in(tmp_path)) == [
        "logit_squeezing.enabled=False",
        "logit_squeezing.enabled=True, logit_squeezing.strength=1",
        "logit_squeezing.enabled=True, logit_squeezing.strength=10",
    ]


def test_other_settings_at_other_labels_are_other_rows(tmp_path):
    run_with(tmp_path / "a", config_of(), labels=20, errors=[1500])
    run_with(tmp_path / "b", config_of(techniques__feature_matching__enabled=True), labels=100, errors=[90])
    table = semi_supervised_table("mnist", groups_in(tmp_path))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["igan feature_matching.enabled=False, averaged parameters"] == ("1500, n = 1", "-", "-", "-")
    assert rows["igan feature_matching.enabled=True, averaged parameters"] == ("-", "-", "90, n = 1", "-")


def test_a_config_that_cannot_be_read_is_averaged_with_nothing(tmp_path):
    for seed in (1, 2, 3):
        run_with(tmp_path / f"{seed}", config_of(average_rate=0.1 if seed < 3 else 0.2), seed=seed)
    for lost in ("lost", "lost_too"):
        run_with(tmp_path / lost, config_of(), seed=4)
        (tmp_path / lost / "config.json").unlink()
    assert {group.settings: group.replicas for group in groups_in(tmp_path)} == {
        "average_rate=0.1": 2,
        "average_rate=0.2": 1,
        f"config unknown: {tmp_path / 'lost'}": 1,
        f"config unknown: {tmp_path / 'lost_too'}": 1,
    }


def test_runs_tested_on_other_numbers_of_examples_are_apart(tmp_path):
    for seed, size in ((1, 10_000), (2, 10_000), (3, 1_000)):
        run_with(tmp_path / f"{seed}", config_of(), seed=seed, test_examples=size)
    (tmp_path / "1" / "metrics.jsonl").write_text('{"step": 1200, "epoch": 2.0}\n')
    summary = json.loads((tmp_path / "1" / "summary.json").read_text())
    del summary["test_errors"]
    (tmp_path / "1" / "summary.json").write_text(json.dumps(summary))  # Not tested yet.
    for run in (tmp_path / "2", tmp_path / "3"):
        text = (run / "summary.json").read_text()
        dataset = text.replace('"dataset": "mnist"', '"dataset": "cifar10"')
        (run / "summary.json").write_text(dataset)
    groups = pool([read_run(tmp_path / name)[0] for name in "123"])
    assert [(group.settings, len(group.runs)) for group in groups] == [("test_examples=1000", 2),
                                                                      ("test_examples=10000", 1)]  # fmt: skip


@pytest.mark.parametrize(("share", "groups"), [(1.0, 1), (0.5, 2)])
def test_epochs_separate_where_the_learning_rate_follows_them(tmp_path, share, groups):
    for epochs in (2, 4):
        config = config_of(generator__constant_share=share, epochs=epochs)
        run_with(tmp_path / f"{epochs}", config, seed=epochs, steps=600 * epochs)
    assert len(groups_in(tmp_path)) == groups


def ablation_row(workdir, variant, **changes):
    fields = experiments.defaults("cifar10", variant)
    config = {}
    for field, value in (fields | {name.replace("__", "."): value for name, value in changes.items()}).items():
        put(config, field.split("."), value)
    make_run(workdir, variant=variant, labels=0, errors=[1500], settings=config | {"variant": variant})


def test_what_a_variant_means_goes_without_saying_and_what_else_differs_does_not(tmp_path):
    ablation_row(tmp_path / "ours", "ours")
    ablation_row(tmp_path / "smooth", "-ls")
    assert titles(groups_in(tmp_path)) == ["ours", "-ls"]
    ablation_row(tmp_path / "narrow", "-mbf", networks__discriminator_widths=[8, 16])
    assert titles(groups_in(tmp_path)) == [
        "ours, discriminator_widths=(96, 192)",
        "-ls, discriminator_widths=(96, 192)",
        "-mbf, discriminator_widths=(8, 16)",
    ]


def test_rows_of_several_experiments_name_theirs(tmp_path):
    for experiment in ("mnist", "mine"):
        for variant in ("", "wide"):
            run_with(tmp_path / f"{experiment}{variant}", config_of(experiment=experiment, variant=variant))
    names = ("mine wide", "mine default", "mnist wide", "mnist default")
    assert sorted(first_column(groups_in(tmp_path))) == sorted(f"igan {name}, averaged parameters" for name in names)


FIELDS = {
    "seed": st.integers(1, 3),
    "replicas": st.integers(1, 3),
    "epochs": st.integers(1, 3),
    "batch_size": st.sampled_from([50, 100, 100.0]),
    "deterministic": st.booleans(),
    "devices": st.integers(0, 2),
    "data.dir": st.sampled_from(["", "/data"]),
    "data.fingerprint": st.sampled_from(["", "0123456789abcdef"]),
    "data.source": st.sampled_from(["auto", "tfds"]),
    "evaluation.scores": st.sampled_from([[], ["fid"]]),
    "checkpoint.keep": st.integers(2, 3),
    "networks.generator_layers": st.sampled_from([[500, 500], [500], "500"]),
    "discriminator.learning_rate": st.sampled_from([1e-3, 1, 1.0, True]),
    "techniques.label_smoothing.enabled": st.booleans(),
    "techniques.label_smoothing.real_target": st.sampled_from([0.8, 0.9]),
    "techniques.own.enabled": st.booleans(),
    "techniques.own.strength": st.sampled_from([1.0, 2, "2", "unset"]),
    "newer.field": st.sampled_from([None, 1]),
}
CHANGES = st.fixed_dictionaries({}, optional=FIELDS)
REMOVED = st.sets(st.sampled_from(["batch_size", "deterministic", "generator.b1", "techniques.label_smoothing"]))


def varied(changes, removed):
    config = config_of()
    for field, value in changes.items():
        put(config, field.split("."), value)
    for field in removed:
        *sections, name = field.split(".")
        inside = config
        for section in sections:
            inside = inside[section]
        inside.pop(name, None)
    return config


def meaning(config):
    """A config as the run understands it, written for this test: what it lacks, and what is off, by hand."""
    full = copy.deepcopy(config)
    lacking = plain(default())
    for name in ("batch_size", "deterministic"):
        full.setdefault(name, lacking[name])
    full["generator"].setdefault("b1", lacking["generator"]["b1"])
    full["techniques"] = {name: each for name, each in full["techniques"].items() if each.get("enabled")}
    target = {"real_target": 0.9, "generator_target": 1.0}
    if "label_smoothing" in full["techniques"]:
        full["techniques"]["label_smoothing"] = target | full["techniques"]["label_smoothing"]
    return {name: each for name, each in full.items() if name not in NAMES}


def same_game(one, other):
    """By the rule for going on with a run, not by that of reports; true is 1 for Python, and not for a config."""
    one, other = meaning(one), meaning(other)
    rates = [each["discriminator"]["learning_rate"] is True for each in (one, other)]
    return changed(one, other) == [] and rates[0] == rates[1]


@settings(max_examples=150, deadline=None)
@given(st.tuples(CHANGES, REMOVED), st.tuples(CHANGES, REMOVED))
def test_runs_are_pooled_if_and_only_if_nothing_differs_that_changes_a_result(first, second):
    one, other = varied(*first), varied(*second)
    with tempfile.TemporaryDirectory() as folder:
        for name, config in (("one", one), ("other", other)):
            make_run(Path(folder) / name, dataset="mnist", errors=[90], labels=100, settings=config)
        groups = groups_in(Path(folder))
    assert (len(groups) == 1) == same_game(one, other)
    assert len(set(titles(groups))) == len(groups)


def differences(one, other):
    """The fields that `changed` finds: of a technique that is off on one side, and of a new section, the first."""
    found = [line.partition(": was")[0] for line in changed(meaning(one), meaning(other))]
    first = {"techniques.own": "own.enabled", "techniques.label_smoothing": "label_smoothing.enabled"}
    first |= {"newer": "newer.field"}
    return [first.get(field, field.removeprefix("techniques.").removeprefix("networks.")) for field in found]


def said(name, field):
    """The value that a row's name gives a field."""
    return re.findall(rf"(?:^|, ){re.escape(field)}=(.*?)(?=, [\w.]+=|$)", name)


@settings(max_examples=200 if LONG else 25, deadline=None)
@given(st.lists(st.tuples(CHANGES, st.just(set()), st.sampled_from([20, 100])), min_size=2, max_size=4))
def test_every_difference_between_rows_stands_in_them(runs):
    with tempfile.TemporaryDirectory() as folder:
        configs = []
        for place, (changes, removed, labels) in enumerate(runs):
            configs.append(varied(changes, removed))
            config = configs[-1] | {"labels_per_class": labels // 10}
            make_run(Path(folder) / f"{place}", dataset="mnist", errors=[90 + place], labels=labels, settings=config)
        groups = groups_in(Path(folder))
        names = {run.workdir.name: group.settings for group in groups for run in group.runs}
        table = first_column(groups)
    assert len(table) == len(set(names.values()))
    for place, one in enumerate(configs):
        for number, other in enumerate(configs[:place]):
            own, others = names[f"{place}"], names[f"{number}"]
            assert (own == others) == same_game(one, other)
            for field in differences(one, other):
                assert len(said(own, field)) == len(said(others, field)) == 1, (field, own, others)
                assert said(own, field) != said(others, field)


def test_texts_are_the_same_only_where_values_are():
    values = [1, True, "1", "True", None, "None", [1], [[1]], "[1]", "(1,)", 0.1, "0.1", "", " ", "unset", UNSET, []]
    assert len({value_text(value) for value in values}) == len({canonical(value) for value in values}) == len(values)
    assert value_text(1.0) == value_text(1) and canonical([1.0]) == canonical([1])


def test_nothing_is_named_of_a_single_group():
    assert names_of([]) == []
