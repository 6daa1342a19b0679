"""The commands in the files for Kubernetes and SkyPilot, run as their hosts do, with a stand-in for igan.main."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import job
import pytest
import yaml

from tests.launch.test_kubernetes import HOSTS, container, manifest

REPOSITORY = Path(__file__).parents[2]
SKY = ("gpu", "gpus", "tpu")


def sky_file(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "launch" / "sky" / f"{name}.yaml").read_text())


def command_of(file: str) -> tuple[list[str], dict[str, str]]:
    """Returns what is run on a host, and the variables that are set for it."""
    kind, _, name = file.partition("/")
    if kind == "kubernetes":
        found = container(name)
        return [*found["command"], *found["args"]], {each["name"]: each["value"] for each in found["env"]}
    asked = sky_file(name)
    return ["bash", "-c", asked["run"]], asked["envs"]


STAND_IN = """
import json, os, pathlib, signal, sys, time
place, behaviour = pathlib.Path(os.environ["PLACE"]), os.environ["BEHAVIOUR"]
workdir = pathlib.Path(next(each for each in sys.argv if each.startswith("--workdir=")).partition("=")[2])
def end(finished):
    (workdir / "summary.json").write_text(json.dumps({"finished": finished}))
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: end(False))
(place / "arguments").write_text("\\n".join(sys.argv[1:]))
if behaviour.isdigit():
    sys.exit(int(behaviour))
if behaviour == "wait":
    time.sleep(600)
if behaviour == "die":
    os.kill(os.getpid(), signal.SIGKILL)
end(True)
"""


@pytest.fixture
def start(tmp_path):
    """Starts the command of a file as a host does, with /runs, or the bucket, in a folder of this test."""
    for folder in ("igan", "launch", "runs/mnist"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "igan" / "__init__.py").touch()
    (tmp_path / "igan" / "main.py").write_text(STAND_IN)
    (tmp_path / "launch" / "job.py").write_text((REPOSITORY / "launch" / "job.py").read_text())

    def begin(file: str, behaviour: str, index: int = 0, **given: str) -> "subprocess.Popen[bytes]":
        command, variables = command_of(file)
        environment = variables | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "JOB_COMPLETION_INDEX": str(index),
            "BUCKET": f"{tmp_path}/runs",
            "PLACE": str(tmp_path),
            "BEHAVIOUR": behaviour,
            "PYTHONPATH": str(tmp_path),
        }
        whole = [word.replace("/runs/", f"{tmp_path}/runs/") for word in command]
        return subprocess.Popen(whole, cwd=tmp_path, env=environment | given)

    return begin


@pytest.mark.parametrize(("name", "hosts"), [("gpu", "--hosts=igan-hosts-0-0.igan:8476,2,1"), ("tpu", "--hosts=auto")])
def test_a_pod_runs_its_part_of_one_run(name, hosts, start, tmp_path):
    assert start(f"kubernetes/{name}", "finish", index=1).wait() == 0
    given = (tmp_path / "arguments").read_text().splitlines()
    assert given == ["--config=experiments/mnist.py", f"--workdir={tmp_path}/runs/mnist", hosts, "--config.replicas=16"]
    if name == "gpu":  # Where the first host is found: JobSet calls pods JOBSET-JOB-0-INDEX.JOBSET.
        address = re.match(r"--hosts=(.+)-0-0\.(.+):\d+,(\d),1", hosts)
        named = manifest(name)["metadata"]["name"]
        (replicated,) = manifest(name)["spec"]["replicatedJobs"]
        assert address and address.groups() == (f"{named}-{replicated['name']}", named, str(HOSTS[name]))


@pytest.mark.parametrize("name", SKY)
def test_a_machine_of_a_cloud_runs_what_it_is_told_to(name, start, tmp_path):
    """What a person gives with --env; the files name an experiment and a bucket of their own."""
    assert set(sky_file(name)["envs"]) == {"EXPERIMENT", "FLAGS", "BUCKET"}
    flags = "--config.replicas=8 --config.epochs=2"
    assert start(f"sky/{name}", "finish", FLAGS=flags).wait() == 0
    given = (tmp_path / "arguments").read_text().splitlines()
    assert given == ["--config=experiments/mnist.py", f"--workdir={tmp_path}/runs/mnist", *flags.split()]


@pytest.mark.parametrize("name", SKY)
def test_a_cloud_begins_again_what_was_stopped_before_its_end(name):
    resources = sky_file(name)["resources"]
    assert resources["job_recovery"] == {"recover_on_exit_codes": [job.TRY_AGAIN]} and resources["use_spot"] is True


@pytest.mark.parametrize("file", ["kubernetes/tpu", "sky/tpu"])
@pytest.mark.parametrize(("behaviour", "code"), [("2", 2), ("1", 1), ("143", 75), ("die", 247)])
def test_exit_codes_say_what_to_do(file, behaviour, code, start):
    assert start(file, behaviour).wait() == code


@pytest.mark.parametrize("file", ["kubernetes/gpu", *(f"sky/{name}" for name in SKY)])
def test_what_is_preempted_saves_and_is_not_taken_for_finished(file, start, tmp_path):
    process = start(file, "wait")
    while not (tmp_path / "arguments").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    assert json.loads((tmp_path / "runs" / "mnist" / "summary.json").read_text()) == {"finished": False}
