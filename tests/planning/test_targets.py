"""The table of machines against how they are built, and what is no machine."""

import math

import pytest

from igan.errors import UserError
from igan.planning import targets

CHIPS = [
    pytest.param(kind, chip, id=f"{kind}:{name}") for kind, of in targets.CHIPS.items() for name, chip in of.items()
]


@pytest.mark.parametrize(("kind", "chip"), CHIPS)
def test_a_peak_is_that_of_dense_matrices(kind, chip):
    """The product of units and clock: the rate with sparsity, which data sheets print, would be twice it."""
    if chip.flops_a_clock:
        assert chip.bfloat16 == pytest.approx(chip.flops_a_clock * chip.clock, rel=0.02)
    assert chip.bfloat16 >= chip.tensorfloat32 >= chip.float32 > 1e12
    if kind == "gpu":
        assert chip.tensorfloat32 == pytest.approx(chip.bfloat16 / 2, rel=0.02)
    else:
        assert chip.tensorfloat32 == chip.bfloat16


@pytest.mark.parametrize(("kind", "chip"), CHIPS)
def test_units(kind, chip):
    assert 10e9 < chip.memory < 200e9 and 200e9 < chip.bandwidth <= 8e12 and 30e6 < chip.on_chip < 200e6
    assert 100 <= chip.bfloat16 / chip.bandwidth <= 700  # FLOPs a byte: of TB/s, FLOP/s and bytes none is off by 1,000.
    assert f"{chip.memory / 2**30:.0f} GB" in chip.source if kind == "tpu" else chip.processors > 50


# As published, in the sheets' units: bfloat16 in TFLOP/s, of GPUs with sparsity; memory in GB; bandwidth in GB/s.
PUBLISHED = {
    "v4": (275, 32, 1200), "v5e": (197, 16, 819), "v5p": (459, 95, 2765), "v6e": (918, 32, 1638),
    "a100": (624, 80, 2039), "h100": (1979, 80, 3350), "h200": (1979, 141, 4800), "b200": (4500, 180, 8000),
    "l4": (242, 24, 300), "rtx4090": (330.4, 24, 1008),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "chip"), CHIPS)
def test_the_table_is_what_is_published_in_other_units(kind, chip):
    teraflops, gigabytes, bandwidth = PUBLISHED[chip.name]
    assert chip.bfloat16 == pytest.approx(teraflops * 1e12 / (2 if kind == "gpu" else 1), rel=1e-3)
    assert chip.memory == gigabytes * (2**30 if kind == "tpu" else 10**9)
    assert chip.bandwidth == pytest.approx(bandwidth * 1e9, rel=1e-3)
    assert chip.source


def test_sheets_of_gpus_say_what_is_sparse():
    for chip in targets.CHIPS["gpu"].values():
        assert f"{2 * chip.bfloat16 / 1e12:,.10g}*" in chip.source or f"{2 * chip.bfloat16 / 1e15:.10g}*" in chip.source


def test_shapes():
    assert targets.parse("tpu:v5e:2x4").devices == 8 and targets.parse("TPU:V4:2x2x4").devices == 16
    assert targets.parse("tpu:v6e").shape == "1x1" and targets.parse("gpu:l4").devices == 1
    assert targets.parse("gpu:h100:16").devices == 16
    for chip in targets.CHIPS["tpu"].values():
        assert len({math.prod(map(int, shape.split("x"))) for shape in chip.shapes}) == len(chip.shapes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tpu:v5:2x4", ["Did you mean 'tpu:v5", "gpu:h100"]),
        ("h100", ["KIND:NAME:SHAPE", "gpu:h100"]),
        ("tpu:v5e:3x3", ["no slice of TPU v5e is a 3x3", "2x4"]),
        ("tpu:v4:2x2", ["2x2x1"]),
        ("gpu:h100:9", ["whole machines of 8", "--target=gpu:h100:8"]),
        ("gpu:h100:0", ["1 to 8"]),
        ("gpu:h100:-1", ["1 to 8"]),
        ("gpu:h100:1x8", ["1 to 8"]),
        ("", ["KIND:NAME:SHAPE"]),
    ],
)
def test_what_is_no_target(text, words):
    with pytest.raises(UserError) as refused:
        targets.parse(text)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_gpus_capacity_is_what_jax_takes(monkeypatch):
    monkeypatch.delenv(targets.MEMORY_FRACTION, raising=False)
    h100, v5e = targets.parse("gpu:h100"), targets.parse("tpu:v5e")
    assert (h100.capacity, v5e.capacity) == (60_000_000_000, 16 * 2**30)
    monkeypatch.setenv(targets.MEMORY_FRACTION, "0.9")
    assert (h100.capacity, v5e.capacity) == (72_000_000_000, 16 * 2**30)
    for wrong in ("nan", "0", "1.5", "most"):
        monkeypatch.setenv(targets.MEMORY_FRACTION, wrong)
        with pytest.raises(UserError, match=f"{targets.MEMORY_FRACTION}={wrong}"):
            h100.capacity  # noqa: B018
