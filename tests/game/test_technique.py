"""Finding, loading and composing techniques."""

import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import igan.techniques
from igan import models
from igan.config import validate
from igan.data import space
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.game.batches import Resident, gather, make_orders
from igan.run import experiment
from igan.types import Stage, Targets

NEW_FILE = """
import jax
import jax.numpy as jnp
import optax
from igan.game.technique import Technique

def make(stride: float = 1.0) -> Technique:
    def constant(value):
        return optax.stateless(lambda updates, params: jax.tree.map(lambda leaf: jnp.full_like(leaf, value), updates))

    return Technique(
        discriminator_optimizer=lambda optimizer: optax.chain(optimizer, constant(-2 * stride)),
        generator_optimizer=lambda optimizer: optax.chain(optimizer, constant(stride)),
    )
"""


def test_an_unknown_technique_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r"'feature_machting'\. Did you mean 'feature_matching'\? Known: .*minimax"):
        technique.load({"feature_machting": {"enabled": True}})
    with pytest.raises(UserError, match="Did you mean 'minimax'"):
        technique.defaults("minmax")


def test_techniques_keep_the_order_of_the_config():
    configs = {name: technique.defaults(name) | {"enabled": True} for name in ("non_saturating", "feature_matching")}
    assert list(technique.load(configs)) == ["non_saturating", "feature_matching"]
    assert list(technique.load(dict(reversed(configs.items())))) == ["feature_matching", "non_saturating"]


def test_optimisers_are_wrapped_from_the_inside_out():
    def then(change):
        return lambda optimizer: optax.chain(optimizer, optax.stateless(lambda updates, params: change(updates)))

    optimizer = technique.wrap(
        optax.sgd(0.5), [None, then(lambda update: update + 1), then(lambda update: update * 10)]
    )
    updates, _ = optimizer.update(jnp.float32(4), optimizer.init(jnp.float32(0)))
    assert updates == (-2 + 1) * 10


def test_two_techniques_that_want_one_place_are_refused():
    """So are two normalisations of the generator, say, by `technique.layers` and so by `config.validate`."""
    placed = technique.layers(
        {"one": technique.Technique(layers={"generator_norm": max}), "none": technique.Technique()}
    )
    assert placed == {"generator_norm": max}
    one, other = (
        technique.Technique(layers={"generator_norm": layer, place: layer}) for layer, place in ((max, "a"), (min, "b"))
    )
    with pytest.raises(
        UserError, match=r"one and other both want to be the networks' generator_norm: disable"
    ) as error:
        technique.layers({"one": one, "other": other})
    assert "--config.techniques.other.enabled=False" in str(error.value) and "\n" not in str(error.value)


def test_a_config_with_two_techniques_for_one_place_is_refused(small, tmp_path, monkeypatch):
    source = inspect.getsource(importlib.import_module("igan.techniques.virtual_batch_norm"))
    (tmp_path / "another_norm.py").write_text(source)
    monkeypatch.setattr(igan.techniques, "__path__", [*igan.techniques.__path__, str(tmp_path)])
    small.techniques.another_norm = technique.defaults("another_norm")
    small.techniques.virtual_batch_norm.enabled = True
    validate(small)
    small.techniques.another_norm.enabled = True
    with pytest.raises(UserError, match="another_norm and virtual_batch_norm both want to be the networks' gen"):
        validate(small)


@pytest.mark.parametrize("family", models.known())
def test_networks_without_the_place_of_a_layer_are_refused(family, monkeypatch):
    with pytest.raises(UserError, match=rf"networks '{family}' have no place 'attic'.*'{family}' has gen") as error:
        models.load(models.defaults(family), space.images((128, 128, 3)), 3, {"attic": max})
    assert "\n" not in str(error.value)
    monkeypatch.setattr(importlib.import_module(f"igan.models.{family}"), "PLACES", ())
    with pytest.raises(UserError, match=rf"no place 'attic'.*'{family}' has none"):
        models.load(models.defaults(family), space.images((128, 128, 3)), 3, {"attic": max})


