"""A training state as arrays with names, which is what Orbax keeps, and back."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from igan.types import Array

State = Any  # Any pytree of arrays.


def arrays_by_name(state: State) -> dict[str, Array]:
    """Returns what is written of a state: keys as their data; empty arrays not at all, because Orbax refuses them.

    >>> arrays_by_name({"step": jnp.zeros((), int), "players": (jnp.ones(2), jnp.ones(0))})
    {'players/0': Array([1., 1.], dtype=float32), 'step': Array(0, dtype=int32)}

    Raises ValueError where two leaves have the same name.
    """
    named = {name: jnp.asarray(leaf) for name, leaf in _named_leaves(state).items()}
    return {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in named.items() if leaf.size}


def specs_by_name(like: State) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes, types and shardings of what is written of a state; the first device where `like` names none."""
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    specs = {}
    for name, leaf in _named_leaves(like).items():
        if math.prod(leaf.shape):
            data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
            sharding = getattr(leaf, "sharding", None) or default
            specs[name] = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding)
    return specs


def rebuild(like: State, arrays: Mapping[str, Array]) -> State:
    """Returns a state of the structure of `like` from its arrays by name: the inverse of `arrays_by_name`."""

    def rebuilt(name: str, leaf: Any) -> Array:
        if not math.prod(leaf.shape):
            return jnp.zeros(leaf.shape, leaf.dtype, device=getattr(leaf, "sharding", None))
        if _is_key(leaf):  # `leaf` may be a mere description, which `key_impl` refuses.
            return jax.random.wrap_key_data(arrays[name], impl=jax.random.key_impl(jnp.empty((), leaf.dtype)))
        return arrays[name]

    return jax.tree.unflatten(jax.tree.structure(like), [rebuilt(*item) for item in _named_leaves(like).items()])


def described(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Returns the type and the shape of each array.

    >>> described({"players/bias": jnp.zeros(3)})
    {'players/bias': 'float32[3]'}
    """
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _named_leaves(tree: State) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(named) < len(leaves):
        raise ValueError("two leaves of the state have the same name: do not put '/' into the keys of its dicts")
    return named


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
