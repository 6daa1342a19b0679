"""The smallest game, and how it is played as a run plays it: two updates, stopped between them, saved and resumed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.data import space as spaces
from igan.game import engine as engines
from igan.game import optimizer
from igan.game.batches import Resident
from igan.game.engine import Engine
from igan.game.sharding import make_mesh
from igan.game.stages import Plan, complete_stages
from igan.game.technique import Game, Technique
from igan.run.checkpoint import Checkpoints
from igan.types import (
    Array,
    Context,
    Critique,
    GameState,
    Metrics,
    Network,
    Networks,
    Space,
    Stage,
    View,
)

COUNT, CLASSES, SIDE, LATENT = 24, 3, 2, 3
PIXELS = SIDE * SIDE


def generate(params: Any, variables: Any, context: Context, latents: Array) -> tuple[Array, Any]:
    return jnp.tanh(latents @ params["out"]).reshape(-1, SIDE, SIDE, 1), variables


def judge(params: Any, variables: Any, context: Context, images: Array) -> tuple[Critique, Any]:
    features = jnp.tanh(images.reshape(len(images), -1) @ params["in"])
    return Critique(features @ params["last"], features), variables


def normal(**shapes: tuple[int, ...]) -> Callable[[Context, Array], Any]:
    def init(context: Context, inputs: Array) -> Any:
        keys = jax.random.split(context.key, len(shapes))
        drawn = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}
        return drawn, {}

    return init


GENERATOR = Network(normal(out=(LATENT, PIXELS)), generate, lambda context, inputs: "")
DISCRIMINATOR = Network(normal(**{"in": (PIXELS, 5)}, last=(5,)), judge, lambda context, inputs: "")
NETWORKS = Networks(
    GENERATOR, DISCRIMINATOR, lambda key, count: jax.random.normal(key, (count, LATENT)), image_range=(-1.0, 1.0)
)


def discriminator_loss(state: Any, view: View) -> tuple[Array, Metrics]:
    return jnp.mean(jax.nn.softplus(-view.real.logits)) + jnp.mean(jax.nn.softplus(view.fake.logits)), {}


def generator_loss(state: Any, view: View) -> tuple[Array, Metrics]:
    return jnp.mean(jax.nn.softplus(-view.fake.logits)), {}


OBJECTIVE = Technique(discriminator_loss=discriminator_loss, generator_loss=generator_loss, objective=True)


class Row(NamedTuple):
    """A game that needs a seam, and what must have come of it after two updates."""

    game: Game
    check: Callable[["Played"], None]
    stages: tuple[Stage, ...] = (Stage(),)
    steps: tuple[int, int] = (2, 1)
    batch_sizes: tuple[int, int] = (8, 8)
    all_labeled: bool = False
    space: Space = spaces.images((SIDE, SIDE, 1))


class Played(NamedTuple):
    engine: Engine
    plan: Plan
    states: list[GameState]
    metrics: list[Metrics]  # [R, 1] of each update.


def game_of(networks: Networks = NETWORKS, tx: Any = None, accumulate: int = 1, **techniques: Technique) -> Game:
    tx = tx or optax.sgd(0.1)
    wrapped = tx
    for each in techniques.values():
        wrapped = each.discriminator_optimizer(wrapped) if each.discriminator_optimizer else wrapped
    rate = optimizer.average_rate(0.5)
    return Game(networks, {"objective": OBJECTIVE} | techniques, wrapped, tx, rate, accumulate)


def prepare(row: Row, replicas: int, devices: int = 2) -> tuple[Engine, Plan]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, *row.space.shape)).astype(row.space.storage)
    labels = random.integers(0, CLASSES, COUNT).astype(np.int32)
    stages = complete_stages(row.stages, row.batch_sizes, row.steps)
    plan = Plan(replicas, *row.steps, 6, stages, row.all_labeled, row.game.accumulate)
    mesh = make_mesh(plan, jax.devices()[:devices])
    return engines.make(row.game, plan, Resident(images, labels, images, labels), None, mesh, row.space, False), plan


def play(row: Row, replicas: int, folder: Any) -> Played:
    """Two updates, and once more with a stop between them."""
    engine, plan = prepare(row, replicas)
    states, metrics = [engine.initialize(1)], []
    with Checkpoints(folder, keep=2, note=pytest.fail) as checkpoints:
        for number in range(2):
            copy = jax.tree.map(jnp.copy, states[-1])  # Its buffers are donated.
            state, found = engine.run(copy, plan.stage(number), 1)
            states.append(state)
            metrics.append(jax.device_get(found))
            if number == 0:
                checkpoints.save(1, state)
    with Checkpoints(folder, keep=2, note=pytest.fail, read_only=True) as checkpoints:
        found = checkpoints.restore_latest(engine.state_shape)
    assert found is not None and found[0] == 1
    resumed, _ = engine.run(found[1], plan.stage(1), 1)
    for one, other in zip(*map(jax.tree.leaves, (plain(states[-1]), plain(resumed))), strict=True):
        np.testing.assert_array_equal(one, other)
    return Played(engine, plan, states, metrics)


def plain(state: GameState) -> GameState:
    return state._replace(key=jax.random.key_data(state.key))
