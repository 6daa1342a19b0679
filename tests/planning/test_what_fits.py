"""The table of what fits where: its commands and its cells. No compiler is asked."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "what_fits.py"
FITS = {"fits": True, "bytes_per_device": 300 * 2**20, "seconds_per_update_bound": 2.5e-5, "bounded_by": "memory"}
FITS |= {"launches": None, "collectives": []}
REFUSED = FITS | {"fits": False, "bytes_per_device": 17 * 2**30, "seconds_per_update_bound": None, "bounded_by": None}
MOVED = {"kind": "all-reduce", "count": 3, "bytes": 7 * 2**20}


@pytest.fixture(scope="module")
def what_fits():
    spec = importlib.util.spec_from_file_location("what_fits", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands(what_fits):
    expected = ["--config=experiments/gans.py:sagan_128", "--target=tpu:v5e:8x8"]
    assert what_fits.command("gans:sagan_128", "tpu:v5e:8x8") == expected
    expected = ["--config=experiments/mnist.py", "--target=gpu:h100:8", "--config.replicas=8"]
    assert what_fits.command("mnist", "gpu:h100:8", 8) == expected


def test_every_row_is_an_experiment(what_fits):
    for row in what_fits.all_rows():
        assert (SCRIPT.parents[2] / "experiments" / f"{row.partition(':')[0]}.py").is_file()


def test_where_a_batch_cannot_be_shared_there_are_as_many_replicas_as_devices(what_fits, monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(command[3:])
        if len(asked) == 1:
            error = "note: compiling\nerror: a batch of 100 cannot be dealt out evenly over 8 devices\n"
            return subprocess.CompletedProcess(command, 2, "", error)
        return subprocess.CompletedProcess(command, 0, json.dumps(FITS | {"replicas": 8}), "")

    monkeypatch.setattr(what_fits.subprocess, "run", run)
    found = what_fits.plan("mnist", "gpu:h100:8", minutes=1)
    assert asked == [[*what_fits.command("mnist", "gpu:h100:8", count), "--json"] for count in (0, 8)]
    assert found["command"] == asked[1][:-1] and found["fits"]
    monkeypatch.setattr(what_fits.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "a\nb"))
    assert what_fits.plan("mnist", "gpu:h100:8", minutes=1)["error"] == "b"


def test_what_failed_is_tried_again(what_fits, monkeypatch, tmp_path):
    output, asked = tmp_path / "plans.jsonl", []

    def plan(row, target, minutes):
        asked.append(row)
        return {"error": "no"} if len(asked) == 1 else FITS | {"replicas": 1}

    monkeypatch.setattr(what_fits, "plan", plan)
    monkeypatch.setattr("sys.argv", ["", f"--output={output}", "--rows=mnist,cifar10", "--targets=gpu:h100:1"])
    for _ in range(3):
        what_fits.main()
    assert asked == ["mnist", "cifar10", "mnist"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--targets=gpu:h10"], "Did you mean 'gpu:h100'"),
        (["--rows=mnist,nonsense"], "there is no nonsense, but mnist"),
    ],
)
def test_what_is_unknown_is_refused(what_fits, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["what_fits.py", f"--output={tmp_path / 'plans.jsonl'}", *arguments])
    with pytest.raises(SystemExit) as end:
        what_fits.main()
    assert end.value.code == 2 and words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_table(what_fits):
    known = {
        ("mnist", "gpu:h100:1"): FITS | {"replicas": 1},
        ("cifar10", "gpu:h100:1"): FITS | {"replicas": 1, "seconds_per_update_bound": 2.5e-3},
        ("mnist", "gpu:h100:8"): FITS | {"replicas": 8},
        ("svhn", "gpu:h100:1"): FITS | {"replicas": 1, "launches": 25, "bounded_by": "launches"},
        ("svhn", "gpu:h100:8"): FITS | {"replicas": 1, "launches": 1200, "collectives": [MOVED, MOVED]},
        ("mnist", "tpu:v5e:2x4"): REFUSED | {"replicas": 1},
        ("mnist", "tpu:v5e:8x8"): {"error": "not compiled within 60 minutes"},
    }
    lines = what_fits.table(known).splitlines()
    assert (
        lines[0] == "| `experiments/` | 1 x H100 | 8 x H100 | v5e-8 | v5e-64 | v4-32 |" and lines[1].count("|---") == 6
    )
    assert lines[2] == (
        "| `mnist` | 300 MiB; 25 us, memory | 300 MiB; 25 us, memory; 8 replicas | **does not fit**, 17,408 MiB"
        " | not compiled within 60 minutes | not yet |"
    )
    assert "300 MiB; 2.5 ms, memory" in next(line for line in lines if "`cifar10`" in line)
    svhn = next(line for line in lines if "`svhn`" in line)
    assert "| 300 MiB; 25 us, launches | 300 MiB; 25 us, memory; 1,200 launches; 6 collectives of 14 MiB |" in svhn
    assert len(lines) == 2 + len(what_fits.all_rows())
