"""The style networks: the paper's sizes, order of operations, mean of w; how images are drawn is its neighbour's."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import inference, step
from igan.layers.activation import leaky_relu
from igan.layers.norms import no_norm
from igan.layers.resampling import upsample
from igan.layers.style import Epilogue, blur, instance_norm
from igan.types import Batch, Examples, Turn
from tests.contexts import at
from tests.models.growing import (
    FADES,
    assert_an_update_agrees,
    assert_bfloat16_is_near,
    context_of,
    counts,
    game_at,
    networks_of,
    techniques,
)
from tests.models.styles import OF_STYLEGAN, SMALL, mapped, sample, small


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    assert_bfloat16_is_near(player, techniques(**OF_STYLEGAN), "style", **SMALL)


@pytest.mark.parametrize(
    ("side", "expected"),
    [(32, (22_841_356, 20_726_785)), (128, (25_843_858, 22_941_313)), (1024, (26_219_627, 23_087_249))],
)
def test_they_have_the_papers_parameters(side, expected):
    """26.2 million in the paper, of which 2,101,248 map."""
    networks = networks_of(techniques(**OF_STYLEGAN), (side, side, 3), "style")
    assert counts(networks, (side, side, 3)) == expected
    context, latents = context_of(networks.stages[-1]), jax.ShapeDtypeStruct((2, 512), jnp.float32)
    params, _ = jax.eval_shape(lambda latents: networks.generator.init(context, latents), latents)
    assert sum(leaf.size for leaf in jax.tree.leaves(params["mapping"])) == 2_101_248
    assert networks.stages[0].name == "8 px"


@pytest.mark.parametrize(("index", "at_step"), FADES)
def test_an_update_agrees_with_torch(index, at_step):
    pytest.importorskip("torch", reason="pip install igan[parity]")
    from tests.references import growing_torch

    def play(arrays, images, latents, key, *rest):
        return growing_torch.play_styled(arrays, images, latents, *rest)

    networks = small(noise=False)[0]
    assert_an_update_agrees(techniques(**OF_STYLEGAN), networks, index, at_step, 8, play)


def test_the_order_of_what_follows_a_convolution(random):
    """Noise, bias, rectifier, instance norm, style with 1 + scale: any other order has other numbers."""
    features = random.normal(size=(2, 4, 4, 3))
    strength, bias, style, noise = (random.normal(size=shape) for shape in (3, 3, (2, 6), (2, 4, 4, 1)))
    layer = Epilogue(True, leaky_relu, no_norm, lambda size: lambda w, context: jnp.asarray(style), 7)
    with jax.enable_x64(True):
        params = {"strength": jnp.asarray(strength), "bias": jnp.asarray(bias)}
        given = lambda number, shape: jnp.asarray(noise) if number == 7 else None  # noqa: E731
        found = layer.apply({"params": params}, jnp.asarray(features), None, given, at(train=False))
    values = features + strength * noise + bias
    values = np.where(values >= 0, values, 0.2 * values)
    mean, variance = values.mean((1, 2), keepdims=True), values.var((1, 2), keepdims=True)
    values = (values - mean) / np.sqrt(variance + 1e-8)
    expected = values * (1 + style[:, None, None, :3]) + style[:, None, None, 3:]
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-10)


def test_the_first_layer_is_its_shift_alone_at_the_start():
    """The constant is one everywhere, so that its instance norm is zero: a dead start that noise and bias end."""
    np.testing.assert_array_equal(instance_norm(jnp.ones((2, 4, 4, 3))), 0)
    networks, _, variables, latents = small()
    params, _ = networks.generator.init(context_of(networks.stages[-1]), latents)
    np.testing.assert_array_equal(params["constant"], 1)
    seen = {}

    def watch(call, inputs, named, context):
        outputs = call(*inputs, **named)
        if context.method_name == "__call__":
            seen["/".join(context.module.path)] = outputs
        return outputs

    with nn.intercept_methods(watch):
        networks.generator.apply(params, variables, context_of(networks.stages[0]), latents)
    shift = np.split(seen["epilogue_0/Affine_0"], 2, axis=1)[1]
    assert np.ptp(shift) > 0.1
    np.testing.assert_array_equal(seen["epilogue_0"], np.broadcast_to(shift[:, None, None], (4, 4, 4, 6)))
    for number in range(6):
        np.testing.assert_array_equal(params[f"epilogue_{number}"]["strength"], 0)
    # And images do not depend on the noise.
    context = context_of(networks.stages[-1])
    made = [
        networks.generator.apply(params, variables, dataclasses.replace(context, key=jax.random.key(seed)), latents)[0]
        for seed in (1, 2)
    ]
    np.testing.assert_array_equal(*made)


def test_blurred_pixels_keep_a_constant_image_constant_inside():
    """The filter has the sum one, and repeated pixels need no factor four."""
    smooth = blur(upsample(jnp.full((1, 4, 4, 2), 3.0)))
    np.testing.assert_array_equal(smooth[:, 1:-1, 1:-1], 3.0)
    np.testing.assert_array_equal(smooth[:, 0, 1:-1], 3.0 * 0.75)  # Zeros are around it.


def test_repeated_and_blurred_is_the_bilinear_upsampling(random):
    images = random.normal(size=(1, 5, 5, 1)).astype(np.float32)
    torch = pytest.importorskip("torch", reason="pip install igan[parity]")
    given = torch.tensor(images.transpose(0, 3, 1, 2))
    expected = torch.nn.functional.interpolate(given, scale_factor=2, mode="bilinear", align_corners=False)
    found = blur(upsample(jnp.asarray(images)))
    np.testing.assert_allclose(found[0, 1:-1, 1:-1, 0], expected[0, 0, 1:-1, 1:-1], atol=1e-6)


def test_the_mapping_network_learns_at_a_hundredth_of_the_rate():
    loaded = techniques(equalized_rate={})
    networks = networks_of(loaded, (8, 8, 3), "style", **(SMALL | {"latent_size": 512, "mapping_width": 512}))
    latents = networks.sample_latents(jax.random.key(1), 4)
    params, variables = networks.generator.init(context_of(networks.stages[-1]), latents)
    descent, mapping = optax.adam(1e-3), params["mapping"]
    moves, _ = descent.update(jax.tree.map(jnp.ones_like, mapping), descent.init(mapping))
    moved = {**params, "mapping": optax.apply_updates(mapping, moves)}
    seen = []

    def watch(call, inputs, named, context):
        outputs = call(*inputs, **named)
        if context.method_name == "weights" and "mapping" in context.module.path:
            seen.append(np.asarray(outputs))
        return outputs

    with nn.intercept_methods(watch):
        for each in (params, moved):
            networks.generator.apply(each, variables, context_of(networks.stages[-1], train=False), latents)
    (kernel, _, after, _), scale = seen, math.sqrt(2 / 512)  # Of two layers.
    assert np.std(kernel) == pytest.approx(scale, rel=0.01)
    assert np.median(np.abs(after - kernel)) == pytest.approx(1e-3 * 0.01 * scale, rel=0.02)


def test_the_mean_of_w_is_that_of_the_first_latents_in_each_step_of_the_generator():
    """mean <- 0.995 mean + 0.005 batch mean, whatever is mixed; the discriminator's step leaves it as it is."""
    networks, params, variables, latents = small(mixing=True)
    stage = networks.stages[-1]
    sample_w = jax.vmap(lambda z: mapped(params, z))
    expected = np.zeros(4)
    for index in range(3):
        given = latents * (index + 1) + index
        expected = 0.995 * expected + 0.005 * np.mean(sample_w(given), axis=0)
        variables = networks.generator.apply(params, variables, context_of(stage), given)[1]
    np.testing.assert_allclose(variables["averages"]["w"], expected, rtol=1e-5, atol=1e-8)
    kept = inference.freeze(networks, params, variables, context_of(stage).turn, jax.random.key(0), 4)
    np.testing.assert_array_equal(kept["averages"]["w"], variables["averages"]["w"])
    sampled = networks.generator.apply(params, variables, context_of(stage, train=False), latents)[1]
    np.testing.assert_array_equal(sampled["averages"]["w"], variables["averages"]["w"])


