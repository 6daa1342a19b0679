"""The heart: one update of the game, a pure function of (state, batches).

A discriminator phase, then a generator phase. Each looks at its images through the discriminator, adds up the losses of
the techniques, takes one optimiser step and one averaging step. `igan.game.replica` scans this over steps, and
`igan.game.engine` maps that over replicas and shards it over devices; nothing here knows.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from igan.game.technique import Game, Loss
from igan.game.view import at_stage, context, generate, look, own, show
from igan.randomness import stream
from igan.types import (
    Array,
    Batch,
    Batches,
    Examples,
    GameState,
    Key,
    Metrics,
    Params,
    Player,
    Stage,
    Turn,
    Variables,
    View,
)

ONLY_STAGE = Stage()


class Slope(NamedTuple):
    """What one look at a batch gives."""

    gradients: Params
    state: GameState  # All that moves without the optimiser has moved: a network's variables, techniques' memories.
    metrics: Metrics


def initialize(game: Game, key: Key, real: Examples) -> GameState:
    """Returns the game before its first update.

    Args:
      key: the root of all randomness of this game.
      real: real images for data-dependent initialisation, with their labels if the networks are given labels.
    """
    networks, step = game.networks, jnp.zeros((), jnp.int32)
    turn = Turn(step, step, networks.stages[-1])  # The parameters of all stages.
    real = real._replace(images=networks.at_stage(real.images, turn))
    states = {name: each.init(stream(key, f"initialize/{name}"), real) for name, each in game.techniques.items()}
    latents = networks.sample_latents(stream(key, "initialize/latents"), len(real.images))
    inputs = show(game, states, stream(key, "initialize/inputs"), real.images)
    generator, discriminator = (
        network.init(context(networks, stream(key, f"initialize/{name}"), turn, labels=real.labels), given)
        for name, network, given in (
            ("generator", networks.generator, latents),
            ("discriminator", networks.discriminator, inputs),
        )
    )
    return GameState(
        step=step,
        key=key,
        generator=_player(game.generator_optimizer, *generator),
        discriminator=_player(game.discriminator_optimizer, *discriminator),
        techniques=states,
    )


def _player(optimizer: optax.GradientTransformation, params: Params, variables: Variables) -> Player:
    # The average is a copy, because the engine donates the state's buffers and one buffer can be donated only once.
    return Player(params, variables, optimizer.init(params), jax.tree.map(jnp.copy, params))


def update(game: Game, state: GameState, batches: Batches, stage: Stage = ONLY_STAGE) -> tuple[GameState, Metrics]:
    """Returns the game after one update, and its metrics.

    With several steps of a player the metrics are those of its last step.
    """
    state, metrics = enter(game, state, stage), {}
    for player, play, each_step in (
        ("discriminator", update_discriminator, batches.discriminator),
        ("generator", update_generator, batches.generator),
    ):
        for index, batch in enumerate(each_step):
            turn = Turn(state.step, state.step * len(each_step) + index, stage, len(each_step))
            state, found = play(game, state, turn, stream(state.key, f"{player}/{index}", state.step), batch)
            metrics |= found
    return state._replace(step=state.step + 1), metrics


def enter(game: Game, state: GameState, stage: Stage) -> GameState:
    """Returns the game at the first update of a stage but the first: with optimisers that have not moved yet.

    Adam's long memory of parameters that had no gradient would take them a dozen learning rates far in one step. Only
    the learning rate's schedule goes on.
    """
    if stage.index == 0:
        return state

    def restart(players: tuple[Player, Player]) -> tuple[Player, Player]:
        optimizers = (game.generator_optimizer, game.discriminator_optimizer)
        return tuple(map(_restarted, optimizers, players))  # type: ignore[return-value]

    players = (state.generator, state.discriminator)
    generator, discriminator = jax.lax.cond(state.step == stage.start, restart, lambda players: players, players)
    return state._replace(generator=generator, discriminator=discriminator)


def _restarted(optimizer: optax.GradientTransformation, player: Player) -> Player:
    def is_clock(state: Any) -> bool:
        return isinstance(state, optax.ScaleByScheduleState)

    def choose(new: Any, old: Any) -> Any:
        return old if is_clock(new) else new

    fresh = optimizer.init(player.params)
    return player._replace(opt_state=jax.tree.map(choose, fresh, player.opt_state, is_leaf=is_clock))


def update_discriminator(game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> tuple[GameState, Metrics]:
    """One step of the discriminator; techniques with memory update it from what this step saw."""
    gradients, state, metrics = settle(discriminator_slope, game, state, turn, key, batch)
    player = descend(game.discriminator_optimizer, game.average_rate(turn), state.discriminator, gradients)
    return state._replace(discriminator=player), metrics


def update_generator(game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> tuple[GameState, Metrics]:
    """One step of the generator, through the discriminator, against a real batch of its own."""
    gradients, state, metrics = settle(generator_slope, game, state, turn, key, batch)
    player = descend(game.generator_optimizer, game.average_rate(turn), state.generator, gradients)
    return state._replace(generator=player), metrics


def settle(slope: Callable[..., Slope], game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> Slope:
    """Returns the slope of a batch that all who play a part of it agree on."""
    gradients, state, metrics = accumulate(slope, game, state, turn, key, batch)
    players = state.generator, state.discriminator
    moved = state.techniques, [player.variables for player in players]
    gradients, metrics, (techniques, variables) = game.agree((gradients, metrics, moved))
    generator, discriminator = (
        player._replace(variables=each) for player, each in zip(players, variables, strict=True)
    )
    state = state._replace(generator=generator, discriminator=discriminator, techniques=techniques)
    return Slope(gradients, state, metrics)


def accumulate(slope: Callable[..., Slope], game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> Slope:
    """Returns the mean slope of the batch's parts, looked at one after the other: a large batch in less memory.

    Each part has its own noise and batch statistics, and finds the variables and memories that the one before has left.
    """
    parts = game.accumulate
    if parts == 1:
        return slope(game, state, turn, key, batch)

    def add(carry: tuple[GameState, Any], part: tuple[Key, Batch]) -> tuple[tuple[GameState, Any], None]:
        gradients, state, metrics = slope(game, carry[0], turn, *part)
        return (state, jax.tree.map(jnp.add, carry[1], (gradients, metrics))), None

    # Every k-th image, not a stretch: each of the devices that share the batch then has its share of each part.
    dealt = jax.tree.map(lambda leaf: leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), batch)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(parts))
    first = jax.tree.map(lambda leaf: leaf[0], (keys, dealt))
    gradients, _, metrics = jax.eval_shape(lambda state, part: slope(game, state, turn, *part), state, first)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (gradients, metrics))
    (state, total), _ = jax.lax.scan(add, (state, nothing), (keys, dealt))
    gradients, metrics = jax.tree.map(lambda leaf: leaf / parts, total)
    return Slope(gradients, state, metrics)


def discriminator_slope(game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> Slope:
    """Returns the gradients of the discriminator's losses."""
    batch = at_stage(game, turn, batch)
    fake, _ = generate(game, state, turn, key, batch)

    def objective(params: Params) -> tuple[Array, Any]:
        view, variables = look(game, _playing(state, discriminator=params), turn, key, batch, fake, together=True)
        loss, metrics = add_losses("d", discriminator_losses(game), state, view)
        memories = {}
        for name, technique in game.techniques.items():
            mine = own(view, name)
            memories[name] = technique.update(state.techniques[name], mine)
            reported = technique.report(memories[name], mine)
            metrics |= {f"d/{name}/{detail}": number for detail, number in reported.items()}
        return loss, (variables, jax.lax.stop_gradient(memories), metrics)

    gradients, (variables, memories, metrics) = jax.grad(objective, has_aux=True)(state.discriminator.params)
    player = state.discriminator._replace(variables=variables)
    return Slope(gradients, state._replace(discriminator=player, techniques=memories), metrics)


