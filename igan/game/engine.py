"""Runs the game fast: many updates a dispatch, many replicas a program, many devices, compiled once."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from igan import hosts
from igan.errors import UserError
from igan.game import inference, replica, step
from igan.game.batches import Feed, Resident, Streamed
from igan.game.programs import Programs
from igan.game.replica import Replica
from igan.game.stages import Plan
from igan.game.technique import Game
from igan.types import Array, Batches, GameState, Key, Metrics, Params, Space, Stage, Turn, Variables

REPLICA, DATA = "replica", "data"
# A state's leaves have a leading axis of replicas, all but the step: it is shared, or every `cond` on it would turn
# into a `select` under vmap.
STATE_AXES = GameState(None, 0, 0, 0, 0)  # type: ignore[arg-type]


class Engine(NamedTuple):
    """The compiled functions of a run. R is the number of replicas. Each stage has programs of its own."""

    initialize: Callable[[int], GameState]  # seed -> state; replica r starts from the seed `seed + r`.
    # (state, stage, updates, feed) -> state, metrics [R, updates]; the feed is None where the data are on the device.
    run: Callable[..., tuple[GameState, Metrics]]
    trace: Callable[[Stage, int], jax.stages.Traced]  # What `run` does in this many updates, for whatever devices.
    compile: Callable[[Stage, int], jax.stages.Compiled]  # Compiles that ahead of time.
    # (stage, updates, samples) -> the same, and `sample` for so many, while the devices compute something else.
    prepare: Callable[[Stage, int, int], None]
    balance: Callable[[GameState, Stage], Metrics]  # How the players stand, each [R]: see `igan.game.balance`.
    prepare_balance: Callable[[Stage], None]  # Compiles that meanwhile.
    test_errors: Callable[[GameState, Stage], inference.TestErrors]
    # (state, stage, count) -> images [R, count, ...] of the averaged generators.
    sample: Callable[[GameState, Stage, int], Array]
    state_shape: GameState  # Shapes, types and shardings of a state, for restoring one.
    rows: Callable[[int], range]  # Of a batch of this size, those that the devices of this host are fed with.
    put: Callable[[Feed], Feed]  # Copies a feed of these rows to the devices.


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


def make(
    game: Game,
    plan: Plan,
    resident: Resident,
    labeled: np.ndarray | None,
    mesh: Mesh,
    space: Space,
    streams: bool,
) -> Engine:
    """Returns the compiled functions that run `plan.replicas` independent copies of a game on a mesh.

    Args:
      resident: the data set, as NumPy arrays or on any device; it is copied to every device of the mesh. Where the
        data are streamed, its training images are those for initialisation. For devices that are not here the shapes
        of its images will do: such an engine can be traced and compiled, and not run.
      labeled: int32 [R, m], the images whose labels replica r knows; None without labels, or with all of them.
      space: what the data are.
      streams: whether `run` is fed by the host. All replicas see the same images then.
    """
    everywhere, dealt, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (REPLICA,), (DATA,)))
    split_feed = NamedSharding(mesh, PartitionSpec(None, None, DATA))
    put = hosts.put_nothing if isinstance(resident.images, jax.ShapeDtypeStruct) else hosts.put
    resident, labeled = put(resident, everywhere), put(labeled, dealt)

    def encode(stored: Array | np.ndarray) -> Array:
        return space.encode(stored, game.networks.image_range)

    together = functools.partial(step.update, replica.split_latents(game, split))
    update = _on_each_device(game, mesh) if plan.shared > 1 else together
    programs = _programs(Replica(game, plan, encode, update, split), mesh)

    def keys(seed: int) -> Key:
        return jax.vmap(jax.random.key)(seed + jnp.arange(plan.replicas))

    state_shape = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes := jax.eval_shape(programs.initialize, resident, keys(0)),
        jax.tree.broadcast(_sharding(mesh), shapes),
    )

    def trace(stage: Stage, updates: int) -> jax.stages.Traced:
        feed = _feed_shape(plan, stage, updates, space, split_feed) if streams else None
        return programs.run.trace(state_shape, resident, labeled, feed, stage, updates)

    def compile_run(stage: Stage, updates: int) -> jax.stages.Compiled:
        return trace(stage, updates).lower().compile()

    def compile_sample(stage: Stage, count: int) -> jax.stages.Compiled:
        return programs.sample.lower(state_shape, resident.labels, stage, count).compile()

    def compile_balance(stage: Stage) -> jax.stages.Compiled:
        return programs.balance.lower(state_shape, resident, labeled, stage).compile()

    runs, samples, balances = Programs(compile_run), Programs(compile_sample), Programs(compile_balance)

    def prepare(stage: Stage, updates: int, count: int) -> None:
        runs.prepare(stage, updates)
        samples.prepare(stage, count)

    return Engine(
        initialize=lambda seed: programs.initialize(resident, keys(seed)),
        run=lambda state, stage, updates, feed=None: runs(stage, updates)(state, resident, labeled, feed),
        trace=trace,
        compile=runs,
        prepare=prepare,
        balance=lambda state, stage: balances(stage)(state, resident, labeled),
        prepare_balance=balances.prepare,
        test_errors=lambda state, stage: programs.test_errors(state, resident, stage),
        sample=lambda state, stage, count: samples(stage, count)(state, resident.labels),
        state_shape=state_shape,
        rows=functools.partial(hosts.rows, split),
        put=lambda feed: jax.tree.map(functools.partial(jax.make_array_from_process_local_data, split_feed), feed),
    )


class _Programs(NamedTuple):
    """Functions of all replicas, jitted: what follows the state, the data and the labels that are known is static."""

    initialize: Any  # (data, keys [R])
    run: Any  # (state, data, labels that are known, feed, stage, updates); the state is given away.
    sample: Any  # (state, labels of the data, stage, count)
    balance: Any  # (state, data, labels that are known, stage)
    test_errors: Any  # (state, data, stage)


def _programs(one: Replica, mesh: Mesh) -> _Programs:
    # One replica is not mapped over: with a leading axis of length 1 its convolutions are a quarter slower.
    replicated = functools.partial(jax.vmap, spmd_axis_name=REPLICA) if one.plan.replicas > 1 else _alone
    initialize = replicated(functools.partial(replica.initialize, one), in_axes=(None, 0), out_axes=STATE_AXES)

    def run(
        state: GameState, resident: Resident, labeled: Array | None, feed: Feed | None, stage: Stage, updates: int
    ) -> tuple[GameState, Metrics]:
        def play(state: GameState, labeled: Array | None) -> tuple[GameState, Metrics]:
            return replica.play(one, state, resident, labeled, feed, stage, updates)

        return replicated(play, in_axes=(STATE_AXES, 0), out_axes=(STATE_AXES, 0))(state, labeled)

    def sample(state: GameState, labels: Array, stage: Stage, count: int) -> Array:
        turn = Turn(state.step, state.step, stage)

        def draw(params: Params, variables: Variables, key: Key) -> Array:
            return replica.draw(one, params, variables, key, turn, labels, count)

        return replicated(draw)(state.generator.average, state.generator.variables, state.key)

    def weigh(state: GameState, resident: Resident, labeled: Array | None, stage: Stage) -> Metrics:
        def weigh(state: GameState, labeled: Array | None) -> Metrics:
            return replica.weigh(one, state, resident, labeled, stage)

        return replicated(weigh, in_axes=(STATE_AXES, 0))(state, labeled)

    def test_errors(state: GameState, resident: Resident, stage: Stage) -> inference.TestErrors:
        images, labels = jnp.asarray(resident.test_images), jnp.asarray(resident.test_labels)
        turn = Turn(state.step, state.step, stage)
        at_once = one.plan.tested_at_once(stage)
        return inference.test_errors(one.game.networks, state, turn, images, labels, at_once, one.encode)

    sharding, everywhere = _sharding(mesh), NamedSharding(mesh, PartitionSpec())
    return _Programs(
        jax.jit(initialize, out_shardings=sharding),
        jax.jit(run, static_argnums=(4, 5), donate_argnums=0, out_shardings=(sharding, sharding.key)),
        jax.jit(sample, static_argnums=(2, 3), out_shardings=everywhere),
        jax.jit(weigh, static_argnums=3, out_shardings=everywhere),
        jax.jit(test_errors, static_argnums=2, out_shardings=everywhere),
    )


def _sharding(mesh: Mesh) -> GameState:
    """Returns where the leaves of a state are: replicas on devices of their own, each whole."""
    everywhere, dealt = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(REPLICA))
    return GameState(everywhere, dealt, dealt, dealt, dealt)  # type: ignore[arg-type]


def _feed_shape(plan: Plan, stage: Stage, updates: int, space: Space, sharding: NamedSharding) -> Feed:
    """Returns the shapes of the images and labels of so many updates."""

    def shape(steps: int, batch_size: int) -> Streamed:
        leading = (updates, steps, batch_size)
        images = jax.ShapeDtypeStruct((*leading, *space.shape), space.storage, sharding=sharding)
        return Streamed(images, jax.ShapeDtypeStruct(leading, jnp.int32, sharding=sharding))  # type: ignore[arg-type]

    discriminator, generator = map(shape, plan.steps, stage.batch_sizes)
    return discriminator, generator


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


def _on_each_device(game: Game, mesh: Mesh) -> Callable[[GameState, Batches, Stage], tuple[GameState, Metrics]]:
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