def test_latents_have_the_lengths_that_they_are_drawn_with_where_nothing_normalises_them():
    made = {}
    for normalizes in (True, False):
        networks, params, variables, latents = small(normalize_latents=normalizes)
        images = (sample(networks, params, variables, factor * latents, noise=0) for factor in (1, 3))
        made[normalizes] = np.abs(np.subtract(*images)).max()
    assert made[True] < 1e-3 and made[False] > 0.1


def test_the_mean_of_w_moves_as_fast_as_it_is_asked_to():
    networks, params, variables, latents = small(mean_decay=0.5)
    after = networks.generator.apply(params, variables, context_of(networks.stages[0]), latents)[1]
    expected = 0.5 * np.mean(jax.vmap(lambda z: mapped(params, z))(latents), axis=0)
    np.testing.assert_allclose(after["averages"]["w"], expected, rtol=1e-5, atol=1e-8)


def test_features_without_a_constant_begin_as_those_of_progressive_do():
    """Its dense layer has the gain sqrt(2) / 4 (Karras et al. 2018, the released code): row B differs in blur alone."""
    plain = {"mapping_layers": 0, "styles_of_layers": False, "constant_input": False, "noise": False}
    networks = networks_of(techniques(equalized_rate={}), (8, 8, 3), "style", **(SMALL | plain | {"latent_size": 512}))
    latents, seen = networks.sample_latents(jax.random.key(1), 8), []
    params, variables = networks.generator.init(context_of(networks.stages[-1]), latents)

    def watch(call, inputs, named, context):
        outputs = call(*inputs, **named)
        if context.method_name == "smallest":
            seen.append(outputs)
        return outputs

    with nn.intercept_methods(watch):
        networks.generator.apply(params, variables, context_of(networks.stages[0], train=False), latents)
    assert np.std(seen[0]) == pytest.approx(math.sqrt(2) / 4, rel=0.15)