def generator_slope(game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> Slope:
    """Returns the gradients of the generator's losses, through the discriminator."""
    batch = at_stage(game, turn, batch)

    def objective(params: Params) -> tuple[Array, Any]:
        playing = _playing(state, generator=params)
        fake, variables = generate(game, playing, turn, key, batch)
        playing = _playing(playing, discriminator=look_ahead(game, playing, turn, key, batch, fake))
        view, _ = look(game, playing, turn, key, batch, fake, together=False)
        losses = {name: technique.generator_loss for name, technique in game.techniques.items()}
        loss, metrics = add_losses("g", losses, state, view)
        memories = {
            name: technique.update_generator(state.techniques[name], own(view, name))
            for name, technique in game.techniques.items()
        }
        return loss, (variables, jax.lax.stop_gradient(memories), metrics)

    gradients, (variables, memories, metrics) = jax.grad(objective, has_aux=True)(state.generator.params)
    player = state.generator._replace(variables=variables)
    return Slope(gradients, state._replace(generator=player, techniques=memories), metrics)


def discriminator_losses(game: Game) -> dict[str, Loss | None]:
    """Returns each technique's loss for the discriminator."""
    return {name: technique.discriminator_loss for name, technique in game.techniques.items()}


def add_losses(player: str, losses: Mapping[str, Loss | None], state: GameState, view: View) -> tuple[Array, Metrics]:
    """Returns a player's loss, the sum of its techniques' losses, and each of them as `player/<technique>`."""
    total, metrics = jnp.zeros(()), {}
    for name, loss in losses.items():
        if loss is not None:
            value, details = loss(state.techniques[name], own(view, name))
            total = total + value
            metrics[f"{player}/{name}"] = value
            metrics |= {f"{player}/{name}/{detail}": number for detail, number in details.items()}
    return total, metrics


def look_ahead(game: Game, state: GameState, turn: Turn, key: Key, batch: Batch, fake: Examples) -> Params:
    """Returns the discriminator's parameters that the generator plays against: unrolled, if a technique says so."""
    # The discriminator's steps of this update are done: the steps ahead are the next ones, and count as those will.
    done = (turn.step + 1) * game.schedule.discriminator_steps

    def objective(params: Params, index: Array | int) -> Array:
        playing, inner = _playing(state, discriminator=params), stream(key, "lookahead", index)
        view, _ = look(game, playing, turn._replace(count=done + index), inner, batch, fake, together=True)
        return add_losses("d", discriminator_losses(game), state, view)[0]

    player = state.discriminator
    for technique in game.techniques.values():
        if technique.lookahead is not None:
            player = player._replace(params=technique.lookahead(player, objective, game.discriminator_optimizer))
    return player.params


def _playing(state: GameState, **params: Params) -> GameState:
    """Returns the game with other parameters of the players that are named."""
    return state._replace(**{name: getattr(state, name)._replace(params=each) for name, each in params.items()})


def descend(optimizer: optax.GradientTransformation, average_rate: Array, player: Player, gradients: Params) -> Player:
    """Returns the player after one optimiser step and one step of its moving average."""
    updates, opt_state = optimizer.update(gradients, player.opt_state, player.params)
    params = optax.apply_updates(player.params, updates)
    average = optax.incremental_update(params, player.average, average_rate)
    return Player(params, player.variables, opt_state, average)
