"""How images of styles are drawn: truncation, crossover, the way between two, noise, mixing."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from igan.game import step, technique
from igan.layers.style import keys_of
from igan.layers.truncation import drawn_to_mean
from igan.types import Batch, Batches, Examples
from tests.models.growing import (
    context_of,
    game_at,
    networks_of,
    techniques,
)
from tests.models.styles import OF_STYLEGAN, SMALL, mapped, sample, small


def test_truncation_by_level_by_hand():
    """The first two of three layers: mean + psi (w - mean)."""
    w, mean = jnp.asarray([[3.0, -1.0]]), jnp.asarray([1.0, 1.0])
    found = drawn_to_mean(w, mean, 3, psi=0.25, psi_layers=2)
    np.testing.assert_array_equal(found, [[[1.5, 0.5], [1.5, 0.5], [3.0, -1.0]]])
    np.testing.assert_array_equal(drawn_to_mean(w, mean, 2, psi=0.0), [[[1.0, 1.0]] * 2])


def test_truncation_draws_styles_to_their_mean():
    networks, params, variables, latents = small()
    variables = {"averages": {"w": jnp.asarray([0.3, -0.2, 0.1, 0.5])}}
    images = functools.partial(sample, networks, params, variables, latents, noise=0)
    np.testing.assert_array_equal(images(), images(psi=1))
    still = images(psi=0)
    np.testing.assert_allclose(still, np.broadcast_to(still[:1], still.shape), atol=1e-5)
    np.testing.assert_array_equal(images(psi=0, psi_layers=0), images())
    np.testing.assert_array_equal(images(psi=0.5, psi_layers=6), images(psi=0.5))  # Six layers at 16 pixels.
    spreads = [np.std(images(psi=psi), axis=0).mean() for psi in (1, 0.5, 0.1)]
    assert spreads[0] > spreads[1] > spreads[2] > 0
    coarse, fine = images(psi=0, psi_layers=2), images(psi=0)
    assert np.std(coarse, axis=0).mean() > np.std(fine, axis=0).mean()


def test_layers_before_the_crossover_have_the_styles_of_the_first_latents():
    networks, params, variables, latents = small()
    images = functools.partial(sample, networks, params, variables)
    twice, swapped = jnp.concatenate([latents, latents]), jnp.concatenate([latents, latents[::-1]])
    np.testing.assert_allclose(images(twice, crossover=3), images(latents), atol=1e-5)
    np.testing.assert_allclose(images(swapped, crossover=6), images(latents), atol=1e-5)  # All six layers.
    np.testing.assert_allclose(images(swapped, crossover=0, noise=0), images(latents[::-1], noise=0), atol=1e-5)
    mixed = images(swapped, crossover=4)
    assert np.abs(mixed - images(latents)).max() > 0.1


def test_images_on_the_way_have_the_styles_between():
    networks, params, variables, latents = small()
    images = functools.partial(sample, networks, params, variables)
    both = jnp.concatenate([latents, latents[::-1]])
    np.testing.assert_allclose(images(both, between=jnp.zeros(4)), images(latents), atol=1e-5)
    np.testing.assert_allclose(images(both, between=jnp.ones(4), noise=0), images(latents[::-1], noise=0), atol=1e-4)
    # A quarter of the way from the first to the last is three quarters of the way back.
    there = images(both, between=jnp.asarray([0.25, 0.6, 0.4, 0.75]), noise=0)
    np.testing.assert_allclose(there, there[::-1], atol=1e-4)
    assert np.abs(there[0] - there[1]).max() > 0.1
    still = images(both, between=jnp.full(4, 0.5), psi=0, noise=0)
    np.testing.assert_allclose(still, np.broadcast_to(still[:1], still.shape), atol=1e-5)


def test_noise_in_sampling_is_of_each_image_whatever_batch_it_is_in():
    networks, params, variables, latents = small()
    images = functools.partial(sample, networks, params, variables)
    np.testing.assert_allclose(images(latents)[2:], images(latents[2:]), atol=1e-4)
    none, own, same = (images(latents, noise=kind) for kind in (0, 1, 2))
    assert np.abs(own - none).max() > 0.1 and np.abs(same - none).max() > 0.1
    np.testing.assert_array_equal(own, images(latents))
    twice = jnp.stack([latents[0], latents[0] + 1e-3])
    apart = [np.abs(np.diff(images(twice, noise=kind), axis=0)).max() for kind in (1, 2)]
    assert apart[0] > 10 * apart[1]


def test_noise_in_training_is_drawn_for_each_layer_and_image(monkeypatch):
    networks, params, variables, latents = small()
    drawn, plain = [], jax.random.normal
    monkeypatch.setattr("jax.random.normal", lambda *args, **named: drawn.append(out := plain(*args, **named)) or out)
    networks.generator.apply(params, variables, context_of(networks.stages[-1]), latents)
    assert [each.shape for each in drawn] == [(4, side, side, 1) for side in (4, 4, 8, 8, 16, 16)]
    for one, other in ((drawn[2], drawn[3]), (drawn[4], drawn[5])):
        assert abs(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]) < 0.2
    assert abs(np.corrcoef(np.ravel(drawn[4][0]), np.ravel(drawn[4][1]))[0, 1]) < 0.3


def seen_of_layers(networks, params, variables, context, latents, kind: str = "Affine") -> dict[int, Any]:
    """What each layer's module of this kind is called with, by the layer's number."""
    seen = {}

    def watch(call, inputs, named, context):
        if context.method_name == "__call__" and type(context.module).__name__ == kind:
            seen[int(next(part for part in context.module.path if "epilogue" in part).split("_")[1])] = inputs
        return call(*inputs, **named)

    with nn.intercept_methods(watch):
        networks.generator.apply(params, variables, context, latents)
    return seen


def test_each_layer_has_the_w_of_its_own_number():
    """Crossed one layer too late, or with psi forgotten, images look mixed as well."""
    networks, params, variables, latents = small()
    mean = jnp.asarray([0.3, -0.2, 0.1, 0.5])
    variables = {"averages": {"w": mean}}
    halfway = jax.vmap(lambda z: (mapped(params, z) + mean) / 2)
    one, other = halfway(latents), halfway(latents[::-1])
    both = jnp.concatenate([latents, latents[::-1]])
    for place in (1, 2, 3):
        context = context_of(networks.stages[0], train=False, crossover=place, psi=0.5)
        seen = seen_of_layers(networks, params, variables, context, both)
        assert sorted(seen) == [0, 1, 2, 3]
        for number, (w, _) in seen.items():
            np.testing.assert_allclose(w, one if number < place else other, rtol=1e-4, atol=1e-5)


def test_mixed_layers_have_the_w_of_other_latents_that_are_drawn_anew_in_each_step(monkeypatch):
    """The layers before the crossover have those of the batch; the place and the others depend on the step's key."""
    networks, params, variables, latents = small(mixing=True)
    sample_w = jax.vmap(lambda z: mapped(params, z))
    drawn, plain = [], jax.random.normal
    monkeypatch.setattr("jax.random.normal", lambda *args, **named: drawn.append(out := plain(*args, **named)) or out)
    places, others = set(), []
    for seed in range(6):
        drawn.clear()
        context = dataclasses.replace(context_of(networks.stages[0]), key=jax.random.key(seed))
        seen = seen_of_layers(networks, params, variables, context, latents)
        (other,) = (each for each in drawn if each.shape == latents.shape)
        is_first = [np.allclose(seen[number][0], sample_w(latents), atol=1e-4) for number in range(4)]
        places.add(place := sum(is_first))
        assert is_first == [True] * place + [False] * (4 - place)
        np.testing.assert_allclose(seen[3][0], sample_w(other), rtol=1e-4, atol=1e-5)
        others.append(other)
    assert len(places) > 1 and np.all(others[0] != others[1])


