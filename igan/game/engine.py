"""Runs the game fast: many updates a dispatch, many replicas a program, many devices, compiled once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from igan import hosts
from igan.errors import UserError
from igan.game import inference, step
from igan.game.batches import Orders, Resident, Streamed, epoch_order, gather, make_orders, rescale, unpack
from igan.game.step import Game
from igan.types import Array, Batches, GameState, Key, Metrics, Params, Variables

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
    initial_images: int  # Real images for data-dependent initialisation, latents for fresh batch statistics.
    all_labeled: bool = False  # Whether every training image comes with its label.

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of the discriminator and of the generator an update."""
        return self.discriminator_steps, self.generator_steps


Feed = tuple[Streamed, Streamed]  # The images of consecutive updates, for the discriminator and for the generator.


class Engine(NamedTuple):
    """The compiled functions of a run. R is the number of replicas."""

    initialize: Callable[[int], GameState]  # seed -> state; replica r starts from the seed `seed + r`.
    # (state, updates, feed) -> state, metrics [R, updates]; the feed is None where the data are on the device.
    run: Callable[..., tuple[GameState, Metrics]]
    compile: Callable[[int], jax.stages.Compiled]  # Compiles `run` for this many updates ahead of time.
    test_errors: Callable[[GameState], inference.TestErrors]
    sample: Callable[[GameState, int], Array]  # (state, count) -> images [R, count, ...] of the averaged generators.
    state_shape: GameState  # Shapes, types and shardings of a state, for restoring one.
    rows: range  # Of a batch, those that the devices of this host are fed with.
    put: Callable[[Feed], Feed]  # Copies a feed of these rows to the devices.


def make_mesh(plan: Plan, devices: Sequence[Any]) -> Mesh:
    """Returns the devices as a ("replica", "data") mesh: replicas are dealt out, a single one is split by its batch.

    Raises UserError where they cannot be dealt out evenly.
    """
    several = plan.replicas > 1
    if (fits := most_devices(plan.replicas, plan.batch_size, len(devices))) < len(devices):
        total, what, flag = plan.batch_size, "images of a batch", "batch_size"
        if several:
            total, what, flag = plan.replicas, "replicas", "replicas"
        raise UserError(
            f"{total} {what} cannot be dealt out evenly over {len(devices)} devices:"
            f" set --config.{flag} to a multiple of {len(devices)}, or --config.devices={fits}"
        )
    shape = (len(devices), 1) if several else (1, len(devices))
    return Mesh(np.asarray(devices).reshape(shape), (REPLICA, DATA), axis_types=(AxisType.Auto, AxisType.Auto))


def most_devices(replicas: int, batch_size: int, available: int) -> int:
    """Returns how many of the available devices can share the replicas, or the batch of a single one.

    >>> most_devices(replicas=1, batch_size=100, available=8)
    5
    """
    total = replicas if replicas > 1 else batch_size
    return max(count for count in range(1, available + 1) if total % count == 0)


