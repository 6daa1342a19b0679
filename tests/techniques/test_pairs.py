"""Every pair of techniques either plays two updates or is refused with a reason, by what refuses a run.

Two updates of a pair are traced, not run: each operation is looked at with its shapes, and a state whose form the first
update keeps is what the second one is given. Networks are traced once for all pairs that have the same ones, which is
most of the work. Sets that are drawn at random are really played, and so are all pairs with IGAN_LONG_TESTS=1.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igan.config import default, validate
from igan.data.dataset import Dataset
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.game.step import Game
from igan.run import experiment
from igan.types import Batch, Batches, Context, Examples, GameState, Network, Networks, Turn
from tests.plane import PLANE
from tests.techniques.suite import BATCH_SIZE, CLASSES, NARROW, SMALL
from tests.xla import LONG

# Of an example, for each family. Their networks are those of `suite.NARROW`, or these.
SHAPES = {"fully_connected": (3, 3, 1)}
if LONG:
    SHAPES |= {
        "dcgan": (8, 8, 1),
        "points": PLANE.shape,
        "autoencoder": (4, 4, 1),
        "resnet": (4, 4, 1),
        "convolutional": (16, 16, 3),
        "style": (4, 4, 1),
    }
SETTINGS = {
    "convolutional": {"latent_size": 3, "generator_widths": (3,), "discriminator_widths": (2, 3)},
    "dcgan": {"latent_size": 3, "generator_widths": (3,), "discriminator_widths": (2,)},
} | NARROW
NAMES = technique.known()


def config_of(names: Sequence[str], family: str) -> Any:
    """A run's config with these techniques, and `non_saturating` for the players that have no objective by them."""
    config = default(family)
    config.networks.update(SETTINGS.get(family, {}))
    config.batch_size = config.initial_images = BATCH_SIZE
    loaded = {}
    for name in names:
        config.techniques[name].update({"enabled": True} | SMALL.get(name, {}))
        loaded |= technique.load({name: config.techniques[name]})
    if any("labels" in each.needs for each in loaded.values()):
        config.labels_per_class = 0
    if "non_saturating" not in names:
        covered = {
            player: any(each.objective and getattr(each, f"{player}_loss") for each in loaded.values())
            for player in ("discriminator", "generator")
        }
        weights = {f"{player}_weight": float(not each) for player, each in covered.items()}
        config.techniques.non_saturating.update(enabled=any(weights.values()), **weights)
    return config


@functools.cache
def data_of(family: str) -> Dataset:
    random = np.random.default_rng(0)
    labels = np.arange(BATCH_SIZE, dtype=np.int32) % CLASSES
    shape = SHAPES[family]
    if shape == PLANE.shape:
        points = random.normal(size=(BATCH_SIZE, *shape)).astype(np.float32)
        return Dataset("points", points, labels, points, labels, CLASSES, "here", no_images=PLANE)
    images = random.integers(0, 256, (BATCH_SIZE, *shape)).astype(np.uint8)
    return Dataset("images", images, labels, images, labels, CLASSES, "here")


def traced_once(network: Network) -> Network:
    """The same network, each of whose functions is traced once for inputs of one form."""

    def at(key: Any, step: Any, count: Any, labels: Any, train: bool, stage: Any) -> Context:
        return Context(key, Turn(step, count, stage), train, labels)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def init(train: bool, stage: Any, said: Any, inputs: Any) -> Any:
        return network.init(at(*said, train, stage), inputs)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def apply(train: bool, stage: Any, params: Any, variables: Any, said: Any, inputs: Any) -> Any:
        return network.apply(params, variables, at(*said, train, stage), inputs)

    def said(context: Context) -> tuple:
        return context.key, context.turn.step, context.turn.count, context.labels

    return network._replace(
        init=lambda context, inputs: init(context.train, context.turn.stage, said(context), inputs),
        apply=lambda params, variables, context, inputs: apply(
            context.train, context.turn.stage, params, variables, said(context), inputs
        ),
    )


known_networks: dict[Any, Networks] = {}


