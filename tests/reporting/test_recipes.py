"""The report says what was run so that it can be run again."""

import shlex
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from igan.recorded import completed, plain
from igan.reporting import experiments
from igan.reporting.lenient_json import flat
from igan.reporting.pooling import pool
from igan.reporting.recipes import recipes
from igan.reporting.runs import load_runs
from igan.reporting.settings import decisive

from .synthetic import make_run
from .test_pooling import ablation_row, config_of, run_with


def recipes_in(folder):
    return recipes(pool(load_runs([folder])[0]))


def config_by(command, monkeypatch):
    """The config that igan.main would have after this command line, as a shell splits it."""
    program, _, module, *arguments = shlex.split(command)
    assert (program, module) == ("python", "igan.main")
    values = flags.FlagValues()
    monkeypatch.setattr(sys, "argv", ["igan", *arguments])  # Where ml_collections looks for the fields.
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    values(["igan", *arguments])
    return values.config


def test_the_command_makes_the_same_config_again(tmp_path, monkeypatch):
    changes = {
        "networks__generator_layers": [500],
        "networks__discriminator_layers": [50, 50],
        "evaluation__scores": ["fid", "kid"],
        "evaluation__inception_weights": "it's a file; rm -rf.npz",
        "data__name": "folder:/my faces",
        "data__fingerprint": "0123456789012345",
        "generator__learning_rate": 1e-05,
        "generator__constant_share": 1,
        "techniques__label_smoothing__enabled": True,
        "deterministic": True,
        "epochs": 7,
    }
    config = config_of(**changes) | {"seed": 5, "replicas": 1, "labels_per_class": 2}
    config["techniques"]["feature_matching"]["enabled"] = False  # Which experiments/mnist.py enables.
    run_with(tmp_path / "a", config, labels=20, seed=5)
    (recipe,) = recipes_in(tmp_path)
    again = flat(completed(plain(config_by(recipe.command, monkeypatch))))
    assert decisive(again) == decisive(flat(config))
    for name in ("seed", "replicas", "epochs", "labels_per_class", "evaluation.scores", "evaluation.inception_weights"):
        assert again[name] == flat(config)[name], name


@pytest.mark.parametrize("name", ["<b>'&\\'", "two\nlines\tand 3", '$HOME `ls` "!"', "caf\u00e9"])
def test_a_shell_takes_every_value_as_it_is(tmp_path, name):
    run_with(tmp_path / "a", config_of(evaluation__inception_weights=name))
    (recipe,) = recipes_in(tmp_path)
    assert not set("<>&") & set(recipe.command)
    words = ["bash", "-c", recipe.command.replace("python -m igan.main", "printf '%s\\0'")]
    taken = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0")
    assert f"--config.evaluation.inception_weights={name}" in taken


def test_a_run_of_the_experiment_as_it_is_needs_no_flags(tmp_path, monkeypatch):
    ablation_row(tmp_path / "ours", "-ls")
    (recipe,) = recipes_in(tmp_path)
    assert recipe.command.split() == ["python", "-m", "igan.main", "\\", "--config=experiments/cifar10.py:-ls"]
    assert (recipe.settings, recipe.text) == ((), "")
    assert plain(config_by(recipe.command, monkeypatch))["variant"] == "-ls"
    assert dict(recipe.fields)["networks.discriminator_widths"] == "(96, 192)"


def test_every_difference_is_listed_and_not_only_some(tmp_path):
    widths = {f"{player}__{field}": value for player in ("generator", "discriminator")
              for field, value in (("b1", 0.1), ("b2", 0.2), ("steps", 2))}  # fmt: skip
    run_with(tmp_path / "a", config_of())
    run_with(tmp_path / "b", config_of(**widths))
    listed = [{name for name, _, _ in recipe.settings} for recipe in recipes_in(tmp_path)]
    assert all(names >= {field.replace("__", ".") for field in widths} for names in listed)
    row = next(row for row in recipes_in(tmp_path)[1].settings if row[0] == "generator.b1")
    assert row in (("generator.b1", "0.1", "0.5"), ("generator.b1", "0.5", "0.5"))


def test_a_group_names_the_seeds_of_its_other_runs(tmp_path):
    for seed in (1, 2, 3):
        run_with(tmp_path / f"{seed}", config_of(), seed=seed)
    (recipe,) = recipes_in(tmp_path)
    assert "the first of 3 runs; the others have the seeds 2, 3." in recipe.text
    assert dict(recipe.fields)["seed"] == "1 / 2 / 3"


def test_what_a_command_cannot_say_is_said(tmp_path):
    config = config_of(newer__field=3)
    config["techniques"]["own"] = {"enabled": True, "strength": 2.0}
    run_with(tmp_path / "newer", config)
    (recipe,) = recipes_in(tmp_path / "newer")
    assert "an igan that has newer.field, techniques.own.enabled, techniques.own.strength" in recipe.text
    assert "--config.techniques.own.strength=2" in recipe.command
    run_with(tmp_path / "lost", config_of())
    (tmp_path / "lost" / "config.json").unlink()
    (recipe,) = recipes_in(tmp_path / "lost")
    assert (recipe.command, recipe.fields) == ("", ())
    assert "config of" in recipe.text and "cannot be read" in recipe.text
    for place, (experiment, variant) in enumerate((("mine", ""), ("mnist", "mine"), ("../mnist", ""), ("mnist\n", ""))):
        run_with(tmp_path / f"{place}", config_of(experiment=experiment, variant=variant))
        (recipe,) = recipes_in(tmp_path / f"{place}")
        assert "compared with igan's defaults" in recipe.text
    other = config_of(networks={"name": "convolutional", "input_noise": 0.5})
    run_with(tmp_path / "convolutional", other)
    assert "has other networks now" in recipes_in(tmp_path / "convolutional")[0].text


@pytest.mark.parametrize("content", ["", "get_config = 5", "raise SystemExit(3)", "def get_config(v): return v"])
def test_an_experiment_that_cannot_be_loaded_is_none(tmp_path, monkeypatch, content):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mnist.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert experiments.defaults("mnist", "") is None


def test_the_name_of_an_experiment_leads_to_no_other_folder(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "outside.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    monkeypatch.chdir(tmp_path)
    for name in ("../outside", str(tmp_path / "outside")):
        assert experiments.defaults(name, "") is None
    assert not (tmp_path / "touched").exists()


def test_experiments_beside_the_package_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert experiments.defaults("mnist", "unsupervised")["techniques.non_saturating.enabled"] is True
    assert experiments.defaults("mnist", "unknown") is None


def test_a_technique_of_the_experiment_that_a_run_switched_off_is_in_its_command(tmp_path):
    make_run(
        tmp_path / "a", dataset="mnist", labels=None, settings=config_of(techniques__semi_supervised__enabled=False)
    )
    (recipe,) = recipes_in(tmp_path)
    assert "--config.techniques.semi_supervised.enabled=False" in recipe.command
    assert ("techniques.semi_supervised.enabled", "False", "True") in recipe.settings
