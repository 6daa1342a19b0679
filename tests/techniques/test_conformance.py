"""What every technique must keep to, whichever files lie in `igan/techniques/`: the conformance suite.

It sees whether a technique fits into an update, not whether it is the paper's: each file owes a reference test of its
own, and `tests/techniques/probes.py` has helpers for what is easily got wrong.
"""

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from igan import models
from igan.game import step, technique
from igan.game.sharding import STATE_AXES
from igan.game.technique import Technique
from igan.game.view import look
from igan.run import experiment
from igan.types import Array, Batches, Examples, GameState, Metrics, View
from tests.contexts import turn
from tests.techniques.suite import BATCH_SIZE, NARROW, SMALL, batch_of, enable, go_together, make_game, said, start

ON_MNIST = {"r3gan": {"widths": (8, 8, 8)}}  # What a family needs for images of 28 pixels.
RESIDUAL = {"generator_widths": (8,) * 4, "discriminator_widths": (8, 8), "discriminator_halvings": 2}  # Of 16 pixels.
PASSES_TO_REST = 100  # Of a power iteration, say.


@pytest.fixture(scope="module", autouse=True)
def _programs_are_not_kept() -> Iterator[None]:
    """None of them is compiled twice, and writing them down is an eighth of the work."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


each_technique = pytest.mark.parametrize("name", technique.known())


def losses(player: str, metrics: Metrics) -> Metrics:
    """Returns the metrics that are a technique's loss for a player, not a detail of one."""
    return {name: value for name, value in metrics.items() if re.fullmatch(f"{player}/[^/]+", name)}


def game_of(name: str, tx: optax.GradientTransformation, **settings: Any) -> step.Game:
    return make_game(technique.load(enable(name)), tx, family=said(name, "TESTED_ON", "fully_connected"), **settings)


def one_of_each(game: step.Game) -> Batches:
    batch = batch_of(game)
    return Batches((batch,), (batch._replace(labeled=None),))


class Played(NamedTuple):
    """Two updates of a game."""

    game: step.Game
    states: list[GameState]
    metrics: list[Metrics]
    update: Any  # Compiled: (GameState, Batches) -> (GameState, Metrics).
    programs: int


@functools.cache
def play(name: str) -> Played:
    game = game_of(name, optax.adam(1e-2))
    update = jax.jit(functools.partial(step.update, game))
    states, metrics = [start(game, said(name, "TESTED_ON", "fully_connected"))], []
    for _ in range(2):
        state, numbers = update(states[-1], one_of_each(game))
        states.append(state)
        metrics.append(numbers)
    return Played(game, states, metrics, update, update._cache_size())


@functools.cache
def replicated(name: str) -> Any:
    """Two replicas at once, compiled: (GameState, Batches) -> (GameState, Metrics)."""
    update = functools.partial(step.update, play(name).game)
    return jax.jit(jax.vmap(update, in_axes=(STATE_AXES, None), out_axes=(STATE_AXES, 0)))


@pytest.fixture
def played(name) -> Played:
    return play(name)


@each_technique
def test_metrics_are_finite_float32_scalars(name, played):
    for metrics in played.metrics:
        for metric, value in metrics.items():
            assert (value.shape, value.dtype) == ((), jnp.float32), metric
            assert np.isfinite(value), metric


@each_technique
def test_an_update_keeps_the_form_of_the_state(name, played):
    def form(leaf: Array) -> tuple:
        return leaf.shape, leaf.dtype, jax.typeof(leaf).weak_type

    forms = [jax.tree.map(form, state) for state in played.states]
    assert forms[1] == forms[0]
    assert forms[2] == forms[0]


@each_technique
def test_the_second_update_runs_the_program_of_the_first(name, played):
    assert played.programs == 1


@each_technique
def test_the_parameters_of_both_players_move_in_every_update(name, played):
    for before, after in zip(played.states[:-1], played.states[1:], strict=True):
        for player in ("generator", "discriminator"):
            ones, others = (jax.tree.leaves(getattr(each, player).params) for each in (before, after))
            assert any(jnp.any(new != old) for old, new in zip(ones, others, strict=True)), player


@each_technique
def test_losses_are_reported_by_name(name, played):
    techniques = played.game.techniques
    for player, seam in (("d", "discriminator_loss"), ("g", "generator_loss")):
        expected = {f"{player}/{each}" for each in techniques if getattr(techniques[each], seam)}
        assert expected
        for metrics in played.metrics:
            assert losses(player, metrics).keys() == expected


