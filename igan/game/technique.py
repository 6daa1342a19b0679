"""A technique is a handful of pure functions that plug into the seams of one update (`igan.game.step`).

Each file of `igan/techniques/` has one function `make(**hyperparameters) -> Technique`. A name in
`config.techniques` is a file name; the signature of `make` declares the technique's hyper-parameters and their
defaults. Adding a technique is adding a file.
"""

import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import optax

import igan.techniques
from igan.errors import UserError, did_you_mean
from igan.game.schedule import Schedule
from igan.types import Array, Examples, Key, Metrics, Networks, Params, Player, Range, Targets, Turn, View

State = Any
Loss = Callable[[State, View], tuple[Array, Metrics]]
OptimizerWrapper = Callable[[optax.GradientTransformation], optax.GradientTransformation]

# What a technique may need, in words, and how to have it: of the data,
NEEDS = {
    "images": "data that are images",
    "labeled": "images with labels",
    "labels": "the label of every image: set --config.labels_per_class=0",
    # of the networks, which say what they give (`Networks.gives`), or of a technique that changes them.
    "class_logits": "a discriminator with a logit for each class",
    "reconstruction": "a discriminator that is an autoencoder, as the networks 'autoencoder' have",
    "styles": "a generator with styles for each layer, as the networks 'style' have",
    "plain_weights": "a discriminator whose outputs grow with its weights, which weight normalisation undoes",
    "independent_examples": "a discriminator that looks at each image by itself, without batch normalisation",
}


class Technique(NamedTuple):
    """The seams. None (or the identity) where a technique has nothing to say.

    A loss returns a scalar, the mean over the batch, and metrics of its own; igan weighs it with the config's
    `discriminator_weight` or `generator_weight` and reports it as `d/<technique>` or `g/<technique>`.

    Example: a penalty on the size of the discriminator's logits.

    >>> def make(strength: float = 1e-3) -> Technique:
    ...     def penalty(state, view):
    ...         return strength * jnp.mean(view.real.logits**2), {}
    ...     return Technique(discriminator_loss=penalty)
    """

    # Memory: a pytree of one form. Branch on `view.turn`, never on memory: it is each replica's own, and a `cond` on
    # it computes both branches. `init` is given real images, for the shapes of what is remembered.
    init: Callable[[Key, Examples], State] = lambda key, real: None
    update: Callable[[State, View], State] = lambda state, view: state  # After a step of the discriminator,
    update_generator: Callable[[State, View], State] = lambda state, view: state  # and of the generator.
    report: Callable[[State, View], Metrics] = lambda state, view: {}  # After `update`: metrics that are no loss.
    discriminator_loss: Loss | None = None
    generator_loss: Loss | None = None
    # (state, key, images) -> what the discriminator is shown of real, labelled and generated images.
    discriminator_input: Callable[[State, Key, Array], Array] | None = None
    input_range: Range | None = None  # Of the images that it is written for; None: as the networks have them.
    # How many images it makes one input of, which is done last, of neighbours. They divide every batch, or are refused.
    images_per_input: int = 1
    inputs_together: int = 1  # How many inputs the discriminator compares: they divide every batch, or are refused.
    discriminator_optimizer: OptimizerWrapper | None = None
    generator_optimizer: OptimizerWrapper | None = None
    # (discriminator, objective, its optimiser) -> parameters that the generator plays against (unrolled GANs).
    # `objective(params, index)` is the discriminator's loss with the noise of that inner step.
    lookahead: Callable[[Player, Callable[..., Array], optax.GradientTransformation], Params] | None = None
    # (the discriminator of all replicas, as shapes) -> what to say before a run, in a line.
    notice: Callable[[Player], str] | None = None
    # Layers for the places that network families leave open (`igan.models`), by the name of the place.
    layers: Mapping[str, Callable[..., Any]] = {}
    targets: Targets | None = None  # What the objectives aim at instead of 1,
    reads_targets: frozenset[str] = frozenset()  # and which of them ("real", "generator") the losses of this one read.
    objective: bool = False  # Whether its losses are a game of their own, of which a player can have one.
    # Of an objective: the logit between "generated" and "real"; None where only differences of logits mean something.
    boundary: float | None = 0.0
    needs: frozenset[str] = frozenset()  # What it cannot do without, of `NEEDS`,
    gives: frozenset[str] = frozenset()  # and what its layers make the networks give to others.
    # (all enabled techniques) -> why this one cannot work beside them, or None.
    conflict: Callable[[Mapping[str, "Technique"]], str | None] = lambda techniques: None


class Game(NamedTuple):
    """The rules, which stay the same from one update to the next."""

    networks: Networks
    techniques: Mapping[str, Technique]
    discriminator_optimizer: optax.GradientTransformation
    generator_optimizer: optax.GradientTransformation
    average_rate: Callable[[Turn], Array]  # How far the averages of the parameters move in a step, in (0, 1].
    accumulate: int = 1  # In how many parts, one after the other, a step looks at its batch.
    # (key, labels of the real images) -> labels of as many generated ones, where the networks are given labels.
    generated_labels: Callable[[Key, Array], Array] = lambda key, labels: labels
    schedule: Schedule = Schedule()
    # What devices that play a part of each batch by themselves make one of: gradients, metrics, variables, memories.
    agree: Callable[[Any], Any] = lambda results: results


