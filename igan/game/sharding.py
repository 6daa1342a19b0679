"""How a game is dealt out over devices: replicas on devices of their own, or the batches of a single one."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from igan.errors import UserError
from igan.game import step
from igan.game.stages import Plan
from igan.game.technique import Game
from igan.types import Array, Batches, GameState, Metrics, Stage

REPLICA, DATA = "replica", "data"
# A state's leaves have a leading axis of replicas, all but the step: it is shared, or every `cond` on it would turn
# into a `select` under vmap.
STATE_AXES = GameState(None, 0, 0, 0, 0)  # type: ignore[arg-type]


def choose_devices(devices: Sequence[Any], count: int, per_device: bool) -> list[Any]:
    """Returns so many devices, by host; all of them for 0.

    Raises UserError where there are fewer, or a host would be left without any.
    """
    # By host: of a batch that is split over them, each one holds a stretch.
    available = sorted(devices, key=lambda device: (device.process_index, device.id))
    if count > len(available):
        hint = "use --config.devices=0 for all of them"
        if per_device:
            hint = "a run with sharding=per_device goes on with as many as it began with, or begin one of fewer"
        raise UserError(f"devices={count} but there are {len(available)}: {hint}")
    if 0 < count < len(available) and jax.process_count() > 1:
        raise UserError(f"devices={count} would leave some hosts without any: use --config.devices=0 for all of them")
    return available[: count or len(available)]


def make_mesh(plan: Plan, devices: Sequence[Any]) -> Mesh:
    """Returns the devices as a ("replica", "data") mesh: replicas are dealt out, a single one is split by its batch.

    Raises UserError where they cannot be dealt out evenly.
    """
    several = plan.replicas > 1
    if (fits := most_devices(plan, len(devices))) < len(devices):
        total, what, flag, parts = plan.replicas, "replicas", "replicas", 1
        if not several:
            parts, what = plan.accumulate, "images of a batch" + f" in {plan.accumulate} parts" * (plan.accumulate > 1)
            total, flag, stage = next(
                (size, flag, stage)
                for stage in plan.stages
                for size, flag in zip(stage.batch_sizes, ("batch_size", "generator.batch_size"), strict=True)
                if size // parts % len(devices)
            )
            if stage.name:
                what, flag = f"{what} in the stage '{stage.name}'", f"{flag}, or --config.networks.batch_sizes,"
        raise UserError(
            f"{total} {what} cannot be dealt out evenly over {len(devices)} devices:"
            f" set --config.{flag} to a multiple of {len(devices) * parts}, or --config.devices={fits}"
        )
    shape = (len(devices), 1) if several else (1, len(devices))
    return Mesh(np.asarray(devices).reshape(shape), (REPLICA, DATA), axis_types=(AxisType.Auto, AxisType.Auto))


def most_devices(plan: Plan, available: int) -> int:
    """Returns how many of the available devices can share the replicas, or every batch of a single one.

    >>> most_devices(Plan(1, 1, 1, 500, complete_stages([Stage()], (100, 100), (1, 1))), available=8)
    5
    """
    total = plan.replicas if plan.replicas > 1 else _common_part(plan)
    return max(count for count in range(1, available + 1) if total % count == 0)


def _common_part(plan: Plan) -> int:
    """Returns the largest number that divides all that is looked at at once, in any stage."""
    return math.gcd(*(size // plan.accumulate for stage in plan.stages for size in stage.batch_sizes))


def dealt_batches(replicas: int, mesh: Mesh) -> Callable[[Any], Any]:
    """Returns what deals a batch out over the devices inside a program; a replica among several keeps it whole."""
    if replicas > 1:
        return lambda batch: batch
    return functools.partial(jax.lax.with_sharding_constraint, shardings=NamedSharding(mesh, PartitionSpec(DATA)))


def state_sharding(mesh: Mesh) -> GameState:
    """Returns where the leaves of a state are: replicas on devices of their own, each whole."""
    return _placed(STATE_AXES, functools.partial(NamedSharding, mesh))


def _placed(axes: Any, place: Callable[[PartitionSpec], Any]) -> Any:
    """Returns a place for each axis, as `jax.vmap` is told them: of replicas, or of what they share."""
    parts = {None: PartitionSpec(), 0: PartitionSpec(REPLICA)}
    return jax.tree.map(lambda axis: place(parts[axis]), axes, is_leaf=lambda axis: axis is None)


def over_replicas(replicas: int, mesh: Mesh) -> Callable[..., Any]:
    """Returns what maps a function of one replica over all of them, as `jax.vmap` does, each on a device of its own.

    They are not left to the compiler: of convolutions it would gather the kernels of all replicas on every device.
    Arrays on the mesh are to be given to the function: `shard_map` refuses some that it finds around it.
    """
    devices = mesh.shape[REPLICA]
    # A single replica is not mapped over: with a leading axis of length 1 its convolutions are a quarter slower.
    on_one = jax.vmap if replicas > devices else _alone
    if devices == 1:
        return on_one

    def replicated(function: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
        dealt = on_one(function, in_axes=in_axes, out_axes=out_axes)
        asked, given = (_placed(axes, lambda part: part) for axes in (in_axes, out_axes))
        return jax.shard_map(dealt, mesh=mesh, in_specs=asked, out_specs=given, check_vma=False)

    return replicated


def _alone(function: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Returns what `jax.vmap` returns, for a single replica: the leading axis is taken away and put back."""

    def at(axes: Any, values: Any, change: Callable[[Any], Any]) -> Any:
        if isinstance(axes, tuple):
            changed = [at(*each, change) for each in zip(axes, values, strict=True)]
            return type(axes)(*changed) if hasattr(axes, "_fields") else tuple(changed)
        return values if axes is None else jax.tree.map(change, values)

    def mapped(*arguments: Any) -> Any:
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arguments)
        results = function(*at(axes, arguments, lambda leaf: leaf[0]))
        return at(out_axes, results, lambda leaf: leaf[None])

    return mapped


def on_each_device(game: Game, mesh: Mesh) -> Callable[[GameState, Batches, Stage], tuple[GameState, Metrics]]:
    """Returns an update that each device plays with its part of the batches, and noise, by itself, as with `jax.pmap`.

    Of what comes out all devices have the mean, before the optimisers move: they end with the same state.
    """

    def mean(leaf: Array) -> Array:  # Counts and labels are the same everywhere.
        return jax.lax.pmean(leaf, DATA) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    game = game._replace(agree=functools.partial(jax.tree.map, mean))

    def update(state: GameState, batches: Batches, stage: Stage) -> tuple[GameState, Metrics]:
        def play(state: GameState, batches: Batches) -> tuple[GameState, Metrics]:
            own = jax.random.fold_in(state.key, jax.lax.axis_index(DATA))
            after, metrics = step.update(game, state._replace(key=own), batches, stage)
            return after._replace(key=state.key), metrics

        # Unchecked, as gradients would be summed over the devices on the way otherwise.
        parts = (PartitionSpec(), PartitionSpec(DATA))
        played = jax.shard_map(play, mesh=mesh, in_specs=parts, out_specs=PartitionSpec(), check_vma=False)
        return played(state, batches)

    return update