@each_technique
def test_two_replicas_play_two_games(name, played):
    """Each with a memory of its own, and as they would play alone."""
    game, key = played.game, jax.random.key(5)
    ones = [played.states[0], played.states[1]._replace(key=key, step=played.states[0].step)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ones)._replace(step=ones[0].step)
    after, metrics = replicated(name)(both, one_of_each(game))
    alone = [played.update(each, one_of_each(game)) for each in ones]
    for index, (state, numbers) in enumerate(alone):
        pick = functools.partial(jax.tree.map, lambda leaf, index=index: leaf[index])
        same = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
        jax.tree.map(same, pick(metrics), numbers)
        jax.tree.map(same, pick(after.techniques), state.techniques)
        jax.tree.map(same, _moved(pick(after.generator.params), name), _moved(state.generator.params, name))


def _moved(params: Any, name: str) -> list[Array]:
    """What a slope moves: a bias before batch norm has none but noise, which Adam makes as large as any other."""
    before_norm = said(name, "TESTED_ON", "fully_connected") == "resnet"
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if not (before_norm and "bias" in jax.tree_util.keystr(path))]


@each_technique
def test_a_branch_stays_a_branch_with_two_replicas(name, played):
    """A `cond` on memory, which each replica has of its own, computes both branches: branch on `view.turn`."""
    game = played.game
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), played.states[0])._replace(step=played.states[0].step)
    traces = (
        played.update.trace(played.states[0], one_of_each(game)),
        replicated(name).trace(both, one_of_each(game)),
    )
    single, several = (len(re.findall(r"\bcond\[", str(each.jaxpr))) for each in traces)
    assert several == single


@each_technique
def test_the_gradients_are_those_of_the_losses_that_are_reported(name):
    """Against central differences of their sum, in float64."""
    with jax.enable_x64(True):
        game = game_of(name, optax.sgd(1.0), hidden_noise=0.0)
        state = start(game, said(name, "TESTED_ON", "fully_connected"))
        players = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (state.generator, state.discriminator))
        state = state._replace(generator=players[0], discriminator=players[1])
        for letter, player, slope in (
            ("d", "discriminator", step.discriminator_slope),
            ("g", "generator", step.generator_slope),
        ):
            measure = jax.jit(lambda state, slope=slope: slope(game, state, turn(), jax.random.key(1), batch_of(game)))
            if said(name, "HOLDS_CONSTANT", False):
                for _ in range(PASSES_TO_REST):
                    state = measure(state).state
            assert_slope_of_losses(measure, state, player, letter)


def assert_slope_of_losses(measure: Callable, state: GameState, player: str, letter: str) -> None:
    before, epsilon = getattr(state, player), 1e-5
    gradients, random = measure(state).gradients, np.random.default_rng(1)
    for _ in range(3):
        direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), before.params)
        ends = []
        for size in (epsilon, -epsilon):
            moved = jax.tree.map(lambda leaf, slope, size=size: leaf + size * slope, before.params, direction)
            there = measure(state._replace(**{player: before._replace(params=moved)}))
            ends.append(sum(losses(letter, there.metrics).values()))
        products = jax.tree.map(lambda slope, along: jnp.sum(slope * along), gradients, direction)
        slope = sum(jax.tree.leaves(products))
        assert slope != 0
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * epsilon), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(name, marks=[pytest.mark.long("up to a minute each")] * (name != "least_squares"))
        for name in technique.known()
        if technique.load(enable(name))[name].objective
    ],
)
def test_all_that_can_go_together_do(objective):
    """One objective at a time: several would mean nothing. All of them take minutes to compile."""
    names, family = [objective], said(objective, "TESTED_ON", "fully_connected")
    for name in technique.known():
        names += [name] if name not in names and go_together([*names, name], family) else []
    assert len(names) > 3
    configs = {name: technique.defaults(name) | {"enabled": True} | SMALL.get(name, {}) for name in names}
    techniques = technique.load(configs)
    game = make_game(techniques, optax.adam(1e-2), family=family)
    after, metrics = jax.jit(functools.partial(step.update, game))(start(game, family), one_of_each(game))
    assert losses("d", metrics).keys() == {f"d/{name}" for name, each in techniques.items() if each.discriminator_loss}
    assert losses("g", metrics).keys() == {f"g/{name}" for name, each in techniques.items() if each.generator_loss}
    for leaf in jax.tree.leaves((metrics, after.generator, after.discriminator, after.techniques)):
        assert np.all(np.isfinite(leaf))


