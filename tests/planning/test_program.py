"""Counting in the compiler's text, on programs written by hand and on those of this machine's own compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from igan.planning import program

# Five updates, in each of which a nested loop of three runs one kernel; before and after it one copy.
GPU = """HloModule jit_run, is_scheduled=true

%fused_slice (p0: f32[1000,8], p1: s32[]) -> f32[8] {
  %p0 = f32[1000,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %part = f32[1,8]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,8}
}

%inner_body (a: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = (s32[], f32[8]{0}) parameter(0)
  %n = s32[] get-tuple-element(%a), index=0
  %v = f32[8]{0} get-tuple-element(%a), index=1
  %w = f32[8]{0} negate(%v)
  ROOT %t = (s32[], f32[8]{0}) tuple(%n, %w)
}

%inner_condition (b: (s32[], f32[8])) -> pred[] {
  %b = (s32[], f32[8]{0}) parameter(0)
  %m = s32[] get-tuple-element(%b), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%m, %three), direction=LT
}

%cheap (c: f32[8]) -> f32[8] {
  %c = f32[8]{0} parameter(0)
  ROOT %d = f32[8]{0} negate(%c)
}

%dear (e: f32[8]) -> f32[8] {
  %e = f32[8]{0} parameter(0)
  %f = f32[8]{0} negate(%e)
  ROOT %g = f32[8]{0} negate(%f)
}

%body (s: (s32[], f32[8], f32[1000,8])) -> (s32[], f32[8], f32[1000,8]) {
  %s = (s32[], f32[8]{0}, f32[1000,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[8]{0} get-tuple-element(%s), index=1
  %data = f32[1000,8]{1,0} get-tuple-element(%s), index=2
  %row = f32[8]{0} fusion(%data, %i), kind=kLoop, calls=%fused_slice
  %start = f32[8]{0} all-reduce-start(%row), replica_groups={{0,1}}, to_apply=%add
  %done = f32[8]{0} all-reduce-done(%start)
  %pair = (s32[], f32[8]{0}) tuple(%i, %done)
  %loop = (s32[], f32[8]{0}) while(%pair), condition=%inner_condition, body=%inner_body
  %y = f32[8]{0} get-tuple-element(%loop), index=1
  %which = pred[] custom-call(%i), custom_call_target="decide(%x)"
  %z = f32[8]{0} conditional(%which, %y, %y), true_computation=%dear, false_computation=%cheap
  ROOT %next = (s32[], f32[8]{0}, f32[1000,8]{1,0}) tuple(%i, %z, %data)
}

%condition (u: (s32[], f32[8], f32[1000,8])) -> pred[] {
  %u = (s32[], f32[8]{0}, f32[1000,8]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (x: f32[8], data: f32[1000,8]) -> f32[8] {
  %x.1 = f32[8]{0} parameter(0), metadata={op_name="x"}
  %data.1 = f32[1000,8]{1,0} parameter(1)
  %zero.1 = s32[] constant(0)
  %x.2 = f32[8]{0} copy(%x.1)
  %all = (s32[], f32[8]{0}, f32[1000,8]{1,0}) tuple(%zero.1, %x.2, /*index=2*/%data.1)
  %updates = (s32[], f32[8]{0}, f32[1000,8]{1,0}) while(%all), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %x.3 = f32[8]{0} get-tuple-element(%updates), index=1
  ROOT %x.4 = f32[8]{0} copy(%x.3)
}
"""  # noqa: E501


def test_an_update_is_what_one_round_of_its_loop_does():
    update, dispatch = program.count(GPU, updates=5, cache=0)
    # The slice, the reduction, three times the inner kernel, the decision, and the cheaper branch.
    assert update.launches == 1 + 1 + 3 + 1 + 1
    vector = 4 * 8
    slice_ = (vector + 4) + vector  # Of the data one row is read, and its number.
    assert update.bytes == slice_ + 2 * vector + 3 * 2 * vector + (4 + 1) + 2 * vector
    assert update.collectives == {"all-reduce": (1, vector)}
    assert (dispatch.launches, dispatch.bytes, dispatch.collectives) == (2, 4 * vector, {})


def test_without_a_loop_everything_is_the_update():
    update, dispatch = program.count(GPU, updates=1, cache=0)
    assert update.launches == 2 + 5 * 7 and dispatch == program.NOTHING


def test_a_cache_serves_what_fits_it():
    large = "ENTRY %main (x: f32[1000]) -> f32[1000] {\n  %x = f32[1000]{0} parameter(0)\n"
    large += "  ROOT %y = f32[1000]{0} negate(%x)\n}"
    assert [program.count(large, 1, cache)[0].least_bytes for cache in (0, 1000, 4000)] == [8000, 6000, 0]


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ("f32[2,3]{1,0}", [24]),
        ("(bf16[4]{0}, s8[3]{0}, pred[])", [8, 3, 1]),
        ("f8e4m3fn[16]{0}", [16]),
        ("u4[3]{0}", [2]),
        ("c64[2]{0}", [16]),
        ("token[]", [0]),
    ],
)
def test_sizes(shape, sizes):
    assert [size for size, _ in program.arrays(shape)] == sizes


def test_what_lies_on_the_chip_is_no_traffic():
    text = "ENTRY %main (x: f32[8]) -> f32[8] {\n  %x = f32[8]{0:T(128)} parameter(0)\n"
    text += "  %near = f32[8]{0:T(128)S(1)} copy(%x)\n  ROOT %y = f32[8]{0:T(128)S(1)} negate(%near)\n}"
    assert program.count(text, 1, 0)[0].bytes == 32


def test_the_text_of_a_real_compiler():
    """A loop over sharded rows, with a mean over all of them: the compiler of this machine, for eight devices."""
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def run(x, w):
        def body(x, _):
            y = jnp.tanh(x @ w)
            return y, y.mean()

        return jax.lax.scan(body, x, None, length=5)

    x, w = (
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=at)
        for shape, at in (((64, 32), rows), ((32, 32), everywhere))
    )
    compiled = jax.jit(run).lower(x, w).compile()
    update, dispatch = program.count(compiled.as_text() or "", updates=5, cache=0)
    assert update.collectives == {"all-reduce": (1, 4)} and dispatch.collectives == {}
    assert 3 <= update.launches <= 12
    assert update.bytes >= 4 * (8 * 32 + 32 * 32 + 8 * 32)
