"""Runs the game fast: many updates a dispatch, many replicas a program, many devices, compiled once."""

import functools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from igan import hosts
from igan.errors import UserError
from igan.game import inference, step
from igan.game.batches import Orders, Resident, Streamed, epoch_order, gather, make_orders, unpack
from igan.game.technique import Game
from igan.randomness import stream
from igan.types import Array, Batches, Examples, GameState, Key, Metrics, Params, Space, Stage, Turn, Variables

REPLICA, DATA = "replica", "data"
# A state's leaves have a leading axis of replicas, all but the step: it is shared, or every `cond` on it would turn
# into a `select` under vmap.
STATE_AXES = GameState(None, 0, 0, 0, 0)  # type: ignore[arg-type]


class Plan(NamedTuple):
    """The numbers of a run that shape its compiled programs."""

    replicas: int
    discriminator_steps: int  # Steps of the discriminator an update.
    generator_steps: int
    initial_images: int  # Real images for data-dependent initialisation, latents for fresh batch statistics.
    stages: tuple[Stage, ...]  # In order; one, unless the networks grow.
    all_labeled: bool = False  # Whether every training image comes with its label.
    accumulate: int = 1  # In how many parts a step looks at its batch.

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of the discriminator and of the generator an update."""
        return self.discriminator_steps, self.generator_steps

    def stage(self, step: int) -> Stage:
        """Returns the stage of the update that follows `step` others."""
        return [each for each in self.stages if each.start <= step][-1]

    def reached(self, step: int) -> Stage:
        """Returns the stage of a state after `step` updates: that of the last one."""
        return self.stage(max(step - 1, 0))

    def updates_for(self, images: int) -> int:
        """Returns after how many updates the discriminator has been shown so many real images, and no more."""
        stage = [each for each in self.stages if each.consumed[0] < images or each.index == 0][-1]
        return stage.start + (images - stage.consumed[0]) // (stage.batch_sizes[0] * self.discriminator_steps)

    def end(self, stage: Stage, total_updates: int) -> int:
        """Returns the first update after a stage."""
        following = self.stages[stage.index + 1 : stage.index + 2]
        return min(following[0].start, total_updates) if following else total_updates


def complete_stages(stages: Sequence[Stage], batch_sizes: tuple[int, int], steps: tuple[int, int]) -> tuple[Stage, ...]:
    """Returns the stages that networks ask for with the batches of a run.

    Args:
      batch_sizes: of the discriminator and of the generator, for stages that have none of their own.
      steps: of both, an update.

    A length in images is brought to a round number of updates, which is not a hundredth off: 3 digits at most, and
    ends with a zero from 100 on. The chunks of a run are then alike.

    >>> complete_stages([Stage(), Stage(1, start=10, batch_sizes=(4, 4))], (16, 16), (1, 2))[1].consumed
    (160, 320)
    >>> complete_stages([Stage(images=600_000), Stage(1)], (128, 128), (1, 1))[1].start
    4690
    """
    filled: list[Stage] = []
    for stage in stages:
        if filled and (before := filled[-1]).images:
            stage = stage._replace(start=before.start + _round_updates(before, steps[0]))
        if filled:
            filled[-1] = filled[-1]._replace(updates=stage.start - filled[-1].start)
        sizes = tuple(own or usual for own, usual in zip(stage.batch_sizes, batch_sizes, strict=True))
        consumed = (0, 0)
        if filled:
            before = filled[-1]
            updates = stage.start - before.start
            consumed = tuple(
                seen + updates * count * size
                for seen, count, size in zip(before.consumed, steps, before.batch_sizes, strict=True)
            )
        filled.append(stage._replace(batch_sizes=sizes, consumed=consumed))
    return tuple(filled)


def _round_updates(stage: Stage, steps: int) -> int:
    """Returns how many updates show the discriminator about as many real images as a stage asks for."""
    exact = stage.images / (stage.batch_sizes[0] * steps)
    unit = 10 ** max(0, math.floor(math.log10(exact / 50))) if exact >= 50 else 1
    return max(1, math.ceil(exact / unit - 0.5) * unit)


Feed = tuple[Streamed, Streamed]  # The images of consecutive updates, for the discriminator and for the generator.


class Engine(NamedTuple):
    """The compiled functions of a run. R is the number of replicas. Each stage has programs of its own."""

    initialize: Callable[[int], GameState]  # seed -> state; replica r starts from the seed `seed + r`.
    # (state, stage, updates, feed) -> state, metrics [R, updates]; the feed is None where the data are on the device.
    run: Callable[..., tuple[GameState, Metrics]]
    trace: Callable[[Stage, int], jax.stages.Traced]  # What `run` does in this many updates, for whatever devices.
    compile: Callable[[Stage, int], jax.stages.Compiled]  # Compiles that ahead of time.
    # (stage, updates, samples) -> the same, and `sample` for so many, while the devices compute something else.
    prepare: Callable[[Stage, int, int], None]
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
    game, networks = _split_latents(game, split), game.networks
    sharding = GameState(everywhere, dealt, dealt, dealt, dealt)  # type: ignore[arg-type]
    # One replica is not mapped over: with a leading axis of length 1 its convolutions are a quarter slower.
    replicated = functools.partial(jax.vmap, spmd_axis_name=REPLICA) if plan.replicas > 1 else _alone

    def encode(stored: Array | np.ndarray) -> Array:
        return space.encode(stored, networks.image_range)

    def initialize(resident: Resident, key: Key) -> GameState:
        size = resident.images.shape[0]
        order = epoch_order(key, "initialize/data", size, plan.initial_images, jnp.int32(0), 1)[0]
        labels = jnp.asarray(resident.labels)[order] if networks.classes else None
        return step.initialize(game, key, Examples(encode(resident.images[order]), labels))

    def run(
        state: GameState, resident: Resident, labeled: Array | None, feed: Feed | None, stage: Stage, updates: int
    ) -> tuple[GameState, Metrics]:
        def one_replica(state: GameState, labeled: Array | None) -> tuple[GameState, Metrics]:
            def play(state: GameState, batches: Batches) -> tuple[GameState, Metrics]:
                return step.update(game, state, jax.lax.with_sharding_constraint(batches, split), stage)

            def play_streamed(state: GameState, feed: Feed) -> tuple[GameState, Metrics]:
                return play(state, unpack(*feed, encode, plan.all_labeled))

            def play_resident(state: GameState, orders: Orders) -> tuple[GameState, Metrics]:
                return play(state, gather(resident, orders, encode, plan.all_labeled))

            if feed is not None:
                return jax.lax.scan(play_streamed, state, feed)
            size = resident.images.shape[0]
            orders = make_orders(state.key, state.step, updates, size, labeled, stage, plan.steps)
            return jax.lax.scan(play_resident, state, orders)

        return replicated(one_replica, in_axes=(STATE_AXES, 0), out_axes=(STATE_AXES, 0))(state, labeled)

    def sample(state: GameState, labels: Array, stage: Stage, count: int) -> Array:
        turn = Turn(state.step, state.step, stage)

        def draw(params: Params, variables: Variables, key: Key) -> Array:
            asked = [inference.sample_labels(game, labels, key, number) for number in (plan.initial_images, count)]
            frozen = inference.freeze(networks, params, variables, turn, key, plan.initial_images, asked[0])
            latents = networks.sample_latents(stream(key, "latents"), count)
            return inference.sample(networks, params, frozen, turn, key, latents, asked[1])

        return replicated(draw)(state.generator.average, state.generator.variables, state.key)

    def test_errors(state: GameState, resident: Resident, stage: Stage) -> inference.TestErrors:
        images, labels = jnp.asarray(resident.test_images), jnp.asarray(resident.test_labels)
        turn, at_once = Turn(state.step, state.step, stage), stage.batch_sizes[0] // plan.accumulate
        return inference.test_errors(networks, state, turn, images, labels, at_once, encode)

    initialize_all = jax.jit(replicated(initialize, in_axes=(None, 0), out_axes=STATE_AXES), out_shardings=sharding)
    run_all = jax.jit(run, static_argnums=(4, 5), donate_argnums=0, out_shardings=(sharding, dealt))
    test = jax.jit(test_errors, static_argnums=2, out_shardings=everywhere)
    draw_all = jax.jit(sample, static_argnums=(2, 3), out_shardings=everywhere)

    def keys(seed: int) -> Key:
        return jax.vmap(jax.random.key)(seed + jnp.arange(plan.replicas))

    state_shape = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes := jax.eval_shape(initialize_all, resident, keys(0)),
        jax.tree.broadcast(sharding, shapes),
    )

    def feed_shape(stage: Stage, updates: int) -> Feed:
        def shape(steps: int, batch_size: int) -> Streamed:
            leading = (updates, steps, batch_size)
            images = jax.ShapeDtypeStruct((*leading, *space.shape), space.storage, sharding=split_feed)
            labels = jax.ShapeDtypeStruct(leading, jnp.int32, sharding=split_feed)
            return Streamed(images, labels)  # type: ignore[arg-type]

        discriminator, generator = map(shape, plan.steps, stage.batch_sizes)
        return discriminator, generator

    def trace(stage: Stage, updates: int) -> jax.stages.Traced:
        feed = feed_shape(stage, updates) if streams else None
        return run_all.trace(state_shape, resident, labeled, feed, stage, updates)

    def compile_run(stage: Stage, updates: int) -> jax.stages.Compiled:
        return trace(stage, updates).lower().compile()

    def compile_draw(stage: Stage, count: int) -> jax.stages.Compiled:
        return draw_all.lower(state_shape, resident.labels, stage, count).compile()

    runs, draws = Programs(compile_run), Programs(compile_draw)

    def prepare(stage: Stage, updates: int, samples: int) -> None:
        runs.prepare(stage, updates)
        draws.prepare(stage, samples)

    return Engine(
        initialize=lambda seed: initialize_all(resident, keys(seed)),
        run=lambda state, stage, updates, feed=None: runs(stage, updates)(state, resident, labeled, feed),
        trace=trace,
        compile=runs,
        prepare=prepare,
        test_errors=lambda state, stage: test(state, resident, stage),
        sample=lambda state, stage, count: draws(stage, count)(state, resident.labels),
        state_shape=state_shape,
        rows=functools.partial(hosts.rows, split),
        put=lambda feed: jax.tree.map(functools.partial(jax.make_array_from_process_local_data, split_feed), feed),
    )


class Programs:
    """Compiled programs by what is static in them, each compiled once: when it is called for, or ahead of that.

    >>> programs = Programs(lambda stage, updates: f"{stage} for {updates}")
    >>> programs.prepare("small", 50)  # Returns at once, whatever there is to compile.
    >>> programs("small", 50)
    'small for 50'
    """

    def __init__(self, compile: Callable[..., Any]) -> None:
        self._compile, self._lock = compile, threading.Lock()
        self._programs: dict[tuple[Any, ...], Future[Any]] = {}

    def prepare(self, *static: Any) -> None:
        """Begins to compile a program, in a thread of its own, unless it is there or on its way."""
        with self._lock:
            if static not in self._programs:
                worker = ThreadPoolExecutor(1, thread_name_prefix="igan-compile")
                self._programs[static] = worker.submit(self._compile, *static)
                worker.shutdown(wait=False)

    def __call__(self, *static: Any) -> Any:
        with self._lock:
            mine = static not in self._programs
            future = self._programs.setdefault(static, Future())
        if mine:
            try:
                future.set_result(self._compile(*static))
            except BaseException as error:
                future.set_exception(error)
                with self._lock:  # Whoever asks again may have more luck.
                    del self._programs[static]
        return future.result()


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
