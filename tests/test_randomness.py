"""Random streams."""

from typing import Any

import jax
import jax.numpy as jnp

from igan.randomness import stream


def test_a_stream_is_a_pure_function_of_key_name_and_step():
    def data(seed: int, name: str, step: Any) -> tuple[int, ...]:
        return tuple(jax.random.key_data(stream(jax.random.key(seed), name, step)).tolist())

    asked = [(seed, name, step) for seed in (0, 1) for name in ("latents", "generator/0", "") for step in (0, 1, 2**20)]
    assert len({data(*each) for each in asked}) == len(asked)
    assert [data(*each) for each in asked] == [data(*each) for each in asked]
    traced = jax.jit(lambda step: jax.random.key_data(stream(jax.random.key(0), "latents", step)))(jnp.int32(2**20))
    assert tuple(traced.tolist()) == data(0, "latents", 2**20)
