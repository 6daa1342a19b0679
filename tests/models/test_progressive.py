"""The networks that grow: their sizes, stages and fades against the paper's, and an update against PyTorch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import step
from igan.game.stages import complete_stages
from igan.layers.resampling import mean_pool, upsample
from igan.models import growth
from igan.models.progressive import First, Up
from igan.randomness import stream
from igan.types import Batch, Batches, Examples, Stage, Turn
from tests.models.growing import (
    FADES,
    OF_PGGAN,
    SMALL,
    assert_an_update_agrees,
    assert_bfloat16_is_near,
    context_of,
    counts,
    game_at,
    networks_of,
    techniques,
)

CIFAR10 = {"latent_size": 128, "base": 4096, "most": 128}


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_bfloat16_gives_float32_outputs_near_those_of_float32(player):
    assert_bfloat16_is_near(player, techniques(**OF_PGGAN), "progressive", **SMALL)


@pytest.fixture(scope="module")
def small():
    """Networks up to 8 pixels with all techniques of the recipe, and their parameters."""
    networks = networks_of(techniques(**OF_PGGAN), (8, 8, 3), **SMALL)
    context = context_of(networks.stages[-1])
    latents, images = networks.sample_latents(jax.random.key(1), 4), jax.random.normal(jax.random.key(2), (4, 8, 8, 3))
    return networks, *(
        network.init(context, given)[0]
        for network, given in ((networks.generator, latents), (networks.discriminator, images))
    ), latents, images  # fmt: skip


@pytest.mark.parametrize(
    ("side", "settings", "expected"),
    [
        (1024, {}, (23_079_115, 23_087_249)),  # 23.1 million each in the paper.
        (128, {}, (22_933_394, 22_941_313)),
        (128, {"base": 2048}, (13_629_810, 13_636_897)),
        (32, CIFAR10, (1_296_908, 1_298_689)),
    ],
)
def test_they_have_the_papers_parameters(side, settings, expected):
    assert counts(networks_of(techniques(**OF_PGGAN), (side, side, 3), **settings), (side, side, 3)) == expected


def test_the_schedule_is_the_papers():
    """First 4 pixels for k thousand images, then 8 pixels fade in over as many."""
    batches = (128, 128, 128, 64, 32, 16)
    for size in ((16,), batches):
        made = complete_stages(growth.stages(4, 128, 600_000, 600_000, size), (1, 1), (1, 1))
        assert [stage.name for stage in made[:4]] == ["4 px", "8 px fading in", "8 px", "16 px fading in"]
        assert len(made) == 2 * 6 - 1
        for stage in made:
            assert stage.consumed[0] == pytest.approx(600_000 * stage.index, rel=0.01)
            side = growth.side_at(stage, 4)
            assert stage.name.startswith(f"{side} px") and growth.fades(stage) == ("fading" in stage.name)
            assert stage.batch_sizes == ((size * 6)[:6][int(np.log2(side)) - 2],) * 2
            assert stage.updates % 10 == 0  # So that chunks are alike.
    sixteen = complete_stages(growth.stages(4, 128, 600_000, 600_000, (16,)), (1, 1), (1, 1))
    now = 900_000 // 16
    (reached,) = [stage for stage in sixteen if stage.start <= now < stage.start + stage.updates]
    assert growth.side_at(reached, 4) == 8
    assert growth.share(Turn(jnp.int32(now), jnp.int32(now), reached)) == pytest.approx(0.5, abs=1e-4)


def test_a_game_of_32_pixels_has_seven_stages():
    """Each of which is one program: see `tests/run/test_growing.py`."""
    assert len(growth.stages(4, 32, 1, 1, ())) == 7
    assert [growth.side_at(Stage(index), 8) for index in range(3)] == [8, 16, 16]


@pytest.mark.parametrize(("images", "batch"), [(37, 4), (999, 16), (600_000, 128), (600_000, 512), (400_000, 16)])
def test_a_length_is_a_round_number_of_updates(images, batch):
    (first, second) = complete_stages([Stage(images=images), Stage(1)], (batch, batch), (1, 1))
    assert first.updates == second.start == pytest.approx(images / batch, rel=0.011, abs=0.51)
    if first.updates > 500:
        assert first.updates % 10 == 0


def test_real_images_fade_in_as_their_resolution_does(random):
    images = jnp.asarray(random.normal(size=(2, 8, 8, 3)), jnp.float32)
    fading, there = Stage(1, start=10, updates=20), Stage(2, start=30)

    def at(step: int, stage: Stage):
        return growth.real_images(images, Turn(jnp.int32(step), jnp.int32(step), stage), first=4)

    blurred = upsample(mean_pool(images))
    np.testing.assert_array_equal(at(10, fading), blurred)
    np.testing.assert_allclose(at(15, fading), 0.75 * blurred + 0.25 * images, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(at(30, there), images)
    np.testing.assert_array_equal(at(0, Stage()), mean_pool(images))


def test_a_fade_begins_with_what_was_there(small):
    """G_new(z) = up(G_old(z)) and D_new(x) = D_old(pool(x)), exactly, in the first update of the fade."""
    networks, generator, discriminator, latents, images = small
    contexts = [context_of(stage) for stage in networks.stages]
    old, new = (networks.generator.apply(generator, {}, at, latents)[0] for at in contexts[:2])
    np.testing.assert_array_equal(new, upsample(old))
    old, new = (
        networks.discriminator.apply(discriminator, {}, at, given)[0].logits
        for at, given in zip(contexts[:2], (mean_pool(images), images), strict=True)
    )
    np.testing.assert_array_equal(new, old)


def test_a_fade_ends_where_the_next_stage_begins(small):
    networks, generator, discriminator, latents, images = small
    fading, there = networks.stages[1:]
    contexts = [context_of(fading, there.start), context_of(there)]
    made = [networks.generator.apply(generator, {}, at, latents)[0] for at in contexts]
    np.testing.assert_allclose(*made, atol=1e-6)
    said = [networks.discriminator.apply(discriminator, {}, at, images)[0].logits for at in contexts]
    np.testing.assert_allclose(*said, atol=1e-6)


def test_images_at_the_start_have_the_deviation_of_their_gain():
    """1, of the last layer: its inputs have a mean square of 1. He's gain would make it 1.41."""
    networks = networks_of(techniques(**OF_PGGAN), (8, 8, 3), base=512, most=256, latent_size=64)
    context, latents = context_of(networks.stages[-1]), networks.sample_latents(jax.random.key(1), 64)
    params, _ = networks.generator.init(context, latents)
    images, _ = networks.generator.apply(params, {}, context, latents)
    assert np.std(images) == pytest.approx(1.0, rel=0.15)  # All gains are in the reference of an update, below.


