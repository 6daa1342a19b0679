"""What one step of one player sees: its images, through the discriminator, as the techniques are shown them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from igan.game.technique import Game, targets
from igan.layers import side_by_side
from igan.randomness import stream
from igan.types import (
    Array,
    Batch,
    Context,
    Critique,
    Examples,
    GameState,
    Key,
    Networks,
    Range,
    Seen,
    Turn,
    Variables,
    View,
)


def at_stage(game: Game, turn: Turn, batch: Batch) -> Batch:
    """Returns a batch whose images are as large as those of the generator in this stage."""

    def shrunk(examples: Examples) -> Examples:
        return examples._replace(images=game.networks.at_stage(examples.images, turn))

    return Batch(shrunk(batch.real), None if batch.labeled is None else shrunk(batch.labeled))


def generate(game: Game, state: GameState, turn: Turn, key: Key, batch: Batch) -> tuple[Examples, Variables]:
    """Returns as many generated images as a batch has, in training mode, and the generator's variables after them."""
    networks, labels = game.networks, None
    if networks.classes:
        assert batch.real.labels is not None  # As `igan.run.experiment` sees to.
        labels = game.generated_labels(stream(key, "labels"), batch.real.labels)
    latents = networks.sample_latents(stream(key, "latents"), batch.real.images.shape[0])
    at = context(networks, stream(key, "generator"), turn, labels)
    images, variables = networks.generator.apply(state.generator.params, state.generator.variables, at, latents)
    return Examples(images, labels, latents), variables


def look(
    game: Game, state: GameState, turn: Turn, key: Key, batch: Batch, fake: Examples, together: bool
) -> tuple[View, Variables]:
    """Returns what the techniques may see, and the discriminator's variables after it has seen the real images.

    Args:
      state: the game, both players with the parameters that they play with.
      together: whether the batches go through the discriminator side by side, see `_critiques`.
    """
    networks, generator, discriminator = game.networks, state.generator, state.discriminator

    shown = functools.partial(show, game, state.techniques)

    def critique(key: Key, inputs: Array, labels: Array | None) -> tuple[Critique, Variables]:
        at = context(networks, stream(key, "discriminator"), turn, labels)
        return networks.discriminator.apply(discriminator.params, discriminator.variables, at, inputs)

    def judge(examples: Examples, plain: bool = False) -> Seen:
        asked = {"critique": examples if examples.labels is not None else examples._replace(labels=batch.real.labels)}
        beside = {"fake": fake} if networks.joint else {}  # The images asked about are in the place of the real ones.
        as_shown = (lambda key, images: images) if plain else shown
        return _critiques(networks, as_shown, critique, key, asked | beside, together=False)[0]["critique"]

    def generate_again(latents: Array, labels: Array | None = None) -> Array:
        at = context(networks, stream(key, "generator"), turn, fake.labels if labels is None else labels)
        return networks.generator.apply(generator.params, generator.variables, at, latents)[0]

    groups = {"real": batch.real, "fake": fake} | ({} if batch.labeled is None else {"labeled": batch.labeled})
    seen, variables = _critiques(networks, shown, critique, key, groups, together)
    labeled = seen.get("labeled", None if batch.real.labels is None else seen["real"])
    aims = targets(game.techniques)
    ramp = game.schedule.ramp(turn.step)
    return View(seen["real"], seen["fake"], labeled, turn, key, judge, generate_again, aims, ramp), variables


def _critiques(
    networks: Networks,
    shown: Callable[[Key, Array], Array],
    critique: Callable[[Key, Array, Array | None], tuple[Critique, Variables]],
    key: Key,
    groups: Mapping[str, Examples],
    together: bool,
) -> tuple[dict[str, Seen], Variables]:
    """Returns each group as the discriminator saw it, and the variables that the first one has left.

    Minibatch statistics belong to one batch, so the groups do not mix, unless the networks are joint, and then in the
    discriminator only: a pack that it is shown is of one group. With `together` they go through it side by side, which
    makes one large matrix product out of three: right where all are needed. Apart, XLA can drop the passes that nobody
    reads; convolutions are faster apart in any case.
    """

    def look_at(key: Key, images: Array, labels: Array | None) -> tuple[Array, Critique, Variables]:
        inputs = shown(key, images)
        return inputs, *critique(key, inputs, labels)

    given = [
        (stream(key, name), each.images, each.labels if networks.classes else None) for name, each in groups.items()
    ]
    if networks.joint:
        asked = [(shown(key, images), labels) for key, images, labels in given]
        joint, variables = critique(given[0][0], *jax.tree.map(side_by_side.join, *asked))
        first = len(asked[0][0])
        answers = [
            (inputs, jax.tree.map(lambda leaf, place=place: side_by_side.split(leaf, first)[place], joint))
            for place, (inputs, _) in enumerate(asked)
        ]
    elif together and not networks.convolutional:
        inputs, stacked, after = jax.vmap(look_at)(*jax.tree.map(lambda *parts: jnp.stack(parts), *given))
        answers = [
            jax.tree.map(lambda leaf, index=index: leaf[index], (inputs, stacked)) for index in range(len(given))
        ]
        variables = jax.tree.map(lambda leaf: leaf[0], after)
    else:
        results = [look_at(*each) for each in given]
        answers, variables = [each[:2] for each in results], results[0][2]
    seen = {
        name: Seen(*examples, inputs, *said)
        for (name, examples), (inputs, said) in zip(groups.items(), answers, strict=True)
    }
    return seen, variables


def show(game: Game, memories: Mapping[str, Any], key: Key, images: Array) -> Array:
    """Returns images as the techniques let the discriminator see them, packed into one input at last, if at all."""
    usual = game.networks.image_range
    for name, technique in sorted(game.techniques.items(), key=lambda each: each[1].images_per_input > 1):
        if technique.discriminator_input is not None:
            own = technique.input_range or usual
            images = technique.discriminator_input(
                memories[name], stream(key, name), _between_ranges(images, usual, own)
            )
            images = _between_ranges(images, own, usual)
    return images


def _between_ranges(images: Array, before: Range, after: Range) -> Array:
    if before == after:
        return images
    return after[0] + (images - before[0]) * ((after[1] - after[0]) / (before[1] - before[0]))


def context(
    networks: Networks,
    key: Key,
    turn: Turn,
    labels: Array | None = None,
    train: bool = True,
    options: Mapping[str, Any] = {},
) -> Context:
    """Returns what networks are given beside their inputs, whose labels are int32 [n] here."""
    known = jax.nn.one_hot(labels, networks.classes) if networks.classes and labels is not None else None
    return Context(key, turn, train, known, options)


def own(view: View, name: str) -> View:
    """Returns the view of one technique, with a key of its own."""
    return view._replace(key=stream(view.key, f"techniques/{name}"))
