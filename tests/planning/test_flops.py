"""FLOPs counted in a program against XLA's own count and hand-computed ones."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from igan.planning import flops


def floats(*sides, kind=jnp.float32):
    return jax.ShapeDtypeStruct(sides, kind)


def counted(function, *shapes):
    return flops.count(jax.make_jaxpr(function)(*shapes))


SAME = {"window_strides": (1, 1), "padding": "SAME"}


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        (SAME, 4),
        ({"window_strides": (2, 2), "padding": "VALID"}, 4),
        ({"window_strides": (1, 1), "padding": ((2, 2), (2, 1)), "lhs_dilation": (2, 3)}, 4),
        ({"window_strides": (1, 2), "padding": ((2, 2), (2, 1)), "rhs_dilation": (2, 1)}, 4),
        ({**SAME, "feature_group_count": 2}, 2),
        ({**SAME, "batch_group_count": 2}, 4),
    ],
)
def test_convolutions_cost_what_the_compiler_says(options, channels):
    def convolve(images, kernel):
        return lax.conv_general_dilated(images, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    shapes = floats(6, 9, 11, 4), floats(3, 5, channels, 8)
    assert counted(convolve, *shapes).total() == jax.jit(convolve).lower(*shapes).cost_analysis()["flops"]


def test_products():
    assert counted(jnp.matmul, floats(3, 4, 5), floats(3, 5, 6)) == {("float32", "default"): 2 * 3 * 4 * 5 * 6}
    brain = counted(jnp.matmul, floats(4, 5, kind=jnp.bfloat16), floats(5, 6, kind=jnp.bfloat16))
    assert brain == {("bfloat16", "default"): 240}
    exact = counted(lambda a, b: jnp.matmul(a, b, precision="highest"), floats(4, 5), floats(5, 6))
    assert exact == {("float32", "highest"): 240}


def test_a_loop_counts_as_often_as_it_runs_and_a_branch_when_it_must():
    def loop(square):
        return lax.scan(lambda carry, _: (carry @ square, None), square, None, length=7)[0]

    def branch(square):
        return lax.cond(square[0, 0] > 0, lambda: square @ square @ square, lambda: square @ square)

    one = 2 * 4**3
    assert counted(jax.jit(loop), floats(4, 4)).total() == 7 * one
    assert counted(branch, floats(4, 4)).total() == one
    assert counted(jax.vmap(loop), floats(3, 4, 4)).total() == 3 * 7 * one
    assert counted(jax.grad(lambda a: loop(a).sum()), floats(4, 4)).total() >= 3 * 7 * one - 2 * one


def test_of_what_platforms_do_in_their_own_way_the_cheapest_counts():
    def product(square):
        return lax.platform_dependent(square, cpu=lambda a: a @ a @ a, default=lambda a: a @ a)

    assert counted(product, floats(4, 4)).total() == 2 * 4**3


def test_seconds():
    rates = (8.0, 4.0, 1.0)
    some = flops.Flops({("bfloat16", "default"): 8, ("float32", "default"): 4, ("float32", "highest"): 1})
    assert flops.seconds(some, rates) == 3.0
