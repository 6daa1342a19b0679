"""Small games with one technique in them, for the conformance suite.

A technique's file may say `TESTED_ON = "name"`, the network family that it needs, and `HOLDS_CONSTANT = True` where its
loss treats something as constant that moves with the parameters, as a power iteration does.
"""

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.game.step import Game
from igan.game.technique import Technique
from igan.types import Batch, Examples, GameState

CLASSES, IMAGE_SHAPE, BATCH_SIZE = 5, (3, 3, 1), 6
SMALLEST = (4, 4, 1)  # Of networks that grow.
NARROW = {
    "fully_connected": {
        "latent_size": 4,
        "generator_layers": (5,),
        "discriminator_layers": (7,),
        "input_noise": 0.0,
    },
    "style": {
        "latent_size": 4,
        "mapping_layers": 1,
        "mapping_width": 3,
        "mapping_rate": 0.5,
        "base": 8,
        "most": 3,
        "first_resolution": 4,
        "constant_input": False,  # Its instance norm is 0 / 0 at the start, but for an epsilon: no slopes to compare.
        "train_images": 100,
        "fade_images": 100,
    },
    "r3gan": {"latent_size": 4, "widths": (4,), "blocks": 1, "group_size": 4},  # Of images of 3 pixels.
    "autoencoder": {"latent_size": 4, "width": 3, "smallest": 4},
    "resnet": {
        "latent_size": 4,
        "generator_widths": (2, 8),
        "discriminator_widths": (8,),
        "discriminator_halvings": 0,
    },
}
SIDES = {"autoencoder": 4, "resnet": 4, "style": 4}  # Of the images of families that three pixels are too few for.
# Settings for a batch of six images, the defaults are for a hundred; for networks that normalise their weights; and for
# lazy penalties.
SMALL = {
    "virtual_batch_norm": {"reference_size": 4},
    "minibatch_discrimination": {"kernels": 3, "dimensions": 2},
    "minibatch_stddev": {"group": 2},
    "wasserstein": {"clipping": False},
    "r1": {"interval": 2},
    "r2": {"interval": 2},
    "unrolled": {"steps": 2},
    "lecam": {"start": 1},
    "self_attention": {"generator_resolution": 4, "discriminator_resolution": 4},
    "adaptive_augment": {"policy": ("color",)},  # Slopes through what moves pixels take long to compile.
}


def said(name: str, field: str, default: Any) -> Any:
    """What the file of a technique says to the suite."""
    return getattr(importlib.import_module(f"igan.techniques.{name}"), field, default)


def shape_of(family: str) -> tuple[int, int, int]:
    """The shape of the images of a family."""
    side = SIDES.get(family, IMAGE_SHAPE[0])
    return side, side, 1


def enable(name: str) -> dict[str, dict[str, Any]]:
    """Configs with this technique, and with `non_saturating` for the players that have no objective by it."""
    configs = {each: technique.defaults(each) for each in technique.known()}
    configs[name] |= {"enabled": True} | SMALL.get(name, {})
    (tested,) = technique.load({name: configs[name]}).values()
    if name != "non_saturating":
        weights = {
            f"{player}_weight": float(not (tested.objective and getattr(tested, f"{player}_loss")))
            for player in ("discriminator", "generator")
        }
        configs["non_saturating"] = {"enabled": True} | weights
    return configs


def make_game(
    techniques: dict[str, Technique],
    tx: optax.GradientTransformation,
    hidden_noise: float = 0.5,
    family: str = "fully_connected",
) -> Game:
    """A game of the techniques, with what they need of the networks."""
    settings = {"name": family, **NARROW.get(family, {})}
    if family == "fully_connected":
        settings["hidden_noise"] = hidden_noise
    needs = frozenset().union(*(each.needs for each in techniques.values()))
    networks = models.load(settings, space.images(shape_of(family)), CLASSES, technique.layers(techniques))
    return Game(
        networks._replace(classes=CLASSES if "labels" in needs else 0),
        techniques,
        technique.wrap(tx, [each.discriminator_optimizer for each in techniques.values()]),
        technique.wrap(tx, [each.generator_optimizer for each in techniques.values()]),
        optimizer.average_rate(1e-2),
    )


@functools.cache
def make_batch(all_labeled: bool = False, family: str = "fully_connected") -> Batch:
    random = np.random.default_rng(0)
    real, labeled = jnp.asarray(random.uniform(size=(2, BATCH_SIZE, *shape_of(family))), jnp.float32)
    labels = jnp.asarray(random.integers(0, CLASSES, BATCH_SIZE, dtype=np.int32))
    return Batch(Examples(real, labels)) if all_labeled else Batch(Examples(real), Examples(labeled, labels))


def batch_of(game: Game) -> Batch:
    """A batch of the size and with the labels that the game's networks are given."""
    family = "resnet" if game.networks.convolutional else "style" if game.networks.stages[-1].name else ""
    return make_batch(game.networks.classes > 0, family)


@functools.cache
def initial_players(with_layers: tuple[str, ...], family: str) -> GameState:
    """A state of networks with the layers of these techniques. Compiled once for all tests."""
    loaded = {name: technique.load(enable(name))[name] for name in with_layers}
    game = make_game(loaded, optax.sgd(1.0), family=family)
    return jax.jit(functools.partial(step.initialize, game))(jax.random.key(0), batch_of(game).real)


def start(game: Game, family: str = "fully_connected") -> GameState:
    """What `step.initialize` returns, but faster."""
    changing = [
        name
        for name, each in game.techniques.items()
        if each.layers or "labels" in each.needs or each.images_per_input > 1
    ]
    state = initial_players(tuple(changing), family)
    players = {
        "generator": state.generator._replace(opt_state=game.generator_optimizer.init(state.generator.params)),
        "discriminator": state.discriminator._replace(
            opt_state=game.discriminator_optimizer.init(state.discriminator.params)
        ),
    }
    states = {name: each.init(jax.random.key(1), batch_of(game).real) for name, each in game.techniques.items()}
    return state._replace(techniques=states, **players)


def go_together(names: list[str], family: str = "fully_connected") -> bool:
    """Whether these techniques can be enabled at once, with one objective for each player."""
    configs = {name: technique.defaults(name) | {"enabled": True} | SMALL.get(name, {}) for name in names}
    techniques = technique.load(configs)
    needs = frozenset().union(*(each.needs for each in techniques.values()))
    try:
        layers = technique.layers(techniques)
        shape = space.images(shape_of(family))
        networks = models.load({"name": family, **NARROW.get(family, {})}, shape, CLASSES, layers)
    except UserError:
        return False
    gives = networks.gives.union({"images", "labels", "labeled"}, *(each.gives for each in techniques.values()))
    return (
        sum(each.objective for each in techniques.values()) <= 1
        and needs <= gives
        and not any(each.conflict(techniques) for each in techniques.values())
        and all(said(name, "TESTED_ON", family) == family for name in names)
    )