@functools.cache
def spy_on(name: str | None, family: str) -> Metrics:
    """Returns what a spy sees of both players' steps with or without a technique, its own noise and key included."""

    def record(state: Any, view: View) -> tuple[Array, Metrics]:
        seen = {"fake": view.fake.images, "real critique": view.real.logits, "fake critique": view.fake.logits}
        return jnp.zeros(()), seen | {"key": jax.random.key_data(view.key)}

    def jitter(state: Any, key: jax.Array, images: Array) -> Array:
        return images + jax.random.normal(key, images.shape)

    spy = Technique(discriminator_loss=record, generator_loss=record, discriminator_input=jitter)
    tested = {} if name is None else {name: technique.load(enable(name))[name]}
    game = make_game(tested | {"spy": spy}, optax.sgd(0.0), family=family)
    state, seen = start(game, family), {}
    for slope in (step.discriminator_slope, step.generator_slope):  # No step is taken, so that both compare.
        look_once = jax.jit(
            lambda state, slope=slope: slope(game, state, turn(), jax.random.key(1), batch_of(game)).metrics
        )
        seen |= look_once(state)
    return seen


@each_technique
def test_switching_it_on_changes_nobody_elses_randomness(name):
    family = said(name, "TESTED_ON", "fully_connected")
    compared = [metric for metric in spy_on(None, family) if "/spy/" in metric]
    assert len(compared) == 8
    tested = technique.load(enable(name))[name]
    if tested.discriminator_input is not None or any(place.startswith("discriminator") for place in tested.layers):
        compared = [metric for metric in compared if "critique" not in metric]
    if any(place.startswith("generator") for place in tested.layers):  # Another generator.
        compared = [metric for metric in compared if "fake" not in metric]
    assert len(compared) >= 2
    for metric in compared:
        np.testing.assert_allclose(spy_on(name, family)[metric], spy_on(None, family)[metric], atol=1e-5)


@each_technique
def test_it_can_be_enabled_in_a_config(name, small, monkeypatch):
    for each, settings in enable(name).items():
        small.techniques[each].update(settings)
    if "labels" in technique.load(enable(name))[name].needs:
        small.labels_per_class = 0
    if (family := said(name, "TESTED_ON", "fully_connected")) != small.networks.name:
        small.networks = ConfigDict(models.defaults(family))
    if family in ("style", "resnet"):  # Of 4 times a power of two pixels; `style` must grow in time, too.
        small.networks.update(NARROW[family] if family == "style" else RESIDUAL)
        load = experiment.data.load
        monkeypatch.setattr(experiment.data, "load", lambda *asked: cropped(load(*asked)))
    small.networks.update(ON_MNIST.get(family, {}))
    assert name in experiment.build(small).engine.state_shape.techniques


def cropped(dataset: Any) -> Any:
    inside = slice(6, 22)
    images = {name: getattr(dataset, name)[:, inside, inside] for name in ("train_images", "test_images")}
    return dataset._replace(**images) if hasattr(dataset, "_replace") else dataclasses.replace(dataset, **images)


@each_technique
def test_its_settings_have_defaults_and_descriptions(name):
    module = importlib.import_module(f"igan.techniques.{name}")
    assert re.search(r"[A-Z][a-z]+ .*\(?\b(19|20)\d\d[a-z]?\b", module.__doc__), "the module names its paper"
    assert module.make.__doc__
    for parameter in inspect.signature(module.make).parameters.values():
        assert parameter.default is not inspect.Parameter.empty, parameter.name
        assert re.search(rf"^\s+{parameter.name}: \S", module.make.__doc__, re.MULTILINE), parameter.name


@each_technique
def test_it_is_off_by_default(name):
    settings = technique.defaults(name)
    assert settings["enabled"] is False
    assert technique.load({name: settings}) == {}


@each_technique
def test_what_it_needs_and_gives_has_a_meaning(name):
    tested = technique.load(enable(name))[name]
    assert tested.needs | tested.gives <= technique.NEEDS.keys()


@each_technique
def test_a_weight_of_zero_removes_a_loss_and_any_other_scales_it(name, played):
    for player in ("discriminator", "generator"):
        settings = technique.defaults(name) | {"enabled": True} | SMALL.get(name, {})
        if f"{player}_weight" not in settings:
            continue
        off = technique.load({name: settings | {f"{player}_weight": 0.0}})[name]
        assert getattr(off, f"{player}_loss") is None
        other = {"discriminator": "generator", "generator": "discriminator"}[player]
        assert (getattr(off, f"{other}_loss") is None) == (f"{other}_weight" not in settings)
        plain, scaled = (
            technique.load({name: settings | {f"{player}_weight": weight}})[name] for weight in (1.0, -3.0)
        )
        state, game = played.states[0], played.game
        fake, latents = batch_of(game).real, jnp.zeros((BATCH_SIZE, 4))
        fake = Examples(fake.images[::-1] / 2, fake.labels, latents)
        view, _ = look(game, state, turn(), jax.random.key(2), batch_of(game), fake, True)
        values = [getattr(each, f"{player}_loss")(state.techniques[name], view)[0] for each in (plain, scaled)]
        np.testing.assert_allclose(values[1], -3 * values[0], rtol=1e-6)