def test_targets_are_those_of_the_technique_that_has_some():
    smoothing = technique.Technique(targets=Targets(0.75, 0.5))
    assert technique.targets({}) == technique.targets({"none": technique.Technique()}) == Targets(1.0, 1.0)
    assert technique.targets({"none": technique.Technique(), "smoothing": smoothing}) == Targets(0.75, 0.5)


@pytest.mark.parametrize(
    ("weights", "read"),
    [
        ((1.0, 1.0), {"real", "generator"}),
        ((0.0, 0.5), {"generator"}),
        ((-2.0, 0.0), {"real"}),
        ((0.0, 0.0), set()),
    ],
)
def test_a_loss_without_weight_reads_no_target(weights, read):
    settings = dict(zip(("discriminator_weight", "generator_weight"), weights, strict=True))
    loaded = technique.load({"non_saturating": {"enabled": True} | settings})
    assert loaded["non_saturating"].reads_targets == read


def test_adding_a_technique_is_adding_a_file(small, tmp_path, monkeypatch):
    """The file is found, configured and wrapped around the optimisers of both players."""
    (tmp_path / "stride.py").write_text(NEW_FILE)
    monkeypatch.setattr(igan.techniques, "__path__", [*igan.techniques.__path__, str(tmp_path)])
    assert "stride" in technique.known()
    small.techniques.stride = technique.defaults("stride")
    assert small.techniques.stride.to_dict() == {"enabled": False, "stride": 1.0}
    small.techniques.stride.update(enabled=True, stride=0.25)
    for name in ("semi_supervised", "feature_matching"):
        small.techniques[name].enabled = False
    small.techniques.minimax.generator_weight = 1.0
    small.networks.generator_layers = small.networks.discriminator_layers = (8,)
    small.networks.input_noise = small.networks.hidden_noise = 0.0
    built = experiment.build(small)
    engine = built.engine
    state = engine.initialize(1)
    before = jax.device_get((state.discriminator.params, state.generator.params))
    state, _ = engine.run(state, built.plan.stages[0], 1)
    for player, old, stride in zip((state.discriminator, state.generator), before, (-0.5, 0.25), strict=True):
        moves = jax.tree.map(lambda new, old: np.asarray(new) - old, player.params, old)
        for move in jax.tree.leaves(moves):
            np.testing.assert_allclose(move, stride, atol=1e-5)


def test_a_technique_that_looks_ahead_goes_with_losses_that_need_labels(random):
    def unroll(player, objective, optimizer):
        slopes = jax.grad(objective)(player.params, 0)
        return jax.tree.map(lambda param, slope: param - 0.1 * slope, player.params, slopes)

    images = jnp.asarray(random.integers(0, 256, (20, 2, 2, 1)), jnp.uint8)
    resident = Resident(images, jnp.arange(20) % 3, images, jnp.arange(20) % 3)
    techniques = technique.load({name: {"enabled": True} for name in ("semi_supervised", "non_saturating")})
    techniques |= {"unrolled": technique.Technique(lookahead=unroll)}
    networks = models.load(models.defaults("fully_connected"), space.images((2, 2, 1)), classes=3, layers={})
    game = step.Game(networks, techniques, optax.sgd(0.1), optax.sgd(0.1), optimizer.average_rate(0.1))

    def one_update(key):
        orders = make_orders(key, jnp.int32(0), 1, 20, jnp.int32([1, 2, 3]), Stage(batch_sizes=(4, 4)), steps=(1, 1))
        batches = gather(resident, jax.tree.map(lambda order: order[0], orders), lambda stored: stored / 255)
        return step.update(game, step.initialize(game, key, batches.generator[0].real), batches)

    _, metrics = jax.eval_shape(one_update, jax.random.key(0))  # Traced, not run.
    assert {"d/semi_supervised", "g/non_saturating"} <= metrics.keys()
