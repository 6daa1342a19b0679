"""The command line as a person meets it: what it refuses, in one line each, and what --help and --dry_run show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import xla
from tests.command import EXPERIMENT, PATIENCE, REPOSITORY, SMALL, Command, left_behind, refused

BAD_INPUT: dict[str, tuple[list[str], list[str]]] = {
    "no experiment": ([], ["which experiment", "--config=experiments/mnist.py"]),
    "a mistyped flag": ([EXPERIMENT, "--workdri=x"], ["workdri", "workdir"]),
    "a mistyped field": ([EXPERIMENT, "--config.epohcs=3"], ["epohcs", "epochs"]),
    "an unlike field": ([EXPERIMENT, "--config.zzzzzz=3"], ["the config has no field 'zzzzzz'", "--dry_run"]),
    "a field of another section": (
        [EXPERIMENT, "--config.checkpoint_interval=3"],
        ["the config has no field 'checkpoint_interval'", "Did you mean 'checkpoint.interval'"],
    ),
    "a mistyped field further down": ([EXPERIMENT, "--config.generator.learning_rat=1"], ["learning_rate"]),
    "a mistyped technique": (
        [EXPERIMENT, "--config.techniques.feature_machting.enabled=True"],
        ["feature_machting", "Did you mean 'feature_matching'"],
    ),
    "an unlike technique": (
        [EXPERIMENT, "--config.techniques.zzz.enabled=True"],
        ["the config has no field 'techniques.zzz.enabled'"],
    ),
    "a field of a number": ([EXPERIMENT, "--config.seed.x=1"], ["no field 'seed.x'. Did you mean 'seed'"]),
    "networks of another experiment": (
        [EXPERIMENT, *SMALL, "--config.networks.name=convolutional"],
        ["'convolutional' have no 'discriminator_layers'", "another experiment"],
    ),
    "a number for scores": ([EXPERIMENT, *SMALL, "--config.evaluation.scores=5"], ["scores", "('fid','kid')"]),
    "an unknown score in a dry run": (
        [EXPERIMENT, *SMALL, "--config.evaluation.scores=fidd", "--dry_run"],
        ["Did you mean 'fid'"],
    ),
    "scores without weights": (
        [EXPERIMENT, *SMALL, "--config.evaluation.scores=fid", "--config.evaluation.inception_weights=absent.npz"],
        [
            "no Inception weights at absent.npz: run 'python -m igan.metrics.fetch",
            "or give a file with --config.evaluation.inception_weights",
        ],
    ),
    "the best of no scores": (
        [EXPERIMENT, *SMALL, "--config.evaluation.best=fid"],
        ["evaluation.best is fid, but no scores are computed", "--config.evaluation.scores="],
    ),
    "a part of a field": (
        [EXPERIMENT, "--config.networks.generator_layers[0]=7"],
        ["'networks.generator_layers[0]'", "--config.networks.generator_layers=VALUE"],
    ),
    "a field before the experiment": (["--config.seed=1", EXPERIMENT], ["config"]),
    "a word for a number": ([EXPERIMENT, "--config.epochs=many"], ["config.epochs=many: expected a whole number"]),
    "a fraction for a whole number": ([EXPERIMENT, "--config.seed=1.5"], ["config.seed=1.5: expected a whole number"]),
    "a word for a fraction": ([EXPERIMENT, "--config.average_rate=x"], ["average_rate=x: expected a number, like 0.5"]),
    "a word for yes or no": (
        [EXPERIMENT, "--config.techniques.minimax.enabled=maybe"],
        ["--config.techniques.minimax.enabled=maybe: expected True or False"],
    ),
    "half a list": (
        [EXPERIMENT, "--config.networks.generator_layers=(3, x"],
        ["generator_layers=(3, x: expected values in brackets, like (8,) or ('a','b')"],
    ),
    "words for layers": ([EXPERIMENT, *SMALL, "--config.networks.generator_layers=wide"], ["generator_layers"]),
    "a section": ([EXPERIMENT, "--config.data=mnist"], ["data"]),
    "a field without a name": ([EXPERIMENT, "--config.=3"], ["''", "--config.SECTION.FIELD=VALUE"]),
    "a word of Python": ([EXPERIMENT, "--config.lambda=2"], ["'lambda'"]),
    "two dots": ([EXPERIMENT, "--config.generator..steps=3"], ["'generator..steps'", "--config.SECTION.FIELD=VALUE"]),
    "no value": ([EXPERIMENT, "--config.epochs"], ["epochs"]),
    "a stray argument": ([EXPERIMENT, "epochs=3"], ["'epochs=3'", "--name=value"]),
    "an unknown variant": ([f"{EXPERIMENT}:unsupervized"], ["unsupervized", "Did you mean 'unsupervised'"]),
    "an unknown experiment": (["--config=experiments/minst.py"], ["experiments/minst.py"]),
    "a folder for an experiment": ([f"--config={REPOSITORY}"], [str(REPOSITORY)]),
    "an empty experiment": (["--config="], []),
    "an unknown device count": ([EXPERIMENT, *SMALL, "--config.devices=99"], ["devices=99", "there are 8"]),
    "an unknown source": ([EXPERIMENT, *SMALL, "--config.data.source=embeded"], ["Did you mean 'embedded'"]),
    "an unknown network": ([EXPERIMENT, *SMALL, "--config.networks.name=fully_conected"], ["fully_connected"]),
    "an unknown optimizer": ([EXPERIMENT, *SMALL, "--config.generator.optimizer=adma"], ["Did you mean 'adam'"]),
    "an unknown distance": (
        [EXPERIMENT, *SMALL, "--config.techniques.feature_matching.distance=absolut"],
        ["Did you mean 'absolute'"],
    ),
    "labels that do not exist": (
        [EXPERIMENT, *SMALL, "--config.labels_per_class=401"],
        ["labels_per_class=401", "400 examples", "--config.labels_per_class=400"],
    ),
    "fewer labels than none": ([EXPERIMENT, *SMALL, "--config.labels_per_class=-1"], ["labels_per_class"]),
    "a batch larger than the data": (
        [EXPERIMENT, *SMALL, "--config.batch_size=4001"],
        ["batch_size=4001", "4,000 training images", "--config.batch_size"],
    ),
    "no epochs": ([EXPERIMENT, *SMALL, "--config.epochs=0"], ["epochs is 0"]),
    "too many epochs": ([EXPERIMENT, *SMALL, "--config.epochs=999999999"], ["epochs=999999999"]),
    "a huge seed": ([EXPERIMENT, *SMALL, "--config.seed=99999999999999999999"], ["seed"]),
    "a negative seed": ([EXPERIMENT, *SMALL, "--config.seed=-1"], ["seed is -1"]),
    "not a number": ([EXPERIMENT, *SMALL, "--config.generator.learning_rate=nan"], ["learning_rate is nan"]),
    "an endless weight": ([EXPERIMENT, *SMALL, "--config.techniques.minimax.discriminator_weight=inf"], ["is inf"]),
    "no technique": (
        [EXPERIMENT, *SMALL, *(f"--config.techniques.{name}.enabled=False" for name in ("minimax", "semi_supervised"))],
        ["the discriminator has no loss", "non_saturating"],
    ),
    "a missing data folder": (
        [EXPERIMENT, *SMALL, "--config.data.source=auto", "--config.data.dir=/nowhere/at/all"],
        ["/nowhere/at/all", "data.dir"],
    ),
    "another data set": ([EXPERIMENT, *SMALL, "--config.data.name=cifar10"], ["cifar10"]),
    "an unwritable work directory": ([EXPERIMENT, *SMALL, "--workdir=/proc/igan"], ["/proc/igan", "--workdir"]),
    "a work directory below a file": ([EXPERIMENT, *SMALL, "--workdir=/dev/null/run"], ["/dev/null/run"]),
    "a file for a work directory": ([EXPERIMENT, *SMALL, "--workdir=/dev/null"], ["/dev/null"]),
    "hosts that make no sense": ([EXPERIMENT, *SMALL, "--hosts=foo"], ["--hosts=foo", "ADDRESS:PORT,COUNT,NUMBER"]),
    "from somewhere else": ([EXPERIMENT, *SMALL, "--from=first"], ["--from=first", "--from=best"]),
    "from the best of nothing": (
        [EXPERIMENT, *SMALL, "--from=best"],
        ["there is no best checkpoint in run/best", "--config.evaluation.scores="],
    ),
    "a work directory with too long a name": ([EXPERIMENT, *SMALL, f"--workdir={'x' * 300}"], ["too long"]),
}


@pytest.mark.parametrize("arguments, words", BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_one_line_and_writes_nothing(command: Command, tmp_path: Path, arguments, words) -> None:
    refused(command(*arguments, *([] if any("workdir" in each for each in arguments) else ["--workdir=run"])), *words)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("place", [[], ["--workdir=runs/deep/run"]])
def test_a_refused_start_leaves_no_folder_that_was_not_there_before(command: Command, tmp_path: Path, place) -> None:
    arguments = [EXPERIMENT, *SMALL, "--config.labels_per_class=401", *place]
    refused(command(*arguments), "labels_per_class=401")
    assert left_behind(tmp_path) == []
    (tmp_path / "runs" / "deep" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").touch()
    refused(command(*arguments), "labels_per_class=401")
    assert sorted(each.name for each in tmp_path.rglob("[!.]*")) == ["deep", "notes.txt", "run", "runs"]
    assert list((tmp_path / "runs" / "deep" / "run").iterdir()) == []


SIGNALLED = """
import os, pathlib, signal, sys, threading, time
sys.path.insert(0, {folder!r})
import mnist

