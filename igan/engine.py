"""Runs the game fast: many updates a dispatch, many replicas a program, many devices, compiled once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from igan import evaluate, step
from igan.data.batches import Orders, Resident, epoch_order, gather, make_orders, rescale
from igan.errors import UserError
from igan.step import Game
from igan.types import Array, GameState, Key, Metrics

REPLICA, DATA = "replica", "data"
# A state's leaves have a leading axis of replicas, all but the step: it is shared, or every `cond` on it would turn
# into a `select` under vmap.
STATE_AXES = GameState(None, 0, 0, 0, 0)  # type: ignore[arg-type]


class Plan(NamedTuple):
    """The numbers of a run that shape its compiled program."""

    replicas: int
    batch_size: int
    discriminator_steps: int  # Steps of the discriminator an update.
    generator_steps: int
    initial_images: int  # Real images for data-dependent initialisation.


class Engine(NamedTuple):
    """The compiled functions of a run. R is the number of replicas."""

    initialize: Callable[[int], GameState]  # seed -> state; replica r starts from the seed `seed + r`.
    run: Callable[[GameState, int], tuple[GameState, Metrics]]  # (state, updates) -> state, metrics [R, updates].
    compile: Callable[[int], jax.stages.Compiled]  # Compiles `run` for this many updates ahead of time.
    test_errors: Callable[[GameState], evaluate.TestErrors]
    sample: Callable[[GameState, int], Array]  # (state, count) -> images [R, count, ...] of the averaged generators.
    state_shape: GameState  # Shapes, types and shardings of a state, for restoring one.


def make_mesh(plan: Plan, devices: Sequence[Any]) -> Mesh:
    """Returns the devices as a ("replica", "data") mesh: replicas are dealt out, a single one is split by its batch.

    Raises UserError where they cannot be dealt out evenly.
    """
    several = plan.replicas > 1
    total = plan.replicas if several else plan.batch_size
    if total % len(devices):
        what, flag = ("replicas", "replicas") if several else ("images of a batch", "batch_size")
        fits = max(count for count in range(1, len(devices)) if total % count == 0)
        raise UserError(
            f"{total} {what} cannot be dealt out evenly over {len(devices)} devices:"
            f" set --config.{flag} to a multiple of {len(devices)}, or --config.devices={fits}"
        )
    shape = (len(devices), 1) if several else (1, len(devices))
    return Mesh(np.asarray(devices).reshape(shape), (REPLICA, DATA), axis_types=(AxisType.Auto, AxisType.Auto))


def make(game: Game, plan: Plan, resident: Resident, labeled: np.ndarray | None, mesh: Mesh) -> Engine:
    """Returns the compiled functions that run `plan.replicas` independent copies of a game on a mesh.

    Args:
      resident: the data set, as NumPy arrays or on any device; it is copied to every device of the mesh.
      labeled: int32 [R, m], the images whose labels replica r knows; None without labels.
    """
    everywhere, dealt, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (REPLICA,), (DATA,)))
    resident = jax.device_put(resident, everywhere)
    labeled = jax.device_put(labeled, dealt)
    game, networks = _split_latents(game, split), game.networks
    sharding = GameState(everywhere, dealt, dealt, dealt, dealt)  # type: ignore[arg-type]
    replicated = functools.partial(jax.vmap, spmd_axis_name=REPLICA)

    def initialize(resident: Resident, key: Key) -> GameState:
        size = resident.images.shape[0]
        order = epoch_order(key, "initialize/data", size, min(plan.initial_images, size), jnp.int32(0), 1)[0]
        return step.initialize(game, key, rescale(resident.images[order], networks.image_range))

    def run(state: GameState, resident: Resident, labeled: Array | None, updates: int) -> tuple[GameState, Metrics]:
        def one_replica(state: GameState, labeled: Array | None) -> tuple[GameState, Metrics]:
            def body(state: GameState, orders: Orders) -> tuple[GameState, Metrics]:
                batches = gather(resident, orders, networks.image_range)
                return step.update(game, state, jax.lax.with_sharding_constraint(batches, split))

            size, steps = resident.images.shape[0], (plan.discriminator_steps, plan.generator_steps)
            orders = make_orders(state.key, state.step, updates, size, labeled, plan.batch_size, steps)
            return jax.lax.scan(body, state, orders)

        return replicated(one_replica, in_axes=(STATE_AXES, 0), out_axes=(STATE_AXES, 0))(state, labeled)

    def sample(state: GameState, count: int) -> Array:
        draw = functools.partial(evaluate.sample, networks, count=count)
        return replicated(draw)(state.generator.average, state.generator.variables, state.key)

    initialize_all = jax.jit(replicated(initialize, in_axes=(None, 0), out_axes=STATE_AXES), out_shardings=sharding)
    run_all = jax.jit(run, static_argnums=3, donate_argnums=0, out_shardings=(sharding, dealt))
    test_errors = jax.jit(functools.partial(evaluate.test_errors, networks), out_shardings=everywhere)

    def keys(seed: int) -> Key:
        return jax.vmap(jax.random.key)(seed + jnp.arange(plan.replicas))

    state_shape = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes := jax.eval_shape(initialize_all, resident, keys(0)),
        jax.tree.broadcast(sharding, shapes),
    )

    @functools.cache
    def compile_run(updates: int) -> jax.stages.Compiled:
        return run_all.lower(state_shape, resident, labeled, updates).compile()

    return Engine(
        initialize=lambda seed: initialize_all(resident, keys(seed)),
        run=lambda state, updates: compile_run(updates)(state, resident, labeled),
        compile=compile_run,
        test_errors=lambda state: test_errors(state, resident.test_images, resident.test_labels),
        sample=jax.jit(sample, static_argnums=1),
        state_shape=state_shape,
    )


def _split_latents(game: Game, split: NamedSharding) -> Game:
    """Splits generated batches as real ones are: the update itself is written for the whole batch."""
    networks = game.networks

    def sample_latents(key: Key, count: int) -> Array:
        return jax.lax.with_sharding_constraint(networks.sample_latents(key, count), split)

    return game._replace(networks=networks._replace(sample_latents=sample_latents))