def make(game: Game, plan: Plan, resident: Resident, labeled: np.ndarray | None, mesh: Mesh, streams: bool) -> Engine:
    """Returns the compiled functions that run `plan.replicas` independent copies of a game on a mesh.

    Args:
      resident: the data set, as NumPy arrays or on any device; it is copied to every device of the mesh. Where the
        data are streamed, its training images are those for initialisation.
      labeled: int32 [R, m], the images whose labels replica r knows; None without labels, or with all of them.
      streams: whether `run` is fed by the host. All replicas see the same images then.
    """
    everywhere, dealt, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (REPLICA,), (DATA,)))
    split_feed = NamedSharding(mesh, PartitionSpec(None, None, DATA))
    image_shape = resident.images.shape[1:]
    resident = hosts.put(resident, everywhere)
    labeled = hosts.put(labeled, dealt)
    game, networks = _split_latents(game, split), game.networks
    sharding = GameState(everywhere, dealt, dealt, dealt, dealt)  # type: ignore[arg-type]
    # One replica is not mapped over: with a leading axis of length 1 its convolutions are a quarter slower.
    replicated = functools.partial(jax.vmap, spmd_axis_name=REPLICA) if plan.replicas > 1 else _alone

    def initialize(resident: Resident, key: Key) -> GameState:
        size = resident.images.shape[0]
        order = epoch_order(key, "initialize/data", size, plan.initial_images, jnp.int32(0), 1)[0]
        return step.initialize(game, key, rescale(resident.images[order], networks.image_range))

    def run(
        state: GameState, resident: Resident, labeled: Array | None, feed: Feed | None, updates: int
    ) -> tuple[GameState, Metrics]:
        def one_replica(state: GameState, labeled: Array | None) -> tuple[GameState, Metrics]:
            def play(state: GameState, batches: Batches) -> tuple[GameState, Metrics]:
                return step.update(game, state, jax.lax.with_sharding_constraint(batches, split))

            def play_streamed(state: GameState, feed: Feed) -> tuple[GameState, Metrics]:
                return play(state, unpack(*feed, networks.image_range, plan.all_labeled))

            def play_resident(state: GameState, orders: Orders) -> tuple[GameState, Metrics]:
                return play(state, gather(resident, orders, networks.image_range, plan.all_labeled))

            if feed is not None:
                return jax.lax.scan(play_streamed, state, feed)
            size = resident.images.shape[0]
            orders = make_orders(state.key, state.step, updates, size, labeled, plan.batch_size, plan.steps)
            return jax.lax.scan(play_resident, state, orders)

        return replicated(one_replica, in_axes=(STATE_AXES, 0), out_axes=(STATE_AXES, 0))(state, labeled)

    def sample(state: GameState, count: int) -> Array:
        def draw(params: Params, variables: Variables, key: Key) -> Array:
            frozen = inference.freeze(networks, params, variables, key, plan.initial_images)
            return inference.sample(networks, params, frozen, key, count)

        return replicated(draw)(state.generator.average, state.generator.variables, state.key)

    initialize_all = jax.jit(replicated(initialize, in_axes=(None, 0), out_axes=STATE_AXES), out_shardings=sharding)
    run_all = jax.jit(run, static_argnums=4, donate_argnums=0, out_shardings=(sharding, dealt))
    test_errors = jax.jit(
        functools.partial(inference.test_errors, networks, batch_size=plan.batch_size), out_shardings=everywhere
    )

    def keys(seed: int) -> Key:
        return jax.vmap(jax.random.key)(seed + jnp.arange(plan.replicas))

    state_shape = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes := jax.eval_shape(initialize_all, resident, keys(0)),
        jax.tree.broadcast(sharding, shapes),
    )

    def feed_shape(updates: int) -> Feed:
        def shape(steps: int) -> Streamed:
            leading = (updates, steps, plan.batch_size)
            images = jax.ShapeDtypeStruct((*leading, *image_shape), jnp.uint8, sharding=split_feed)
            labels = jax.ShapeDtypeStruct(leading, jnp.int32, sharding=split_feed)
            return Streamed(images, labels)  # type: ignore[arg-type]

        return shape(plan.discriminator_steps), shape(plan.generator_steps)

    @functools.cache
    def compile_run(updates: int) -> jax.stages.Compiled:
        feed = feed_shape(updates) if streams else None
        return run_all.lower(state_shape, resident, labeled, feed, updates).compile()

    return Engine(
        initialize=lambda seed: initialize_all(resident, keys(seed)),
        run=lambda state, updates, feed=None: compile_run(updates)(state, resident, labeled, feed),
        compile=compile_run,
        test_errors=lambda state: test_errors(state, resident.test_images, resident.test_labels),
        sample=jax.jit(sample, static_argnums=1, out_shardings=everywhere),
        state_shape=state_shape,
        rows=hosts.rows(split, plan.batch_size),
        put=lambda feed: jax.tree.map(functools.partial(jax.make_array_from_process_local_data, split_feed), feed),
    )


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


def _split_latents(game: Game, split: NamedSharding) -> Game:
    """Splits generated batches as real ones are: the update itself is written for the whole batch."""
    networks = game.networks

    def sample_latents(key: Key, count: int) -> Array:
        return jax.lax.with_sharding_constraint(networks.sample_latents(key, count), split)

    return game._replace(networks=networks._replace(sample_latents=sample_latents))
