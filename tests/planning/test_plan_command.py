"""`python -m igan.plan`: small games by the real compilers, where they are installed, and what is refused."""

import importlib.util
import json

import pytest

from igan.errors import RunError
from igan.planning import compiling, targets
from tests.command import EXPERIMENT, SMALL, Outcome, refused, run_in

TPU, GPU = targets.parse("tpu:v5e:2x4"), targets.parse("gpu:h100:8")
needs_tpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: [tpu]")
needs_gpu = pytest.mark.skipif(
    importlib.util.find_spec("jax_plugins") is None or importlib.util.find_spec("jax_plugins.xla_cuda12") is None,
    reason="the CUDA plugin is not installed: [cuda]",
)


@pytest.fixture
def command(processes, tmp_path):
    """Runs `python -m igan.plan` with these arguments in an empty folder, with a cache of its own."""

    def run(*arguments: str) -> Outcome:
        environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}
        return run_in(processes, list(arguments), tmp_path, environment, "igan.plan")

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--target=KIND:NAME:SHAPE", "gpu:h100"]),
        (["--target=tpu:v5e:5x5"], ["no slice", "2x4"]),
        (["--target=gpu:h10"], ["Did you mean 'gpu:h100'"]),
        (["--target=gpu:h100", "--find=epochs"], ["batch_size or replicas"]),
        (["--target=gpu:h100", "--price=free"], ["--price=free"]),
        (["--target=gpu:h100", "--workdir=runs/a"], ["--workdir is a flag of igan.main"]),
        (["--target=gpu:h100", "--config.batchsize=3"], ["batch_size"]),
        (["--target=gpu:h100", "--config.data.name=nowhere", "--config.data.source=tfds"], ["--data="]),
    ],
)
def test_commands_that_are_refused(command, arguments, words):
    refused(command(EXPERIMENT, *SMALL, *arguments), *words)


def check_small_plan(result, target):
    assert result["target"] == target.name and result["devices"] == 8 and result["replicas"] == 8
    assert result["fits"] and 3_920_000 < result["bytes_per_device"] < 100e6  # 5,000 images of 784 bytes are there.
    assert result["collectives"] == []  # Of replicas that are dealt out.
    assert result["updates_per_dispatch"] == 3
    # One image through both networks is 2 * (4 * 8 + 8 * 784) and 2 * (784 * 8 + 8) operations.
    forward = 2 * 16 * (4 * 8 + 8 * 784), 2 * 16 * (784 * 8 + 8)
    assert 4 * sum(forward) < result["flops_per_update"] < 8 * sum(forward)
    assert result["bytes_per_update"] > 0 and result["seconds_per_update_bound"] > 0
    json.dumps(result)


# As `tiny`: a command, because what JAX has found on this machine decides whether the CUDA plugin is there.
TINY = (
    *(EXPERIMENT + ":unsupervised", "--config.data.source=embedded", "--config.replicas=8", "--config.batch_size=16"),
    *("--config.initial_images=16", "--config.steps_per_chunk=3", "--config.networks.latent_size=4"),
    *("--config.networks.generator_layers=(8,)", "--config.networks.discriminator_layers=(8,)"),
)


@pytest.mark.parametrize("target", [pytest.param(TPU, marks=needs_tpu), pytest.param(GPU, marks=needs_gpu)])
def test_a_plan_of_the_real_compiler(command, target, tmp_path):
    outcome = command(*TINY, f"--target={target.name}", "--json", "--price=1.2")
    assert outcome.code == 0, outcome
    result = json.loads(outcome.out)
    check_small_plan(result, target)
    if target is GPU:
        assert 20 < result["launches"] < 200 and result["bounded_by"] == "launches"
    else:
        assert result["launches"] is None and result["bounded_by"] in ("compute", "memory")
    # Asked again nothing is compiled, and what is shown promises nothing.
    again = command(*TINY, f"--target={target.name}", "--price=1.2")
    assert all(word in again.out for word in ("lower bound", "fits", "its price", "kept")), again
    assert not any(word in again.out for word in ("optimal", "predict", "estimate"))
    assert len(list((tmp_path / "plans").iterdir())) == 1
    refused(command(*TINY, f"--target={target.name}", "--config.replicas=9"), "cannot be dealt out evenly over 8")


@needs_tpu
def test_devices_that_share_a_batch_add_up_their_gradients(command):
    """And that is found in the text of a real compiler."""
    outcome = command(*TINY, "--config.replicas=1", "--target=tpu:v5e:2x2", "--json")
    assert outcome.code == 0, outcome
    collectives = {each["kind"]: each for each in json.loads(outcome.out)["collectives"]}
    # At the least the gradients of both players: 4 x 8, 8 and 8 x 784 numbers, and 784 x 8, 8 and 8.
    assert collectives["all-reduce"]["count"] >= 2 and collectives["all-reduce"]["bytes"] >= 4 * 2 * 8 * 784


@pytest.mark.parametrize("target", [pytest.param(TPU, marks=needs_tpu)])
def test_the_devices_of_a_target(target):
    devices = compiling.devices(target)
    assert len(devices) == 8 and {device.platform for device in devices} == {target.kind}


@needs_tpu
def test_every_slice_of_the_table_is_one():
    for chip in targets.CHIPS["tpu"].values():
        for shape in chip.shapes[:4]:
            target = targets.parse(f"tpu:{chip.name}:{shape}")
            assert len(compiling.devices(target)) == target.devices
    with pytest.raises(RunError, match="the compiler knows no"):
        compiling.devices(TPU._replace(shape="3x3"))
