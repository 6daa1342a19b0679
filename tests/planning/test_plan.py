"""What a plan derives from what the compiler says of a program, and what it finds."""

import importlib.util
import os
from collections import Counter
from types import SimpleNamespace

import jax
import pytest

from igan import plan
from igan.config import default
from igan.errors import UserError
from igan.planning import bounds, compiling, flops, program, report, shapes, targets
from igan.run import experiment
from igan.types import Stage

TPU, GPU = targets.parse("tpu:v5e:2x4"), targets.parse("gpu:h100:8")


def tiny(replicas: int):
    config = default()
    config.experiment, config.variant = "mnist", "tiny"
    config.data.source = "embedded"
    config.replicas, config.batch_size, config.initial_images, config.steps_per_chunk = replicas, 16, 16, 3
    config.networks.generator_layers = config.networks.discriminator_layers = (8,)
    config.networks.latent_size = 4
    config.techniques.non_saturating.enabled = True
    return config


MEASURED = compiling.Measured(
    arguments=100, output=20, temporaries=30, aliased=10, code=5, beside=50, refused=0,
    update=program.Counts(40, 3_352_000_000, 335_200, {"all-reduce": (2, 64)}), dispatch=program.Counts(7, 0, 0, {}),
    flops={"float32 default": 4_945_000_000}, carried=0, updates=3, compile_seconds=1.0,
)  # fmt: skip


STARTS = (0, 4), (100, 8), (150, 16)


@pytest.fixture(scope="module")
def here():
    """The game on the devices that are here, whose plan and updates those of another machine share."""
    return experiment.build(tiny(8))


