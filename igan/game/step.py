"""The heart: one update of the game, a pure function of (state, batches).

A discriminator phase, then a generator phase. Each looks at its images through the discriminator, adds up the losses of
the techniques, takes one optimiser step and one averaging step. `igan.game.engine` scans this over steps, maps it over
replicas and shards it over devices; nothing here knows.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from igan.game.technique import Loss, Technique, targets
from igan.randomness import stream
from igan.types import (
    Array,
    Batch,
    Batches,
    Critique,
    GameState,
    Key,
    Metrics,
    Networks,
    Params,
    Player,
    Variables,
    View,
)


class Game(NamedTuple):
    """What stays the same from one update to the next: the rules."""

    networks: Networks
    techniques: Mapping[str, Technique]
    discriminator_optimizer: optax.GradientTransformation
    generator_optimizer: optax.GradientTransformation
    average_rate: float


def initialize(game: Game, key: Key, images: Array) -> GameState:
    """Returns the game before its first update.

    Args:
      key: the root of all randomness of this game.
      images: float32 [n, height, width, channels], real images for data-dependent initialisation.
    """
    latents = game.networks.sample_latents(stream(key, "initialize/latents"), images.shape[0])
    generator = game.networks.generator.init(stream(key, "initialize/generator"), latents)
    discriminator = game.networks.discriminator.init(stream(key, "initialize/discriminator"), images)
    states = {name: technique.init(stream(key, f"initialize/{name}")) for name, technique in game.techniques.items()}
    return GameState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        generator=_player(game.generator_optimizer, *generator),
        discriminator=_player(game.discriminator_optimizer, *discriminator),
        techniques=states,
    )


def _player(optimizer: optax.GradientTransformation, params: Params, variables: Variables) -> Player:
    # The average is a copy, because the engine donates the state's buffers and one buffer can be donated only once.
    return Player(params, variables, optimizer.init(params), jax.tree.map(jnp.copy, params))


def update(game: Game, state: GameState, batches: Batches) -> tuple[GameState, Metrics]:
    """Returns the game after one update, and its metrics.

    With several steps of a player the metrics are those of its last step.
    """
    metrics: Metrics = {}
    for index, batch in enumerate(batches.discriminator):
        state, discriminator_metrics = update_discriminator(game, state, _key(state, f"discriminator/{index}"), batch)
        metrics |= discriminator_metrics
    for index, batch in enumerate(batches.generator):
        state, generator_metrics = update_generator(game, state, _key(state, f"generator/{index}"), batch)
        metrics |= generator_metrics
    return state._replace(step=state.step + 1), metrics


def _key(state: GameState, name: str) -> Key:
    return stream(state.key, name, state.step)


def update_discriminator(game: Game, state: GameState, key: Key, batch: Batch) -> tuple[GameState, Metrics]:
    """One step of the discriminator; techniques with memory update it from what this step saw."""
    fake_images, _ = generate(game, key, state.generator.params, state.generator.variables, batch.images.shape[0])

    def objective(params: Params) -> tuple[Array, Any]:
        view, variables = look(game, key, state, params, batch, fake_images, together=True)
        loss, metrics = add_losses("d", discriminator_losses(game), state, view)
        states = {name: technique.update(state.techniques[name], view) for name, technique in game.techniques.items()}
        return loss, (variables, jax.lax.stop_gradient(states), metrics)

    gradients, (variables, states, metrics) = jax.grad(objective, has_aux=True)(state.discriminator.params)
    player = descend(game.discriminator_optimizer, game.average_rate, state.step, state.discriminator, gradients)
    return state._replace(discriminator=player._replace(variables=variables), techniques=states), metrics


def update_generator(game: Game, state: GameState, key: Key, batch: Batch) -> tuple[GameState, Metrics]:
    """One step of the generator, through the discriminator, against a real batch of its own."""

    def objective(params: Params) -> tuple[Array, Any]:
        fake_images, variables = generate(game, key, params, state.generator.variables, batch.images.shape[0])
        opponent = look_ahead(game, key, state, batch, fake_images)
        view, _ = look(game, key, state, opponent, batch, fake_images, together=False)
        losses = {name: technique.generator_loss for name, technique in game.techniques.items()}
        loss, metrics = add_losses("g", losses, state, view)
        return loss, (variables, metrics)

    gradients, (variables, metrics) = jax.grad(objective, has_aux=True)(state.generator.params)
    player = descend(game.generator_optimizer, game.average_rate, state.step, state.generator, gradients)
    return state._replace(generator=player._replace(variables=variables)), metrics


def generate(game: Game, key: Key, params: Params, variables: Variables, count: int) -> tuple[Array, Variables]:
    """Returns `count` generated images in training mode, and the generator's variables after them."""
    latents = game.networks.sample_latents(stream(key, "latents"), count)
    return game.networks.generator.apply(params, variables, stream(key, "generator"), latents, train=True)


