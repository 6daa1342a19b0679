"""What every technique must keep to, whichever files lie in `igan/techniques/`: the conformance suite."""

import functools
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.game import step, technique
from igan.game.technique import Technique
from igan.run import experiment
from igan.types import Array, Batch, Batches, GameState, Metrics, View

CLASSES, IMAGE_SHAPE, BATCH_SIZE = 5, (3, 3, 1), 6
NARROW = {"latent_size": 4, "generator_layers": (5,), "discriminator_layers": (7,), "input_noise": 0.0}

# Settings for a batch of six images; the defaults are for a hundred.
SMALL = {"virtual_batch_norm": {"reference_size": 4}, "minibatch_discrimination": {"kernels": 3, "dimensions": 2}}

pytestmark = pytest.mark.usefixtures("quick_compilation_of_file")


each_technique = pytest.mark.parametrize("name", technique.known())


def enable(name: str) -> dict[str, dict[str, Any]]:
    """Returns configs with this technique, and with `non_saturating` for the players that it gives no loss."""
    configs = {each: technique.defaults(each) for each in technique.known()}
    has_loss = {player: f"{player}_weight" in configs[name] for player in ("discriminator", "generator")}
    if name != "non_saturating" and not all(has_loss.values()):
        weights = {f"{player}_weight": 1.0 - has for player, has in has_loss.items()}
        configs["non_saturating"] = {"enabled": True} | weights
    configs[name] |= {"enabled": True} | SMALL.get(name, {})
    return configs


def make_game(
    techniques: dict[str, Technique], optimizer: optax.GradientTransformation, hidden_noise: float = 0.5
) -> step.Game:
    settings = {"name": "fully_connected", "hidden_noise": hidden_noise} | NARROW
    return step.Game(
        models.load(settings, IMAGE_SHAPE, CLASSES, technique.layers(techniques)),
        techniques,
        technique.wrap(optimizer, [each.discriminator_optimizer for each in techniques.values()]),
        technique.wrap(optimizer, [each.generator_optimizer for each in techniques.values()]),
        average_rate=1e-2,
    )


@functools.cache
def make_batch() -> Batch:
    random = np.random.default_rng(0)
    images = random.uniform(size=(2, BATCH_SIZE, *IMAGE_SHAPE)).astype(np.float32)
    labels = random.integers(0, CLASSES, BATCH_SIZE, dtype=np.int32)
    return Batch(jnp.asarray(images[0]), jnp.asarray(images[1]), jnp.asarray(labels))


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@functools.cache
def initial_players(with_layers: tuple[str, ...]) -> GameState:
    """Returns a state of networks with the layers of these techniques. Compiled once for all tests."""
    game = make_game({name: technique.load(enable(name))[name] for name in with_layers}, optax.sgd(1.0))
    return jax.jit(functools.partial(step.initialize, game))(jax.random.key(0), make_batch().images)


def start(game: step.Game) -> GameState:
    """Returns what `step.initialize` does, but faster."""
    state = initial_players(tuple(name for name, each in game.techniques.items() if each.layers))
    players = {
        "generator": state.generator._replace(opt_state=game.generator_optimizer.init(state.generator.params)),
        "discriminator": state.discriminator._replace(
            opt_state=game.discriminator_optimizer.init(state.discriminator.params)
        ),
    }
    states = {name: each.init(jax.random.key(1)) for name, each in game.techniques.items()}
    return state._replace(techniques=states, **players)


def losses(player: str, metrics: Metrics) -> Metrics:
    """Returns the metrics that are a technique's loss for a player, not a detail of one."""
    return {name: value for name, value in metrics.items() if re.fullmatch(f"{player}/[^/]+", name)}


class Played(NamedTuple):
    """Two updates of a game."""

    techniques: dict[str, Technique]
    states: list[GameState]
    metrics: list[Metrics]
    programs: int


@functools.cache
def play(name: str) -> Played:
    techniques = technique.load(enable(name))
    game = make_game(techniques, optax.adam(1e-2))
    update = jax.jit(functools.partial(step.update, game))
    states, metrics, batch = [start(game)], [], make_batch()
    for _ in range(2):
        state, numbers = update(states[-1], Batches((batch,), (Batch(batch.images),)))
        states.append(state)
        metrics.append(numbers)
    return Played(techniques, states, metrics, update._cache_size())


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
def test_both_players_move(name, played):
    for before, after in zip(played.states[0][2:4], played.states[1][2:4], strict=True):
        assert any(jnp.any(new != old) for old, new in zip(*map(jax.tree.leaves, (before, after)), strict=True))


@each_technique
def test_losses_are_reported_by_name(name, played):
    for player, seam in (("d", "discriminator_loss"), ("g", "generator_loss")):
        expected = {f"{player}/{each}" for each in played.techniques if getattr(played.techniques[each], seam)}
        assert expected
        for metrics in played.metrics:
            assert losses(player, metrics).keys() == expected