def test_noise_in_sampling_is_of_each_layer_and_of_the_whole_latent():
    """Two layers of a size with one map between them would show the same grain twice."""
    networks, params, variables, latents = small()
    for kind in (1, 2):
        context = context_of(networks.stages[0], train=False, noise=kind)
        seen = seen_of_layers(networks, params, variables, context, latents, "Epilogue")
        maps = [np.ravel(draw(number, (4, 16, 16, 1))[0]) for number, (_, _, draw, _) in seen.items()]
        assert np.abs(np.corrcoef(maps) - np.eye(4)).max() < 0.2
    keys = jax.random.key_data(keys_of(jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])))
    assert len(np.unique(keys, axis=0)) == 4


def test_noise_in_training_reaches_the_images():
    """Once its strengths are not the zeros that they begin as."""
    networks, params, variables, latents = small()
    contexts = (dataclasses.replace(context_of(networks.stages[0]), key=jax.random.key(seed)) for seed in (1, 2))
    one, other = (networks.generator.apply(params, variables, context, latents)[0] for context in contexts)
    assert np.all(np.abs(one - other).max((1, 2, 3)) > 0.1)


def test_an_early_stage_mixes_the_layers_that_it_has_reached():
    """Four at 8 pixels, six from the first update on in which 16 fade in."""
    seen = []

    def styles(key, first, other, layers):
        seen.append(layers)
        return jnp.broadcast_to(first[:, None], (len(first), layers, first.shape[-1]))

    spy = {"spy": technique.Technique(layers={"generator_styles": lambda: styles})}
    networks, (_, params, variables, latents) = (
        networks_of(techniques(**OF_STYLEGAN) | spy, (16, 16, 3), "style", **SMALL),
        small(),
    )
    for stage in networks.stages:
        networks.generator.apply(params, variables, context_of(stage), latents)
    assert seen == [4, 6, 6]


def test_mixed_images_play_an_update():
    networks = small(mixing=True)[0]
    loaded = techniques(**OF_STYLEGAN, style_mixing={"probability": 0.9})
    game, state = game_at(networks, loaded, 1e-3, 33, first=8)
    real = Batch(Examples(jax.random.normal(jax.random.key(0), (4, 16, 16, 3))))
    update = jax.jit(
        lambda state: step.update(game, state, Batches((real,), (real,)), networks.stages[-1]),
    )
    after, metrics = update(state)
    assert all(np.isfinite(value) for value in metrics.values())
    before = state.generator.variables["averages"]["w"]
    assert np.any(after.generator.variables["averages"]["w"] != before)
