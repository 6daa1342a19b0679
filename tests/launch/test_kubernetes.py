"""The manifests for Kubernetes against JobSet's published schema. Their commands: test_jobs.py."""

import json
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
