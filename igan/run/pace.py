"""How many updates a dispatch computes: a second or two of them, by a rough count of their operations."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from igan.config import Config
from igan.game.stages import Plan
from igan.game.technique import Game
from igan.game.view import context, show
from igan.types import Array, GameState, Network, Params, Player, Space, Turn, Variables

SECONDS_PER_CHUNK = 2.0  # Long enough to hide the host, short enough to stop promptly.
FLOPS_PER_SECOND = {"cpu": 5e10, "gpu": 3e13, "tpu": 5e13}  # What these networks reach, roughly, on one device.
MOST_UPDATES_PER_CHUNK = {"cpu": 50, "gpu": 300, "tpu": 300}
MOST_FEED_BYTES = 2**28  # Of streamed images on their way to the devices.


def choose_chunk(
    config: Config, plan: Plan, game: Game, state: GameState, space: Space, devices: list[Any], streams: bool
) -> int:
    """Returns how many updates to compute in one dispatch."""
    platform = devices[0].platform
    seconds = _flops_per_update(plan, game, state, space) / (FLOPS_PER_SECOND.get(platform, 1e13) * len(devices))
    most = min(MOST_UPDATES_PER_CHUNK.get(platform, 300), int(SECONDS_PER_CHUNK / seconds))
    if streams:
        example_bytes = math.prod(space.shape) * space.storage.itemsize
        largest = max(sum(map(operator.mul, plan.steps, stage.batch_sizes)) for stage in plan.stages)
        most = min(most, MOST_FEED_BYTES // (largest * example_bytes))
    # A divisor of the evaluation's interval, so that runs with other numbers of replicas are evaluated at the same
    # steps, and of the starts of all stages, so that none has a program more for what is left of it.
    whole = math.gcd(config.evaluation.interval, *(stage.start for stage in plan.stages))
    return max(chunk for chunk in range(1, max(2, most + 1)) if whole % chunk == 0)


def _flops_per_update(plan: Plan, game: Game, state: GameState, space: Space) -> float:
    """Returns a rough number of floating-point operations an update of all replicas, in the last stage.

    Args:
      state: the shapes of a state, with the leading axis of replicas.
    """
    networks, stage = game.networks, plan.stages[-1]
    key, start, count = jax.random.key(0), jnp.int32(0), stage.batch_sizes[0]
    players = (state.generator, state.discriminator, state.techniques)
    alone = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), players)
    labels = jax.ShapeDtypeStruct((count,), np.int32)  # Of networks without labels nobody looks at them.
    images = jax.ShapeDtypeStruct((count, *space.shape), np.float32)
    latents = jax.eval_shape(lambda: networks.sample_latents(key, count))
    inputs = jax.eval_shape(lambda memories, images: show(game, memories, key, images), alone[2], images)

    def forward(network: Network, player: Player, inputs: Any) -> float:
        def apply(params: Params, variables: Variables, inputs: Array, labels: Array) -> Any:
            turn = Turn(start, start, stage)
            return network.apply(params, variables, context(networks, key, turn, labels, train=False), inputs)[0]

        cost = jax.jit(apply).lower(player.params, player.variables, inputs, labels).cost_analysis()
        return (cost or {}).get("flops", 1e9)

    generator = forward(networks.generator, alone[0], latents)
    discriminator = forward(networks.discriminator, alone[1], inputs)
    # A backward pass costs about two forward ones; the discriminator sees up to three batches in its own steps, and in
    # the generator's two, with half a backward pass.
    discriminator_phase = plan.discriminator_steps * (generator + 9 * discriminator)
    return plan.replicas * (discriminator_phase + plan.generator_steps * (3 * generator + 3 * discriminator))