signal.signal(signal.SIGINT, signal.default_int_handler)  # Whoever starts the tests in the background ignores it.

def get_config():
    def send():
        lock = pathlib.Path("run/.lock")
        while not (lock.exists() and lock.read_text()):
            time.sleep(0.001)
        time.sleep(0.05)  # Now it is held, and loading the data takes much longer.
        os.kill(os.getpid(), signal.{name})
    threading.Thread(target=send, daemon=True).start()
    return mnist.get_config()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_before_the_first_update_says_so(command: Command, tmp_path: Path, name: str, code: int) -> None:
    text = SIGNALLED.format(folder=str(REPOSITORY / "experiments"), name=name)
    (tmp_path / "signalled.py").write_text(text)
    outcome = command("--config=signalled.py", *SMALL, "--workdir=run")
    assert outcome.error == f"{name}: stopped before the first update; nothing was lost\n"
    assert outcome.code == code and "run" not in left_behind(tmp_path)


def test_runs_of_the_same_second_have_directories_of_their_own(tmp_path: Path, monkeypatch) -> None:
    from igan import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main.time, "strftime", lambda form: "20260102-030405")
    paths = [str(main.new_directory("mnist"))]
    for _ in range(2):
        Path(paths[-1]).mkdir(parents=True)
        paths.append(str(main.new_directory("mnist")))
    assert paths == [f"runs/mnist-20260102-030405{suffix}" for suffix in ("", "-2", "-3")]