def test_all_layers_but_the_last_leave_a_mean_square_of_one(small):
    """As they leave a resolution, and as the second convolution of each finds them."""
    networks, generator, _, latents, _ = small
    seen = []

    def watch(call, inputs, named, context):
        outputs, module = call(*inputs, **named), context.module
        if context.method_name == "__call__" and isinstance(module, First | Up):
            seen.append(outputs)
        elif context.method_name == "__call__" and isinstance(module.parent, First | Up) and module.name[-2:] == "_1":
            seen.append(inputs[0])
        return outputs

    with nn.intercept_methods(watch):
        networks.generator.apply(generator, {}, context_of(networks.stages[-1]), latents)
    assert len(seen) == 4  # Of two resolutions, two each.
    for features in seen:
        np.testing.assert_allclose(jnp.mean(features**2, -1), 1, atol=1e-5)


def test_drift_is_of_real_images_alone():
    """D = c: the losses are epsilon c^2, of drift, and 10, of the penalty."""
    loaded = techniques(wasserstein={"clipping": False}, gradient_penalty={}, drift={})
    networks = networks_of(loaded, (8, 8, 3), **SMALL)
    game, state = game_at(networks, loaded, 0.1, 25)
    constant = jax.tree.map(jnp.zeros_like, state.discriminator.params)
    constant["last"]["WeightLayer_2"]["bias"] = jnp.full((1,), 3.0)
    state = state._replace(discriminator=state.discriminator._replace(params=constant))
    real = Batch(Examples(jax.random.normal(jax.random.key(0), (4, 8, 8, 3))))
    turn = Turn(jnp.int32(25), jnp.int32(25), networks.stages[1])
    found = step.discriminator_slope(game, state, turn, jax.random.key(1), real).metrics
    assert found["d/wasserstein"] == 0 and found["d/gradient_penalty"] == 10
    assert found["d/drift"] == pytest.approx(9e-3)


