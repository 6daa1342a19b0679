"""The launcher's command line, and the members it makes of one."""

import json
import shlex
import sys
from pathlib import Path

import plan
import pytest
import sweep

from igan.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "game.py").touch()
    return tmp_path


def members(*arguments: str) -> list[plan.Member]:
    return sweep.parse(["--config=game.py", "--workdir=w", *arguments])[1]


def names(*arguments: str) -> list[str]:
    return [member.name for member in members(*arguments)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2", ("2",)),
        ("", ("",)),
        ("2,5, 10", ("2", "5", "10")),
        ("(500,500)", ("(500,500)",)),
        ("(500,500),(6,)", ("(500,500)", "(6,)")),
        ("[(1,2),(3,4)],{5,6}", ("[(1,2),(3,4)]", "{5,6}")),
        ("'a,b',\"c,(d\"", ("'a,b'", '"c,(d"')),
    ],
)
def test_only_commas_outside_brackets_and_quotes_separate(text, values):
    assert plan.split("--flag", text) == values


def test_the_grid_is_the_product_in_the_order_of_the_flags(folder):
    assert names("--variants=ours,-vbn+bn", "--config.a.labels=2,5", "--seeds=1,2", "--config.epochs=3") == [
        f"variant={variant},labels={labels},seed={seed}"
        for variant in ("ours", "-vbn+bn")
        for labels in (2, 5)
        for seed in (1, 2)
    ]


def test_all_variants_are_those_that_the_experiment_lists(folder):
    (folder / "game.py").write_text("VARIANTS = ('ring-minimax', 'grid-minimax')")
    assert names("--variants=all") == ["variant=ring-minimax", "variant=grid-minimax"]
    (folder / "game.py").write_text("")
    with pytest.raises(UserError, match=r"game\.py lists no VARIANTS that --variants=all could mean"):
        names("--variants=all")
    (folder / "game.py").write_text("1 / 0")
    with pytest.raises(UserError, match=r"cannot load the experiment game\.py: ZeroDivisionError"):
        names("--variants=all")


def test_a_member_is_a_command(folder):
    member = members("--variants=-ls,-l", "--config.layers=(5,5)", "--seeds=7", "--compilation_cache=a,b")[0]
    assert member.command() == [
        *(sys.executable, "-m", "igan.main", "--config=game.py:-ls", "--config.layers=(5,5)"),
        *("--compilation_cache=a,b", "--config.seed=7", "--workdir=w/variant=-ls,seed=7"),
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["run"]),
        (["--seeds=3"], ["seed=3"]),  # Later it may become --seeds=3,4.
        (["--config.seed=3,4"], ["seed=3", "seed=4"]),
        (["--config.epochs=3"], ["run"]),
        (["--variants='',other"], ["variant=default", "variant=other"]),
        (["--config.networks.layers=(500,500),(6,)"], ["layers=500x500", "layers=6"]),
        (["--config.a.rate=1e-3,-.5"], ["rate=1e-3", "rate=-.5"]),
        (["--config.data.dir=/a/b,c d/../e"], ["dir=a_b", "dir=c_d_.._e"]),
        # Both are called learning_rate.
        (
            ["--config.generator.learning_rate=1,2", "--config.discriminator.learning_rate=3,4"],
            [f"generator.learning_rate={g},discriminator.learning_rate={d}" for g in (1, 2) for d in (3, 4)],
        ),
        (["--config.generator.steps=1,2", "--config.discriminator.steps=3"], ["steps=1", "steps=2"]),
    ],
)
def test_names_say_what_is_swept(folder, arguments, expected):
    assert names(*arguments) == expected
    for name in expected:
        assert "/" not in name and not name.startswith(("-", ".")) and " " not in name


def test_long_names_stay_apart_and_short(folder):
    first, second = names(f"--config.data.dir={'x' * 400}1,{'x' * 400}2")
    assert first != second and max(len(first), len(second)) < 200
    assert [first, second] == names(f"--config.data.dir={'x' * 400}1,{'x' * 400}2")


def test_seeds_that_are_apart_or_of_different_settings_are_fine(folder):
    assert len(members("--config.seed=1,11", "--config.replicas=10", "--config.epochs=1,2")) == 4
    assert len(members("--seeds=2,1,3", "--variants=a,b")) == 6
    assert len(members("--config.seed=5", "--config.replicas=1,10")) == 2
    assert len(members("--config.seed=one,two")) == 2  # igan.main says what it expects.


def test_what_follows_two_dashes_goes_to_every_run(folder):
    found = members("--seeds=1,2", "--", "--anything=1,2", "--seeds=x")
    assert [member.flags[-2:] for member in found] == [("--anything=1,2", "--seeds=x")] * 2