def test_replicas_that_cannot_be_dealt_out(command: Command) -> None:
    arguments = [EXPERIMENT, *SMALL, "--config.devices=0", "--config.replicas=6"]
    outcome = command(*arguments, XLA_FLAGS=xla.flags(devices=4))
    refused(outcome, "6 replicas", "4 devices", "--config.devices=3", "--config.replicas")


def test_a_batch_that_cannot_be_dealt_out(command: Command) -> None:
    outcome = command(EXPERIMENT, *SMALL, "--config.devices=5", "--config.batch_size=16")
    refused(outcome, "16 images", "5 devices", "--config.batch_size", "--config.devices=4")


def test_several_hosts_need_a_work_directory_they_share(command: Command) -> None:
    refused(command(EXPERIMENT, *SMALL, "--hosts=auto"), "--workdir", "all hosts see")


BROKEN_EXPERIMENTS: dict[str, tuple[str, list[str]]] = {
    "syntax": ("def get_config(:\n", ["broken.py"]),
    "empty": ("", ["broken.py", "get_config"]),
    "nothing returned": ("def get_config(variant=''):\n    pass\n", ["broken.py"]),
    "another type": ("def get_config(variant=''):\n    return {'seed': 1}\n", ["broken.py"]),
    "an import": ("import no_such_module\n", ["broken.py", "no_such_module"]),
    "a name": ("def get_config(variant=''):\n    return undefined_name\n", ["broken.py", "undefined_name"]),
    "a value": ("def get_config(variant=''):\n    return int('x')\n", ["broken.py", "invalid literal"]),
    "a file": ("def get_config(variant=''):\n    return open('absent.txt')\n", ["broken.py", "absent.txt"]),
    "a field": (
        "from igan.config import default\ndef get_config(variant=''):\n    return default().epohcs\n",
        ["epohcs", "epochs"],
    ),
    "a network": (
        "from igan.config import default\ndef get_config(variant=''):\n    return default('fully_conected')\n",
        ["Did you mean 'fully_connected'"],
    ),
    "a missing section": (
        "from igan.config import default\ndef get_config(variant=''):\n    config = default()\n"
        "    del config.data\n    return config\n",
        ["data"],
    ),
    "a technique": (
        "from igan.config import default\ndef get_config(variant=''):\n    config = default()\n"
        "    config.techniques.feature_machting = {'enabled': True}\n    return config\n",
        ["feature_machting", "Did you mean 'feature_matching'"],
    ),
    "a hyper-parameter": (
        "from igan.config import default\ndef get_config(variant=''):\n    config = default()\n"
        "    config.techniques.minimax.enabled = True\n    config.techniques.minimax.wieght = 1.0\n"
        "    return config\n",
        ["wieght"],
    ),
}


