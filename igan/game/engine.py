"""Runs the game fast: many updates a dispatch, many replicas a program, many devices, compiled once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from igan import hosts
from igan.game import inference, replica, step
from igan.game.batches import Feed, Resident, Streamed
from igan.game.programs import Programs
from igan.game.replica import Replica
from igan.game.sharding import DATA, REPLICA, STATE_AXES, dealt_batches, on_each_device, over_replicas, state_sharding
from igan.game.stages import Plan
from igan.game.technique import Game
from igan.types import Array, GameState, Key, Metrics, Params, Space, Stage, Turn, Variables


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

    deal = dealt_batches(plan.replicas, mesh)
    together = functools.partial(step.update, replica.split_latents(game, deal))
    update = on_each_device(game, mesh) if plan.shared > 1 else together
    programs = _programs(Replica(game, plan, encode, update, deal), mesh)

    def keys(seed: int) -> Key:
        return jax.vmap(jax.random.key)(seed + jnp.arange(plan.replicas))

    state_shape = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes := jax.eval_shape(programs.initialize, resident, keys(0)),
        jax.tree.broadcast(state_sharding(mesh), shapes),
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
    replicated = over_replicas(one.plan.replicas, mesh)
    initialize = replicated(functools.partial(replica.initialize, one), in_axes=(None, 0), out_axes=STATE_AXES)

    def run(
        state: GameState, resident: Resident, labeled: Array | None, feed: Feed | None, stage: Stage, updates: int
    ) -> tuple[GameState, Metrics]:
        def play(
            state: GameState, labeled: Array | None, resident: Resident, feed: Feed | None
        ) -> tuple[GameState, Metrics]:
            return replica.play(one, state, resident, labeled, feed, stage, updates)

        played = replicated(play, in_axes=(STATE_AXES, 0, None, None), out_axes=(STATE_AXES, 0))
        return played(state, labeled, resident, feed)

    def sample(state: GameState, labels: Array, stage: Stage, count: int) -> Array:
        def draw(params: Params, variables: Variables, key: Key, step: Array, labels: Array) -> Array:
            return replica.draw(one, params, variables, key, Turn(step, step, stage), labels, count)

        player = state.generator
        drawn = replicated(draw, in_axes=(0, 0, 0, None, None))
        return drawn(player.average, player.variables, state.key, state.step, labels)

    def weigh(state: GameState, resident: Resident, labeled: Array | None, stage: Stage) -> Metrics:
        def weigh(state: GameState, labeled: Array | None, resident: Resident) -> Metrics:
            return replica.weigh(one, state, resident, labeled, stage)

        return replicated(weigh, in_axes=(STATE_AXES, 0, None))(state, labeled, resident)

    def test_errors(state: GameState, resident: Resident, stage: Stage) -> inference.TestErrors:
        images, labels = jnp.asarray(resident.test_images), jnp.asarray(resident.test_labels)
        turn = Turn(state.step, state.step, stage)
        at_once = one.plan.tested_at_once(stage)
        return inference.test_errors(one.game.networks, state, turn, images, labels, at_once, one.encode, replicated)

    sharding, everywhere = state_sharding(mesh), NamedSharding(mesh, PartitionSpec())
    return _Programs(
        jax.jit(initialize, out_shardings=sharding),
        jax.jit(run, static_argnums=(4, 5), donate_argnums=0, out_shardings=(sharding, sharding.key)),
        jax.jit(sample, static_argnums=(2, 3), out_shardings=everywhere),
        jax.jit(weigh, static_argnums=3, out_shardings=everywhere),
        jax.jit(test_errors, static_argnums=2, out_shardings=everywhere),
    )


def _feed_shape(plan: Plan, stage: Stage, updates: int, space: Space, sharding: NamedSharding) -> Feed:
    """Returns the shapes of the images and labels of so many updates."""

    def shape(steps: int, batch_size: int) -> Streamed:
        leading = (updates, steps, batch_size)
        images = jax.ShapeDtypeStruct((*leading, *space.shape), space.storage, sharding=sharding)
        return Streamed(images, jax.ShapeDtypeStruct(leading, jnp.int32, sharding=sharding))  # type: ignore[arg-type]

    discriminator, generator = map(shape, plan.steps, stage.batch_sizes)
    return discriminator, generator