BAD = {
    "no experiment": (["--config="], ["which experiment?", "--config=experiments/mnist.py"]),
    "a missing experiment": (["--config=gane.py"], ["gane.py", "Did you mean 'game.py'"]),
    "a missing folder": (["--config=nowhere/x.py"], ["there is no experiment nowhere/x.py."]),
    "a file for a work directory": (["--workdir=game.py"], ["game.py is a file", "--workdir"]),
    "a file above it": (["--workdir=game.py/a"], ["game.py is a file"]),
    "seed for seeds": (["--seed=1"], ["--seed", "Did you mean '--seeds'"]),
    "an unlike flag": (["--zzz=1"], ["--zzz", "Known: ", "--config.FIELD=VALUE"]),
    "a stray word": (["epochs=3"], ["'epochs=3'", "--name=value"]),
    "a value after a space": (["--config.epochs", "3"], ["--config.epochs=VALUE"]),
    "no value": (["--config.epochs"], ["--config.epochs has no value"]),
    "a flag without a value": (["--seeds"], ["--seeds", "expected one argument"]),
    "no variants": (["--variants="], ["--variants is empty"]),
    "no seeds": (["--seeds="], ["--seeds", "whole numbers"]),
    "words for seeds": (["--seeds=1,b"], ["--seeds=1,b", "whole numbers"]),
    "an empty value": (["--config.epochs=1,,2"], ["--config.epochs=1,,2", "empty"]),
    "a comma at the end": (["--variants=a,"], ["--variants=a,", "empty"]),
    "a repeated seed": (["--seeds=1,2,1"], ["--seeds=1,2,1", "1 is there twice"]),
    "a repeated flag": (["--config.epochs=1", "--config.epochs=2"], ["twice", "--config.epochs=1,2"]),
    "the seed twice": (["--seeds=1", "--config.seed=2"], ["drop one"]),
    "variants twice": (["--config=game.py:a", "--variants=b"], ["drop one"]),
    "seeds that overlap": (["--seeds=1,5,11", "--config.replicas=10"], ["replicas", "--seeds=1,11,21"]),
    "seeds of a field that overlap": (
        ["--config.seed=1,2", "--config.replicas=10"],
        ["seeds 1,2 with replicas=10", "--config.seed=1,11"],
    ),
    "seeds that overlap for some replicas": (
        ["--seeds=1,11", "--config.replicas=2,20", "--config.epochs=3,4"],
        ["with replicas=20", "--seeds=1,21"],
    ),
    "replicas after two dashes": (["--seeds=1,2", "--", "--config.replicas=2"], ["--seeds=1,3"]),
    "one seed for all after two dashes": (["--config.seed=1,2", "--", "--config.seed=7"], ["--config.seed=7,8"]),
    "one seed written in two ways": (["--seeds=1,01"], ["--seeds=1,2"]),
    "one name for two": (["--config.layers=(5,5),[5,5]"], ["layers=5x5", "(5,5)", "[5,5]"]),
    "an open bracket": (["--config.layers=(5,5"], ["a closing ) is missing"]),
    "a wrong bracket": (["--config.layers=(5,5]"], ["do not match at ']'"]),
    "an open quote": (["--config.x='a,b"], ["a closing ' is missing"]),
    "no jobs": (["--jobs=0"], ["--jobs=0: expected 1 or more"]),
    "words for jobs": (["--jobs=many"], ["--jobs", "many"]),
    "negative retries": (["--retries=-1"], ["--retries=-1: expected 0 or more"]),
    "slurm's flag without it": (["--slurm_time=5"], ["--slurm_time", "add --slurm"]),
    "detach without slurm": (["--detach"], ["--detach", "add --slurm"]),
    "gpus with slurm": (["--slurm", "--gpus=0"], ["--slurm_gpus"]),
    "no gpus": (["--gpus="], ["--gpus is empty"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_mistakes_are_one_line_and_write_nothing(folder, capsys, arguments, words):
    assert sweep.main(["--config=game.py", "--workdir=w", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    for word in words:
        assert word in printed.err
    assert [path.name for path in folder.iterdir()] == ["game.py"]


def test_a_work_directory_is_asked_for(folder):
    with pytest.raises(UserError, match=r"--workdir=runs/game-sweep"):
        sweep.parse(["--config=game.py"])


def test_dry_run_prints_the_commands_and_writes_nothing(folder, capsys):
    arguments = ["--config=game.py", "--workdir=w", "--config.layers=(5,5),(6,)", "--dry_run"]
    assert sweep.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    python = shlex.quote(sys.executable)
    assert lines == [
        f"{python} -m igan.main --config=game.py '--config.layers=(5,5)' --workdir=w/layers=5x5",
        f"{python} -m igan.main --config=game.py '--config.layers=(6,)' --workdir=w/layers=6",
        f"{python} -m igan.report w --output=w/report",
    ]
    assert [path.name for path in folder.iterdir()] == ["game.py"]


def test_finished_is_what_these_flags_have_finished(folder):
    member = members("--seeds=1", "--config.epochs=3")[0]
    member.workdir.mkdir(parents=True)
    assert not plan.is_finished(member)
    for summary in ('{"finished": false}', "{", "[]"):
        (member.workdir / "summary.json").write_text(summary)
        assert not plan.settle(member, 0)
    (member.workdir / "summary.json").write_text(json.dumps({"finished": True}))
    assert not plan.settle(member, 1) and not plan.is_finished(member)
    assert plan.settle(member, 0) and plan.is_finished(member)
    assert not plan.is_finished(members("--seeds=1", "--config.epochs=4")[0])


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        sweep.main(["--help"])
    text = capsys.readouterr().out
    for word in ("python launch/sweep.py --config=experiments/mnist.py --seeds=1,2,3", "--slurm_time", "Exit codes"):
        assert word in text