def test_bounds(here):
    """989.5 / 2 TFLOP/s in TF32 are 10 us, 335,200 bytes at 3,352 GB/s are 0.1 us, and 40 kernels 40 us."""
    config = tiny(8)
    result = bounds.plan(config, here, GPU, [MEASURED], price=3.0)
    assert result["seconds"] == pytest.approx({"compute": 1e-5, "memory": 1e-7, "launches": 4e-5})
    assert (result["bounded_by"], result["seconds_per_update_bound"]) == ("launches", pytest.approx(4e-5))
    assert result["bytes_per_device"] == 195 and result["fits"]
    assert result["updates"] == 300 * (4000 // 16)
    assert result["hours_bound"] == pytest.approx(75_000 * 4e-5 / 3600)
    assert result["price_bound"] == pytest.approx(8 * 3.0 * 75_000 * 4e-5 / 3600)
    assert result["intensity"] == pytest.approx(4_945_000_000 / 3_352_000_000)
    assert result["collectives"] == [{"kind": "all-reduce", "count": 2, "bytes": 64}]
    # On a TPU all that is not on the chip is traffic, at 819 GB/s; and nothing is launched.
    other = bounds.plan(config, here, TPU, [MEASURED])
    assert other["seconds"]["memory"] == pytest.approx(3.352e9 / 819e9) and other["bounded_by"] == "memory"
    assert other["launches"] is None and other["seconds"]["launches"] == 0 and "price_bound" not in other


def test_a_state_larger_than_the_chip_is_read_and_written_by_every_update(here):
    carried = MEASURED._replace(carried=50 * 2**20 + 1_676_000_000)
    result = bounds.plan(tiny(8), here, GPU, [carried])
    assert result["seconds"]["memory"] == pytest.approx(1e-3) and result["bounded_by"] == "memory"


def test_what_does_not_fit(here):
    large = MEASURED._replace(temporaries=GPU.capacity)
    assert not bounds.plan(tiny(8), here, GPU, [large])["fits"]
    refused = bounds.plan(tiny(8), here, TPU, [MEASURED._replace(refused=17 * 2**30)], price=1.0)
    assert not refused["fits"] and refused["bytes_per_device"] == 17 * 2**30 + 50
    assert refused["seconds_per_update_bound"] is None and refused["price_bound"] is None


def test_a_growing_network_is_planned_in_all_of_its_stages(here, capsys):
    """The memory of the largest, the hours of all: 100 updates of 40 us, 50 of 80 us, and the rest of 10 us."""
    stages = tuple(Stage(index, start, (16, 16), name=f"{size} px") for index, (start, size) in enumerate(STARTS))
    growing = here._replace(plan=here.plan._replace(stages=stages))
    several = [
        MEASURED,
        MEASURED._replace(update=program.Counts(80, 0, 0, {}), temporaries=1000),
        MEASURED._replace(update=program.Counts(0, 0, 0, {})),
    ]
    result = bounds.plan(tiny(8), growing, GPU, several, price=3.0)
    updates = [100, 50, 75_000 - 150]
    assert [each["updates"] for each in result["stages"]] == updates and result["updates"] == 75_000
    assert [each["stage"] for each in result["stages"]] == ["4 px", "8 px", "16 px"]
    hours = (100 * 4e-5 + 50 * 8e-5 + updates[2] * 1e-5) / 3600
    assert result["hours_bound"] == pytest.approx(hours)
    assert result["price_bound"] == pytest.approx(8 * 3 * hours)
    assert result["bytes_per_device"] == 1165 and result["memory"]["temporaries"] == 1000
    assert result["bounded_by"] == "compute" and result["fits"]  # An update is one of the last stage.
    report.table(result)
    shown = " ".join(capsys.readouterr().out.split())
    assert all(word in shown for word in ("by stage", "8 px", "80 us", "Memory: the largest one")), shown
    refused = bounds.plan(tiny(8), growing, TPU, [MEASURED, MEASURED._replace(refused=17 * 2**30), MEASURED])
    assert not refused["fits"] and refused["hours_bound"] is None and refused["stage"] == "8 px"
    report.table(refused)
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.parametrize("slope", [1, 7, 1000])
@pytest.mark.parametrize("bend", [0.0, 0.4])
@pytest.mark.parametrize("unit", [1, 8])
def test_the_largest_is_found_in_few_tries(slope, bend, unit):
    tries = []

    def needs(number):
        tries.append(number)
        return int(100 + slope * number * (1 + bend * (number > 300)))

    found = bounds.largest(needs, 50_000, unit, 10_000)
    assert found == max(n for n in range(0, 10_001, unit) if needs(n) <= 50_000)
    assert len(tries) - len(range(0, 10_001, unit)) <= 16
    assert bounds.largest(lambda _: 60_000, 50_000, unit, 10_000) == 0
    assert bounds.largest(lambda _: 1, 50_000, unit, 10_000) == 10_000
    assert bounds.largest(needs, 50_000, unit=16, most=15) == 0


def test_a_plan_needs_no_data():
    config = tiny(1)
    for name, sizes in shapes.KNOWN.items():
        config.data.name, config.data.source, config.data.image_size = name, "auto", 128 * (name == "imagenet2012")
        config.data.stream = name == "imagenet2012"
        loaded = shapes.of(config)
        assert loaded.size == sizes.train and loaded.dataset.classes == sizes.classes
        assert isinstance(loaded.resident.images, jax.ShapeDtypeStruct)
        side = config.data.image_size or sizes.image[0]
        kept = 16 if config.data.stream else sizes.train
        assert loaded.resident.images.shape == (kept, side, side, sizes.image[2])
    config.data.name, config.data.stream, config.data.image_size = "mine", False, 0
    assert shapes.of(config, "500x8x9x3:4").resident.images.shape == (500, 8, 9, 3)
    for wrong in ("500x8x8:4", "0x8x8x3:1", "many", "5x8x8x3:0"):
        with pytest.raises(UserError, match="IMAGESxHEIGHTxWIDTHxCHANNELS"):
            shapes.of(config, wrong)


def test_embedded_digits_are_as_large_as_they_are():
    there, planned = experiment.load(tiny(1)), shapes.of(tiny(1))
    for real, shape in zip(jax.tree.leaves(there.resident), jax.tree.leaves(planned.resident), strict=True):
        assert (real.shape, real.dtype) == (shape.shape, shape.dtype)
    assert there.size == planned.size


@pytest.mark.parametrize(("module", "target", "extra"), [("libtpu", TPU, "tpu"), ("jax_plugins", GPU, "cuda")])
def test_a_compiler_that_is_missing(module, target, extra, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith(module) else find(name))
    with pytest.raises(UserError, match=rf'pip install -e "\.\[{extra}\]"'):
        compiling.devices(target)


def test_the_table_says_where_each_number_comes_from(here, capsys):
    result = bounds.plan(tiny(8), here, GPU, [MEASURED], price=3.0) | {"found": {"field": "batch_size", "largest": 64}}
    report.table(result)
    shown = " ".join(capsys.readouterr().out.split())
    for word in (
        "compiler",
        "counted",
        "data sheet",
        "assumed",
        "lower bound",
        "all-reduce",
        "40",
        "--config.batch_size=64",
    ):
        assert word in shown, shown
    report.table(
        bounds.plan(
            tiny(8),
            here,
            TPU,
            [MEASURED._replace(arguments=0, temporaries=0, output=0, aliased=0, code=0, refused=17 * 2**30)],
        )
    )
    assert "does not fit" in capsys.readouterr().out


def test_a_price():
    for wrong in ("nan", "-1", "inf", "cheap", ""):
        with pytest.raises(UserError, match=f"--price={wrong}"):
            plan.parse_price(wrong)


def test_what_a_refused_program_says():
    assert compiling._needed("RESOURCE_EXHAUSTED: Ran out of memory. Used 17.50G of 15.75G hbm.") == 35 * 2**29
    assert compiling._needed("something else") == 0


def test_deterministic_operations_are_planned_as_such(monkeypatch):
    config, seen = tiny(1), []
    monkeypatch.setattr(plan.training, "CONFIG", SimpleNamespace(value=config))
    monkeypatch.setattr(plan, "run", lambda _: seen.append((os.environ["XLA_FLAGS"], compiling._place("text", GPU))))
    for config.deterministic in (False, True):
        monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
        with pytest.raises(SystemExit) as end:
            plan.main([])
        assert end.value.code == 0
    (usual, place), (deterministic, other) = seen
    assert usual == "--xla_dump_to=here" and deterministic.split() == [usual, "--xla_gpu_deterministic_ops=true"]
    assert place != other


def test_operations_are_those_of_the_program_that_trains(here):
    """Traced for the devices that are here: the count is of all of them, and the same for one and for three updates."""
    stage = here.plan.stages[-1]
    one, three = (flops.count(here.engine.trace(stage, updates).jaxpr) for updates in (1, 3))
    assert three == Counter({kind: 3 * number for kind, number in one.items()})
    assert one.total() > 0


@pytest.mark.parametrize(
    ("field", "changes", "tried"),
    [
        ("replicas", {}, 8),  # Dealt out to eight devices,
        ("replicas", {"devices": 4}, 4),  # or to as many as the config takes.
        ("batch_size", {"replicas": 8}, 1),  # Of replicas that are dealt out a batch is whole,
        ("batch_size", {"replicas": 1}, 8),  # of a single one it is split,
        ("batch_size", {"replicas": 1, "accumulate": 3}, 24),  # and looked at in parts.
    ],
)
def test_what_is_found_can_be_dealt_out(field, changes, tried, monkeypatch):
    config, seen = tiny(8), []
    for name, value in changes.items():
        config[name] = value
    before = config.copy_and_resolve_references()

    def needs(asked, target, data="", price=0.0, note=None):
        seen.append(asked[field])
        size = asked[field] * 10**8
        return {"bytes_per_device": size, "fits": size <= TPU.capacity}

    monkeypatch.setattr(plan, "plan", needs)
    found = plan.find(config, TPU, field, "", lambda _: None)
    most = TPU.capacity // 10**8
    assert seen[0] == tried and all(number % tried == 0 for number in seen)
    assert found == most - most % tried and config == before
    config.batch_size = 16
    monkeypatch.setattr(plan, "plan", lambda *_, **__: {"bytes_per_device": 1, "fits": True})
    most = 100_000 if field == "replicas" else 4000  # Training images.
    assert plan.find(config, TPU, field, "", lambda _: None) == most - most % tried


def test_what_the_compiler_refuses_is_not_found(monkeypatch):
    """It refuses a program that would need 15.8 GiB of the 16 of a v5e, as it keeps a quarter of one for itself."""
    config, refused = tiny(8), 15.75 * 2**30

    def needs(asked, *_, **__):
        size = asked.batch_size * 2**20
        return {"bytes_per_device": size, "fits": size <= refused}

    monkeypatch.setattr(plan, "plan", needs)
    assert plan.find(config, TPU, "batch_size", "50000x8x8x3:1", lambda _: None) == refused // 2**20 == 16128
