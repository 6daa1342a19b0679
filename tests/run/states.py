"""A state with every kind of leaf, and processes that save it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from igan.run.checkpoint import Checkpoints
from tests import xla
from tests.command import REPOSITORY


class Player(NamedTuple):
    params: dict[str, Any]
    opt_state: tuple[Any, ...]


def make_state(seed: int = 0) -> dict[str, Any]:
    noise = jax.random.normal(jax.random.key(seed), (300, 40))
    # Quiet and signalling NaNs with payloads, infinities, minus zero, a denormal.
    odd_bits = np.array([0x7FC12345, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 0x80000000, 1], np.uint32)
    return {
        "player": Player({"kernel": noise, "bias": jnp.zeros(40)}, (jnp.int32(seed), {}, (jnp.ones(3, bool),))),
        "odd": jax.device_put(odd_bits.view(np.float32)),
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 3),
        "scalars": [jnp.uint8(7), jnp.float32(0.1), jnp.bfloat16(1.5), jnp.int32(-3)],
        "empty": jnp.zeros((0, 5)),
    }


def bits(tree: Any) -> list[tuple[Any, ...]]:
    def of_leaf(leaf: jax.Array) -> tuple[Any, ...]:
        data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        return leaf.shape, str(leaf.dtype), np.asarray(data).tobytes()

    return [of_leaf(leaf) for leaf in jax.tree.leaves(tree)]


def specs(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def write(directory: Path, *steps: int) -> None:
    """Leaves `make_state(step)` as the checkpoint of each step."""
    with Checkpoints(directory, keep=max(2, len(steps))) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step))


def run_python(code: str, *arguments: object, devices: int = 1) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(REPOSITORY), "XLA_FLAGS": xla.flags(devices), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | environment, cwd=REPOSITORY, text=True, stdout=pipe, stderr=pipe)