@each_technique
def test_the_reported_losses_add_up_to_what_is_differentiated(name, batch):
    # One step of plain gradient descent at rate 1 moves the parameters by the gradient: against central differences of
    # the sum of what is reported, in float64.
    with jax.enable_x64(True):
        game = make_game(technique.load(enable(name)), optax.sgd(1.0), hidden_noise=0.0)
        state = start(game)
        players = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (state.generator, state.discriminator))
        state = state._replace(generator=players[0], discriminator=players[1])
        key, epsilon = jax.random.key(1), 1e-5
        for letter, player, update in (
            ("d", "discriminator", step.update_discriminator),
            ("g", "generator", step.update_generator),
        ):
            play = jax.jit(functools.partial(update, game))
            before = getattr(state, player).params

            def outcome(params: Any, play: Callable = play, player: str = player, letter: str = letter) -> Any:
                changed = state._replace(**{player: getattr(state, player)._replace(params=params)})
                after, metrics = play(changed, key, batch)
                return getattr(after, player).params, sum(losses(letter, metrics).values())

            after, _ = outcome(before)
            gradient = jax.tree.map(jnp.subtract, before, after)
            random = np.random.default_rng(1)
            for _ in range(3):
                direction = jax.tree.map(lambda leaf, random=random: random.normal(size=leaf.shape), before)
                ends = [
                    outcome(jax.tree.map(lambda leaf, slope, size=size: leaf + size * slope, before, direction))[1]
                    for size in (epsilon, -epsilon)
                ]
                products = jax.tree.map(lambda slope, along: jnp.sum(slope * along), gradient, direction)
                slope = sum(jax.tree.leaves(products))
                assert slope != 0
                np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * epsilon), rtol=1e-5, atol=1e-9)


def test_all_of_them_go_together():
    configs = {name: technique.defaults(name) | {"enabled": True} | SMALL.get(name, {}) for name in technique.known()}
    techniques = technique.load(configs)
    game, batch = make_game(techniques, optax.adam(1e-2)), make_batch()
    after, metrics = jax.jit(functools.partial(step.update, game))(
        start(game), Batches((batch,), (Batch(batch.images),))
    )
    assert losses("d", metrics).keys() == {f"d/{name}" for name, each in techniques.items() if each.discriminator_loss}
    assert losses("g", metrics).keys() == {f"g/{name}" for name, each in techniques.items() if each.generator_loss}
    for leaf in jax.tree.leaves((metrics, after.generator, after.discriminator, after.techniques)):
        assert np.all(np.isfinite(leaf))


@functools.cache
def spy_on(name: str | None) -> Metrics:
    """Returns what a spy sees of one update with or without a technique, its own noise included."""

    def record(state: Any, view: View) -> tuple[Array, Metrics]:
        seen = {"fake": view.fake_images, "real critique": view.real.logits, "fake critique": view.fake.logits}
        return jnp.zeros(()), seen

    def jitter(key: jax.Array, images: Array) -> Array:
        return images + jax.random.normal(key, images.shape)

    spy = Technique(discriminator_loss=record, generator_loss=record, discriminator_input=jitter)
    tested = {} if name is None else {name: technique.load(enable(name))[name]}
    game = make_game(tested | {"spy": spy}, optax.sgd(0.0))  # Players that stand still, so that both phases compare.
    update, batch = jax.jit(functools.partial(step.update, game)), make_batch()
    return update(start(game), Batches((batch,), (Batch(batch.images),)))[1]


@each_technique
def test_switching_it_on_changes_nobody_elses_randomness(name):
    compared = [metric for metric in spy_on(None) if "/spy/" in metric]
    assert len(compared) == 6
    tested = technique.load(enable(name))[name]
    if tested.discriminator_input is not None or "discriminator_features" in tested.layers:
        compared = [metric for metric in compared if metric.endswith("/fake")]
    if "generator_norm" in tested.layers:  # Another generator.
        compared = [metric for metric in compared if "fake" not in metric]
    assert len(compared) >= 2
    for metric in compared:
        np.testing.assert_allclose(spy_on(name)[metric], spy_on(None)[metric], atol=1e-5, err_msg=metric)


@each_technique
def test_it_can_be_enabled_in_a_config(name, small):
    for each, settings in enable(name).items():
        small.techniques[each].update(settings)
    assert name in experiment.build(small).engine.state_shape.techniques


@each_technique
def test_its_settings_have_defaults_and_descriptions(name):
    module = importlib.import_module(f"igan.techniques.{name}")
    assert re.search(r"[A-Z][a-z]+ .*\(?\b(19|20)\d\d\b", module.__doc__), "the module names its paper"
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
def test_a_weight_of_zero_removes_a_loss_and_any_other_scales_it(name, played, batch):
    for player in ("discriminator", "generator"):
        settings = technique.defaults(name) | {"enabled": True}
        if f"{player}_weight" not in settings:
            continue
        off = technique.load({name: settings | {f"{player}_weight": 0.0}})[name]
        assert getattr(off, f"{player}_loss") is None
        other = {"discriminator": "generator", "generator": "discriminator"}[player]
        assert (getattr(off, f"{other}_loss") is None) == (f"{other}_weight" not in settings)
        plain, scaled = (
            technique.load({name: settings | {f"{player}_weight": weight}})[name] for weight in (1.0, -3.0)
        )
        state, game = played.states[0], make_game(played.techniques, optax.sgd(0.0))
        fake_images = batch.images[::-1] / 2
        view, _ = step.look(game, jax.random.key(2), state, state.discriminator.params, batch, fake_images, True)
        values = [getattr(each, f"{player}_loss")(state.techniques[name], view)[0] for each in (plain, scaled)]
        np.testing.assert_allclose(values[1], -3 * values[0], rtol=1e-6)
