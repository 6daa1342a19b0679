"""The manifests for Kubernetes against JobSet's published schema, and their commands with a stand-in for igan.main."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "launch" / "kubernetes"
HOSTS = {"gpu": 2, "tpu": 4}


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def job(name: str) -> dict[str, Any]:
    (replicated,) = manifest(name)["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def container(name: str) -> dict[str, Any]:
    (found,) = job(name)["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("name", HOSTS)
def test_the_published_schema_knows_every_field(name):
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="needs pip install kubeflow-trainer-api")
    asked = manifest(name)
    limits = container(name)["resources"]["limits"]
    for resource, count in limits.items():
        assert type(count) is int, resource
    read = models.JobsetV1alpha2JobSet.from_dict(asked)
    # What it does not know it leaves out.
    assert json.loads(json.dumps(read.to_dict())) == asked


@pytest.mark.parametrize("name", HOSTS)
def test_all_hosts_start_again_together_unless_the_command_is_wrong(name):
    spec, of_job = manifest(name)["spec"], job(name)
    assert of_job["parallelism"] == of_job["completions"] == HOSTS[name]
    assert of_job["completionMode"] == "Indexed" and of_job["backoffLimit"] == 0
    assert of_job["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = of_job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"] == {
        "containerName": container(name)["name"],
        "operator": "In",
        "values": [2],
    }
    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet" and rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert spec["failurePolicy"]["maxRestarts"] >= 100


def test_a_slice_has_as_many_chips_as_its_hosts():
    selector = job("tpu")["template"]["spec"]["nodeSelector"]
    first, second = map(int, selector["cloud.google.com/gke-tpu-topology"].split("x"))
    assert first * second == HOSTS["tpu"] * container("tpu")["resources"]["limits"]["google.com/tpu"]


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
    """Starts the command of a manifest as a pod does, with /runs in a folder of this test."""
    for folder in ("igan", "launch", "runs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "igan" / "__init__.py").touch()
    (tmp_path / "igan" / "main.py").write_text(STAND_IN)
    (tmp_path / "launch" / "job.py").write_text((REPOSITORY / "launch" / "job.py").read_text())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)

    def begin(name: str, behaviour: str, index: int = 0) -> "subprocess.Popen[bytes]":
        found = container(name)
        text = found["args"][0].replace("/runs/", f"{tmp_path}/runs/")
        (tmp_path / "runs" / "mnist").mkdir(exist_ok=True)
        environment = {each["name"]: each["value"] for each in found["env"]} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "JOB_COMPLETION_INDEX": str(index),
            "PLACE": str(tmp_path),
            "BEHAVIOUR": behaviour,
            "PYTHONPATH": str(tmp_path),
        }
        return subprocess.Popen([*found["command"], text], cwd=tmp_path, env=environment)

    return begin


@pytest.mark.parametrize(("name", "hosts"), [("gpu", "--hosts=igan-hosts-0-0.igan:8476,2,1"), ("tpu", "--hosts=auto")])
def test_a_pod_runs_its_part_of_one_run(name, hosts, start, tmp_path):
    assert start(name, "finish", index=1).wait() == 0
    given = (tmp_path / "arguments").read_text().splitlines()
    assert given == ["--config=experiments/mnist.py", f"--workdir={tmp_path}/runs/mnist", hosts, "--config.replicas=16"]
    if name == "gpu":  # Where the first host is found: JobSet calls pods JOBSET-JOB-0-INDEX.JOBSET.
        address = re.match(r"--hosts=(.+)-0-0\.(.+):\d+,(\d),1", hosts)
        named = manifest(name)["metadata"]["name"]
        (replicated,) = manifest(name)["spec"]["replicatedJobs"]
        assert address and address.groups() == (f"{named}-{replicated['name']}", named, str(HOSTS[name]))


@pytest.mark.parametrize(("behaviour", "code"), [("2", 2), ("1", 1), ("143", 75), ("die", 247)])
def test_exit_codes_say_what_to_do(behaviour, code, start):
    assert start("tpu", behaviour).wait() == code


def test_a_preempted_pod_saves_and_is_not_taken_for_finished(start, tmp_path):
    process = start("gpu", "wait")
    while not (tmp_path / "arguments").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    assert json.loads((tmp_path / "runs" / "mnist" / "summary.json").read_text()) == {"finished": False}