@pytest.mark.parametrize("text, words", BROKEN_EXPERIMENTS.values(), ids=BROKEN_EXPERIMENTS.keys())
def test_a_broken_experiment_is_one_line(command: Command, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "broken.py").write_text(text)
    outcome = command("--config=broken.py", "--config.data.source=embedded", "--config.devices=1", "--dry_run")
    line = refused(outcome, *words)
    assert "site-packages" not in line  # What went wrong, not where in somebody else's code.


def test_a_variant_of_an_experiment_that_has_none(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("from igan.config import default\ndef get_config():\n    return default()\n")
    assert "site-packages" not in refused(command("--config=plain.py:variant"), "plain.py")


@pytest.mark.parametrize("content", ["{", "{}", "[]", "null", '{"data": 1}'])
def test_a_damaged_config_in_the_work_directory(command: Command, tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    refused(command(EXPERIMENT, *SMALL, "--workdir=run"), "--workdir")
    assert (tmp_path / "run" / "config.json").read_text() == content


def test_dry_run_of_a_file_is_refused_as_the_run_would_be(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(command(EXPERIMENT, *SMALL, "--dry_run", "--workdir=file"), "file")


def test_help_shows_examples() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "igan.main", "--help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0 and done.stderr == ""
    for word in ("python -m igan.main --config=experiments/mnist.py", "--workdir", "--dry_run", "--config.epochs=30"):
        assert word in done.stdout


def test_the_experiment_may_follow_its_flag_after_a_space(command: Command) -> None:
    flag, path = EXPERIMENT.split("=", 1)
    outcome = command(flag, path, *SMALL, "--dry_run")
    assert outcome.code == 0 and outcome.error == "", outcome.error


def test_dry_run_shows_what_would_run_and_writes_nothing(command: Command, tmp_path: Path) -> None:
    outcome = command(EXPERIMENT, *SMALL, "--dry_run", "--config.epochs=7")
    assert outcome.code == 0 and outcome.error == "", outcome.error
    assert left_behind(tmp_path) == []
    for word in ("labels_per_class: 10", "7 epochs of 250 updates", "4,000 training images, 100 of them labelled"):
        assert word in outcome.out
    # Counted by hand. Generator: 8 x 12 + 12, 12 x 12 + 12, then 12 x 784 with a scale and a bias each.
    generator = 8 * 12 + 12 + 12 * 12 + 12 + 12 * 784 + 2 * 784
    # Discriminator: the scales of the hidden layers are not trained, that of the last layer is.
    discriminator = 784 * 16 + 16 + 16 * 12 + 12 + 12 * 10 + 2 * 10
    totals = [int(number.replace(",", "")) for number in re.findall(r"Total Parameters: ([\d,]+)", outcome.out)]
    assert generator in totals or f"{generator:,}" in outcome.out
    assert discriminator + 16 + 12 in totals or f"{discriminator:,}" in outcome.out


def test_starting_leaves_pytorch_to_those_who_want_it() -> None:
    """Where it is installed, tensorboardX would import it, which is almost half of the time until a command starts."""
    pytest.importorskip("torch")
    code = "import sys, igan.main; assert 'torch' not in sys.modules; import torch"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
