"""What one game of a run does, as pure functions: it begins, plays updates, draws images, and its players are weighed.

`igan.game.engine` maps these over replicas, deals batches out over devices and compiles them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from igan.game import inference, step
from igan.game.balance import balance
from igan.game.batches import Encode, Feed, Orders, Resident, epoch_order, gather, make_orders, mirrored, unpack
from igan.game.stages import Plan
from igan.game.technique import Game
from igan.randomness import stream
from igan.types import Array, Batches, Examples, GameState, Key, Metrics, Params, Stage, Turn, Variables


class Replica(NamedTuple):
    """A game, and how it is played."""

    game: Game
    plan: Plan
    encode: Encode
    update: Callable[[GameState, Batches, Stage], tuple[GameState, Metrics]]
    split: Callable[[Any], Any]  # Deals each batch of real and of generated images out over devices.


def split_latents(game: Game, split: Callable[[Any], Any]) -> Game:
    """Splits generated batches as real ones are: the update itself is written for the whole batch."""
    networks = game.networks

    def sample_latents(key: Key, count: int) -> Array:
        return split(networks.sample_latents(key, count))

    return game._replace(networks=networks._replace(sample_latents=sample_latents))


def initialize(replica: Replica, resident: Resident, key: Key) -> GameState:
    """Returns the state before the first update; the networks begin with real images that the key chooses."""
    game, plan, size = split_latents(replica.game, replica.split), replica.plan, resident.images.shape[0]
    order = epoch_order(key, "initialize/data", size, plan.initial_images, jnp.int32(0), 1)[0]
    labels = jnp.asarray(resident.labels)[order] if game.networks.classes else None
    return step.initialize(game, key, Examples(replica.encode(resident.images[order]), labels))


def play(
    replica: Replica,
    state: GameState,
    resident: Resident,
    labeled: Array | None,
    feed: Feed | None,
    stage: Stage,
    updates: int,
) -> tuple[GameState, Metrics]:
    """Plays so many updates of a stage and returns their metrics, each [updates].

    Args:
      labeled: int32 [m], the images whose labels are known; None without labels, or with all of them.
      feed: the images of these updates; None where they are drawn from `resident`.
    """

    def update(state: GameState, batches: Batches) -> tuple[GameState, Metrics]:
        if replica.plan.mirror:
            batches = mirrored(batches, state.key, state.step)
        return replica.update(state, replica.split(batches), stage)

    def update_streamed(state: GameState, feed: Feed) -> tuple[GameState, Metrics]:
        return update(state, unpack(*feed, replica.encode, replica.plan.all_labeled))

    def update_resident(state: GameState, orders: Orders) -> tuple[GameState, Metrics]:
        return update(state, gather(resident, orders, replica.encode, replica.plan.all_labeled))

    if feed is not None:
        return jax.lax.scan(update_streamed, state, feed)
    return jax.lax.scan(update_resident, state, _orders(replica, state, resident, labeled, stage, updates))


def draw(
    replica: Replica, params: Params, variables: Variables, key: Key, turn: Turn, labels: Array, count: int
) -> Array:
    """Returns so many images of the generator, [count, ...] in its networks' range.

    Args:
      labels: int32 [m] of the training images, whose shares of the classes are those of real images.
    """
    networks, initial_images = replica.game.networks, replica.plan.initial_images
    drawn = inference.sample_labels(replica.game, labels, key, initial_images)
    frozen = inference.freeze(networks, params, variables, turn, key, initial_images, drawn)
    latents = networks.sample_latents(stream(key, "latents"), count)
    by_class = inference.labels_by_class(networks, count)
    return inference.sample(networks, params, frozen, turn, key, latents, by_class)


def weigh(replica: Replica, state: GameState, resident: Resident, labeled: Array | None, stage: Stage) -> Metrics:
    """Returns how the players stand on the images of the next update, see `igan.game.balance`."""
    orders = _orders(replica, state, resident, labeled, stage, 1)
    first = jax.tree.map(lambda leaf: leaf[0], orders)
    batches = gather(resident, first, replica.encode, replica.plan.all_labeled)
    game = split_latents(replica.game, replica.split)
    return balance(game, state, replica.split(batches), stage)


def _orders(
    replica: Replica, state: GameState, resident: Resident, labeled: Array | None, stage: Stage, updates: int
) -> Orders:
    size = resident.images.shape[0]
    return make_orders(state.key, state.step, updates, size, labeled, stage, replica.plan.steps)
