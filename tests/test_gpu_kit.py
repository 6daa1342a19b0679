"""The kit that measures a GPU, on this CPU at toy size, so that it works on the day there is one."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import xla

REPOSITORY = Path(__file__).parents[1]
KIT = REPOSITORY / "tests" / "benchmarks" / "gpu.py"
PARTS = {"mnist_updates", "launches", "cifar10_updates", "deterministic", "inception_images", "mnist_errors"}


def kit(*arguments: str, code: int = 0) -> str:
    environment = os.environ | {"XLA_FLAGS": xla.flags(devices=1)}
    done = subprocess.run([sys.executable, KIT, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def test_every_part_runs_and_writes_what_it_measured(tmp_path):
    printed = kit("--smoke", f"--output={tmp_path}")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["device"].endswith("x cpu") and results["about"]["versions"]["jax"]
    parts, text = results["parts"], (tmp_path / "results.md").read_text()
    assert re.search(r"results\.md, after \d+ s$", printed.splitlines()[-1])
    assert parts.keys() == PARTS
    for name, part in parts.items():
        assert part["what"] and part["rows"] and "left out" not in part, (name, part)
        assert f"## {name}" in text
    one, several = parts["mnist_updates"]["rows"]
    assert one["updates/s"] > 0 and several["replicas"] == 2
    # Forty games play 180,000 updates each.
    assert several["hours of the paper's table"] == pytest.approx(180_000 / several["updates/s"] / 3600)
    (row,) = parts["launches"]["rows"]
    assert row["counted in the program"] > 1 and row["left out"] == "the profiler saw no GPU"
    is_planned = importlib.util.find_spec("jax_plugins") is not None
    said = row["igan.plan, h100"]
    assert said > 1 if is_planned else said.startswith("left out: error: planning for a GPU needs its compiler"), said
    (row,) = parts["mnist_errors"]["rows"]
    assert row["draws"] == 2 and 0 <= row["test errors"] <= row["of"] and row["epoch"] == 1
    assert not list(tmp_path.glob("*.log")) and not list(tmp_path.glob(".results*"))


STRANGE = """
import collections, subprocess, time
Spend = collections.namedtuple("Spend", "seconds smoke output")
def fails(spend):
    yield {"a": subprocess.Popen(["sleep", "600"]).pid}
    raise ValueError("no such\\nlibrary")
def hangs(spend):
    time.sleep(600)
    yield {}
def fine(spend):
    yield {"c": 3}
"""
DRIVER = """
import argparse, json, multiprocessing, pathlib, sys
import gpu
if __name__ == "__main__":
    context, options = multiprocessing.get_context("spawn"), argparse.Namespace(output=pathlib.Path.cwd(), smoke=True)
    found = {}
    for name, seconds in (("fails", 600), ("hangs", 3), ("fine", 600)):
        rows = []
        found[name] = [gpu.measure(context, name, seconds, options, rows.append), rows]
    json.dump(found, sys.stdout)
"""


def is_gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE  # Nobody asks how it ended.
    except psutil.NoSuchProcess:
        return True


def test_a_part_that_fails_or_takes_too_long_is_named_and_the_others_go_on(tmp_path):
    """With parts of this test's own."""
    (tmp_path / "gpu_parts.py").write_text(STRANGE)
    (tmp_path / "driver.py").write_text(DRIVER)
    paths = os.pathsep.join(map(str, (tmp_path, KIT.parent, REPOSITORY)))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "driver.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    reason, (_, row) = found["fails"]
    assert reason == "library" and is_gone(row["a"])  # With what it had started.
    assert found["hangs"][0] == "its time, 3 s, was up"
    assert found["fine"][0] == "" and found["fine"][1][1:] == [{"c": 3}]


def test_the_tables_say_what_was_left_out():
    sys.path.insert(0, str(KIT.parent))
    try:
        import gpu
    finally:
        sys.path.remove(str(KIT.parent))
    parts = {"a": {"what": "It.", "rows": [{"n": 1, "s": 0.123456}, {"n": 2}], "left out": "its time was up"}}
    text = gpu.markdown({"device": "1 x H100", "parts": parts})
    assert text.startswith("# 1 x H100\n\n## a\n\nIt.\n\n| n | s |\n|---|---|\n| 1 | 0.1235 |\n| 2 |  |\n")
    assert text.endswith("\nLeft out: its time was up.\n")