# By their names in the config: (number of classes) -> `Game.generated_labels`.
GENERATED_LABELS: dict[str, Callable[[int], Callable[[Key, Array], Array]]] = {
    "data": lambda classes: lambda key, labels: labels,
    "uniform": lambda classes: lambda key, labels: jax.random.randint(key, labels.shape, 0, classes, labels.dtype),
}


def known() -> list[str]:
    """Returns the names of all techniques: the files of `igan/techniques/`."""
    return list(_files(*igan.techniques.__path__))


@functools.cache  # A config asks once for each technique.
def _files(*folders: str) -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folders)))


def defaults(name: str) -> dict[str, Any]:
    """Returns the config fields of a technique with their defaults, switched off.

    >>> defaults("minimax")
    {'enabled': False, 'discriminator_weight': 1.0, 'generator_weight': 1.0}

    Raises UserError for an unknown name, suggesting the right one.
    """
    make = _make(name)
    fields: dict[str, Any] = {"enabled": False}
    technique = make()
    if technique.discriminator_loss is not None:
        fields["discriminator_weight"] = 1.0
    if technique.generator_loss is not None:
        fields["generator_weight"] = 1.0
    return fields | {parameter.name: parameter.default for parameter in inspect.signature(make).parameters.values()}


def load(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Technique]:
    """Returns the enabled techniques of `config.techniques` in the config's order, their losses weighted.

    A loss with weight zero is left out, so that it costs nothing and is not reported.

    >>> techniques = load({"minimax": {"enabled": True, "discriminator_weight": 0.5, "generator_weight": 0.0}})
    >>> techniques["minimax"].generator_loss is None
    True

    Raises UserError for an unknown technique.
    """
    return {name: _build(name, config) for name, config in configs.items() if config["enabled"]}


def layers(techniques: Mapping[str, Technique]) -> dict[str, Callable[..., Any]]:
    """Returns the layers that techniques put into the networks, by place.

    Raises UserError where two want the same place.
    """
    placed: dict[str, Callable[..., Any]] = {}
    owners: dict[str, str] = {}
    for name, technique in techniques.items():
        for place, layer in technique.layers.items():
            if place in owners:
                raise UserError(
                    f"{owners[place]} and {name} both want to be the networks' {place}: disable one of them, say"
                    f" --config.techniques.{name}.enabled=False"
                )
            placed[place], owners[place] = layer, name
    return placed


def images_per_input(techniques: Mapping[str, Technique]) -> int:
    """Returns how many images the techniques make one input of.

    >>> images_per_input({"packing": Technique(images_per_input=3), "other": Technique()})
    3
    """
    return math.prod(each.images_per_input for each in techniques.values())


def batch_multiple(techniques: Mapping[str, Technique]) -> int:
    """Returns what every batch must be a multiple of, and each part of it, in images.

    >>> batch_multiple({"packing": Technique(images_per_input=3), "stddev": Technique(inputs_together=4)})
    12
    """
    return images_per_input(techniques) * math.lcm(*(each.inputs_together for each in techniques.values()))


def targets(techniques: Mapping[str, Technique]) -> Targets:
    """Returns what the objectives aim at: 1, or what a technique says instead."""
    return next((each.targets for each in techniques.values() if each.targets is not None), Targets())


def wrap(
    optimizer: optax.GradientTransformation,
    wrappers: Iterable[OptimizerWrapper | None],
) -> optax.GradientTransformation:
    """Returns a player's optimiser inside what its techniques make of it, the first technique innermost."""
    for wrapper in wrappers:
        if wrapper is not None:
            optimizer = wrapper(optimizer)
    return optimizer


def _make(name: str) -> Callable[..., Technique]:
    if name not in known():
        raise UserError(f"unknown technique '{name}'.{did_you_mean(name, known())}")
    return importlib.import_module(f"igan.techniques.{name}").make


def _build(name: str, config: Mapping[str, Any]) -> Technique:
    settings = dict(config)
    settings.pop("enabled")
    discriminator_weight = settings.pop("discriminator_weight", 1.0)
    generator_weight = settings.pop("generator_weight", 1.0)
    make = _make(name)
    known = inspect.signature(make).parameters
    for setting in settings:
        if setting not in known:
            raise UserError(f"techniques.{name} has no hyper-parameter '{setting}'.{did_you_mean(setting, known)}")
    technique = make(**settings)
    for need in technique.needs | technique.gives:
        if need not in NEEDS:
            raise UserError(f"techniques.{name} needs or gives an unknown '{need}'.{did_you_mean(need, NEEDS)}")
    unread = {
        target for target, weight in (("real", discriminator_weight), ("generator", generator_weight)) if not weight
    }
    return technique._replace(
        reads_targets=technique.reads_targets - unread,
        discriminator_loss=_weighted(technique.discriminator_loss, discriminator_weight),
        generator_loss=_weighted(technique.generator_loss, generator_weight),
    )


def _weighted(loss: Loss | None, weight: float) -> Loss | None:
    if loss is None or weight == 0:
        return None

    def weighted(state: State, view: View) -> tuple[Array, Metrics]:
        value, metrics = loss(state, view)
        return weight * value, metrics

    return weighted