def test_networks_without_each_step_of_the_table_play_too():
    plain = {"mapping_layers": 0, "styles_of_layers": False, "constant_input": False, "noise": False}
    for changes, has in (
        (plain, set()),
        ({"constant_input": False, "noise": False}, {"mapping", "Affine_0"}),
        ({"noise": False}, {"mapping", "Affine_0", "constant"}),
        ({}, {"mapping", "Affine_0", "constant", "strength"}),
    ):
        networks, params, variables, latents = small(**changes)
        assert np.isfinite(sample(networks, params, variables, latents)).all()
        assert {"mapping", "constant", "Affine_0", "strength"} & {*params, *params["epilogue_0"]} == has
        offered = ("psi", "psi_layers") * ("Affine_0" in has) + ("noise",) * ("strength" in has)
        assert networks.options == set(offered)


def test_the_mean_of_w_stays_while_the_discriminator_plays():
    networks = small()[0]
    game, state = game_at(networks, techniques(non_saturating={}), 1e-3, 3, first=8)
    real = Batch(Examples(jax.random.normal(jax.random.key(0), (4, 16, 16, 3))))
    turn = Turn(jnp.int32(3), jnp.int32(3), networks.stages[0])
    after, _ = jax.jit(
        lambda state: step.update_discriminator(game, state, turn, jax.random.key(1), real),
    )(state)
    before, found = (each.generator.variables["averages"]["w"] for each in (state, after))
    np.testing.assert_array_equal(found, before)
    moved = zip(*(jax.tree.leaves(each.discriminator.params) for each in (state, after)), strict=True)
    assert any(np.any(one != other) for one, other in moved)


BAD = {
    "no mapping": ({"mapping_layers": -1}, "mapping_layers"),
    "no rate": ({"mapping_rate": 0.0}, "mapping_rate"),
    "not a rate": ({"mapping_rate": float("nan")}, "mapping_rate"),
    "a mean that stands still": ({"mean_decay": 1.0}, "mean_decay"),
    "a constant without styles": ({"styles_of_layers": False}, "styles_of_layers"),
    "no width": ({"mapping_width": 0}, "mapping_width"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(case):
    settings, expected = BAD[case]
    with pytest.raises(UserError, match=expected) as caught:
        models.load({"name": "style", **settings}, space.images((32, 32, 3)), None, {})
    assert "\n" not in str(caught.value)


def test_a_norm_beside_styles_is_refused_and_without_them_it_is_there():
    """Instead of being left out without a word: styles have a norm of their own."""
    norm, shape = techniques(pixel_norm={}), (16, 16, 3)
    with pytest.raises(UserError, match=r"pixel_norm.*styles_of_layers=False") as caught:
        networks_of(norm, shape, "style", **SMALL)
    assert "\n" not in str(caught.value)
    plain = SMALL | {"mapping_layers": 0, "styles_of_layers": False, "constant_input": False, "noise": False}
    made = [networks_of(loaded, shape, "style", **plain) for loaded in (norm, {})]
    latents = made[0].sample_latents(jax.random.key(1), 2)
    params, variables = made[0].generator.init(context_of(made[0].stages[-1]), latents)
    assert np.abs(np.subtract(*(sample(each, params, variables, latents) for each in made))).max() > 0.01