def test_what_is_not_reached_yet_stays_as_it_is_and_comes_in_with_a_step_of_the_rate():
    """Adam's memory begins anew in each stage: else the first step of a new layer is a dozen times too large."""
    loaded = techniques(**OF_PGGAN)
    networks = networks_of(loaded, (8, 8, 3), **SMALL)
    game, state = game_at(networks, loaded, 0.1, 9)
    adam = optax.adam(1e-3, b1=0.0, b2=0.99)
    game = game._replace(generator_optimizer=adam, discriminator_optimizer=adam)
    state = state._replace(
        **{
            name: player._replace(opt_state=adam.init(player.params), average=player.params)
            for name in ("generator", "discriminator")
            for player in [getattr(state, name)]
        }
    )
    real = Batch(Examples(jax.random.normal(jax.random.key(0), (4, 8, 8, 3))))
    stages = networks.stages
    assert stages[1].start == 10
    update = jax.jit(
        lambda state, stage: step.update(game, state, Batches((real,), (real,)), stage),
        static_argnums=1,
    )
    first, _ = update(state, stages[0])
    second, _ = update(first, stages[1])
    third, _ = update(second, stages[1])
    for name in ("up_8", "to_images_8"):
        before, during, at_once, after = (
            jax.tree.leaves(each.generator.params[name]) for each in (state, first, second, third)
        )
        for ones, others in zip(before, during, strict=True):
            np.testing.assert_array_equal(ones, others)
        moves = [np.abs(b - a).max() for a, b in zip(at_once, after, strict=True)]
        assert all(0 < move <= 1.5e-3 for move in moves), moves


@pytest.mark.parametrize(("index", "at_step"), FADES)
def test_an_update_agrees_with_torch(index, at_step):
    torch = pytest.importorskip("torch", reason="pip install igan[parity]")
    from tests.references import growing_torch

    loaded = techniques(**OF_PGGAN)

    def play(arrays, images, latents, key, *rest):
        shares = jax.random.uniform(stream(key, "techniques/gradient_penalty"), (4, 1, 1, 1))
        return growing_torch.play(arrays, images, latents, torch.tensor(np.float64(shares)), *rest)

    assert_an_update_agrees(loaded, networks_of(loaded, (8, 8, 3), **SMALL), index, at_step, 4, play)


BAD = {
    "28 pixels": ((28, 28, 1), {}, "--config.data.image_size=32"),
    "not a square": ((32, 16, 3), {}, "squares"),
    "a resolution in between": ((64, 64, 3), {"resolution": 48}, "4 times a power of two"),
    "smaller than the last stage": ((32, 32, 3), {"resolution": 64}, r"smaller than the last stage.*resolution=32"),
    "a beginning after the end": ((32, 32, 3), {"first_resolution": 64}, "first_resolution"),
    "no images": ((32, 32, 3), {"train_images": 0}, "train_images"),
    "part of an image": ((32, 32, 3), {"fade_images": 2.5}, "fade_images"),
    "not a number": ((32, 32, 3), {"fade_images": float("nan")}, "fade_images"),
    "an empty batch": ((32, 32, 3), {"batch_sizes": (16, 0)}, "batch_sizes"),
    "no channels": ((32, 32, 3), {"base": 0}, "base"),
    "infinitely many": ((32, 32, 3), {"most": float("inf")}, "most"),
    "no latents": ((32, 32, 3), {"latent_size": 0}, "latent_size"),
    "another precision": ((32, 32, 3), {"precision": "float16"}, "precision"),
}


@pytest.mark.parametrize("family", ["progressive", "style"])
@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(case, family):
    shape, settings, expected = BAD[case]
    with pytest.raises(UserError, match=expected) as caught:
        models.load({"name": family, **settings}, space.images(shape), None, {})
    assert "\n" not in str(caught.value)


def test_larger_images_are_made_as_small_as_the_last_stage(random):
    networks = networks_of({}, (16, 16, 1), resolution=8, **SMALL)
    images = jnp.asarray(random.normal(size=(2, 16, 16, 1)), jnp.float32)
    turn = Turn(jnp.int32(50), jnp.int32(50), networks.stages[-1])
    np.testing.assert_array_equal(networks.at_stage(images, turn), mean_pool(images))