def look(
    game: Game, key: Key, state: GameState, params: Params, batch: Batch, fake_images: Array, together: bool
) -> tuple[View, Variables]:
    """Returns what the techniques may see, and the discriminator's variables after it has seen the real images.

    Minibatch statistics belong to one batch, so labelled, real and generated images do not mix, unless the networks
    are joint. With `together` their batches go through the discriminator side by side, which makes one large matrix
    product out of three: right where all are needed. Apart, XLA can drop the passes that nobody reads; convolutions
    are faster apart in any case.
    """
    variables = state.discriminator.variables

    def critique(key: Key, images: Array) -> tuple[Critique, Variables]:
        for name, technique in game.techniques.items():
            if technique.discriminator_input is not None:
                images = technique.discriminator_input(stream(key, name), images)
        return game.networks.discriminator.apply(params, variables, stream(key, "discriminator"), images, train=True)

    images = {"real": batch.images, "fake": fake_images}
    if batch.labeled_images is not None:
        images["labeled"] = batch.labeled_images
    keys = [stream(key, name) for name in images]
    if game.networks.joint:
        joint, after = critique(keys[0], jnp.concatenate([batch.images, fake_images]))
        critiques = [(half, after) for half in _halves(joint)]
    elif together and not game.networks.convolutional:
        stacked = jax.vmap(critique)(jnp.stack(keys), jnp.stack(list(images.values())))
        critiques = [jax.tree.map(lambda leaf, index=index: leaf[index], stacked) for index in range(len(images))]
    else:
        critiques = [critique(*each) for each in zip(keys, images.values(), strict=True)]
    seen = dict(zip(images, critiques, strict=True))
    labeled = seen["labeled" if "labeled" in seen else "real"][0] if batch.labeled_labels is not None else None

    def ask(images: Array) -> Critique:
        if game.networks.joint:  # In the place of the real ones.
            images = jnp.concatenate([images, fake_images])
        answer = critique(stream(key, "critique"), images)[0]
        return _halves(answer)[0] if game.networks.joint else answer

    aims = targets(game.techniques)
    view = View(batch, fake_images, seen["real"][0], seen["fake"][0], labeled, state.step, critique=ask, targets=aims)
    return view, seen["real"][1]


def _halves(joint: Critique) -> list[Critique]:
    return [jax.tree.map(lambda leaf, half=half: jnp.split(leaf, 2)[half], joint) for half in (0, 1)]


def discriminator_losses(game: Game) -> dict[str, Loss | None]:
    """Returns each technique's loss for the discriminator."""
    return {name: technique.discriminator_loss for name, technique in game.techniques.items()}


def add_losses(player: str, losses: Mapping[str, Loss | None], state: GameState, view: View) -> tuple[Array, Metrics]:
    """Returns a player's loss, the sum of its techniques' losses, and each of them as `player/<technique>`."""
    total, metrics = jnp.zeros(()), {}
    for name, loss in losses.items():
        if loss is not None:
            value, details = loss(state.techniques[name], view)
            total = total + value
            metrics[f"{player}/{name}"] = value
            metrics |= {f"{player}/{name}/{detail}": number for detail, number in details.items()}
    return total, metrics


def look_ahead(game: Game, key: Key, state: GameState, batch: Batch, fake_images: Array) -> Params:
    """Returns the discriminator's parameters that the generator plays against: unrolled, if a technique says so."""

    def objective(params: Params) -> Array:
        view, _ = look(game, key, state, params, batch, fake_images, together=True)
        return add_losses("d", discriminator_losses(game), state, view)[0]

    params = state.discriminator.params
    for technique in game.techniques.values():
        if technique.lookahead is not None:
            params = technique.lookahead(params, objective)
    return params


def descend(
    optimizer: optax.GradientTransformation, average_rate: float, step: Array, player: Player, gradients: Params
) -> Player:
    """Returns the player after one optimiser step and one step of its moving average.

    The average spans at most `1 / average_rate` steps and at most a ninth of the run so far, so that it is sensible
    early on; the released code starts it at zero and has the same average in the long run.
    """
    updates, opt_state = optimizer.update(gradients, player.opt_state, player.params)
    params = optax.apply_updates(player.params, updates)
    rate = jnp.maximum(average_rate, 9.0 / (10.0 + step))
    average = optax.incremental_update(params, player.average, rate)
    return Player(params, player.variables, opt_state, average)
