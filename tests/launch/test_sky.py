"""The files for SkyPilot, read by SkyPilot's own loader. No cloud was asked for anything.

Their commands: test_jobs.py.
"""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sky = pytest.importorskip("sky.task", reason="needs pip install skypilot, 400 MB in an environment of its own")


@pytest.mark.parametrize(
    ("name", "accelerators"),
    [
        ("gpu", {"H100": 1, "A100-80GB": 1, "L4": 1}),
        ("gpus", {"H100": 8, "A100-80GB": 8}),
        ("tpu", {"tpu-v5litepod-8": 1}),
    ],
)
def test_skypilot_reads_it(name, accelerators, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    task = sky.Task.from_yaml(os.fspath(REPOSITORY / "launch" / "sky" / f"{name}.yaml"))
    found = [resources.accelerators for resources in task.resources]
    assert {kind: count for each in found for kind, count in each.items()} == accelerators
    assert all(resources.use_spot for resources in task.resources)
    assert all(resources.job_recovery["recover_on_exit_codes"] == [75] for resources in task.resources)
    assert set(task.envs) == {"EXPERIMENT", "FLAGS", "BUCKET"}
    extra = "tpu" if name == "tpu" else "cuda"
    assert f'".[{extra},prepare,bucket]"' in task.setup
    assert "exec python launch/job.py" in task.run and '--workdir="$BUCKET/' in task.run and "$FLAGS" in task.run