def once(networks: Networks, loaded: dict[str, technique.Technique], family: str) -> Networks:
    """The networks of an earlier game that had the same ones."""
    changing = tuple(name for name, each in loaded.items() if each.layers)
    key = family, changing, "class_logits" in networks.gives, networks.classes
    if key not in known_networks:
        known_networks[key] = networks._replace(
            generator=traced_once(networks.generator), discriminator=traced_once(networks.discriminator)
        )
    return known_networks[key]


class Prepared(NamedTuple):
    """A game that nobody has refused."""

    game: Game
    batches: Batches
    state: GameState  # Its first one, or the shapes of it.


def prepare(names: Sequence[str], family: str) -> Prepared:
    """Raises UserError as a run with these techniques does."""
    data, config = data_of(family), config_of(names, family)
    validate(config)
    techniques, networks, labels_seen = experiment.compose(config, data)
    optimizers = (
        technique.wrap(
            optimizer.make(config[player], total_steps=2),
            [getattr(each, f"{player}_optimizer") for each in techniques.values()],
        )
        for player in ("discriminator", "generator")
    )
    game = Game(once(networks, techniques, family), techniques, *optimizers, optimizer.average_rate(0.1))
    images = data.space.encode(data.train_images, networks.image_range)
    known = Examples(images, jnp.asarray(data.train_labels))
    batch = Batch(known if labels_seen == "all" else Examples(images), known if labels_seen == "some" else None)
    state = jax.eval_shape(lambda key: step.initialize(game, key, batch.real), jax.random.key(0))
    return Prepared(game, Batches((batch,), (batch,)), state)


def trace(prepared: Prepared) -> None:
    """Two updates: the second one has no other program than the first, if that keeps the form of the state."""
    game, batches, state = prepared
    after, metrics = jax.eval_shape(lambda state: step.update(game, state, batches), state)
    forms = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), each) for each in (state, after)]
    assert forms[0] == forms[1]
    assert {name[0] for name in metrics} == {"d", "g"}
    assert all((each.shape, each.dtype) == ((), jnp.float32) for each in metrics.values())


def play(prepared: Prepared) -> None:
    """Two updates that are made."""
    game, batches, _ = prepared
    state = before = jax.jit(lambda key: step.initialize(game, key, batches.discriminator[0].real))(jax.random.key(0))
    update = jax.jit(lambda state: step.update(game, state, batches))
    for _ in range(2):
        state, metrics = update(state)
        for leaf in jax.tree.leaves((metrics, state.generator, state.discriminator, state.techniques)):
            assert np.all(np.isfinite(leaf)), metrics
    assert update._cache_size() == 1
    for player in ("generator", "discriminator"):
        leaves = [jax.tree.leaves(getattr(each, player).params) for each in (before, state)]
        assert any(np.any(one != other) for one, other in zip(*leaves, strict=True)), f"the {player} stands still"


def refusal(names: Sequence[str], family: str, go: Callable[[Prepared], None]) -> str | None:
    """Returns why these techniques are refused, with a reason and what to do, or None where they play."""
    try:
        prepared = prepare(names, family)
    except UserError as refused:
        said = str(refused)
        assert "\n" not in said and ("--config." in said or "choose" in said), said
        # A place that the networks do not have is named, not who wants it.
        assert "have no place" in said or any(name in said for name in names), f"{names}: {said}"
        return said
    try:
        go(prepared)
    except Exception as error:
        raise AssertionError(f"{' and '.join(names)} are not refused, and fail on '{family}'") from error
    return None


@pytest.mark.parametrize("family", SHAPES)
def test_every_pair_plays_or_is_refused_with_a_reason(family):
    pairs = list(itertools.combinations(NAMES, 2))
    refused = {pair: said for pair in pairs if (said := refusal(pair, family, play if LONG else trace))}
    for name in NAMES:  # Nobody is refused beside all others who could be played alone.
        if all(pair in refused for pair in pairs if name in pair):
            assert refusal([name], family, trace), name


SETS = st.lists(st.sampled_from(NAMES), min_size=2, max_size=6, unique=True)


@settings(max_examples=200 if LONG else 5, deadline=None)
@given(names=SETS, family=st.sampled_from(list(SHAPES)))
def test_so_does_any_set_of_techniques(names, family):
    refusal(names, family, play)
