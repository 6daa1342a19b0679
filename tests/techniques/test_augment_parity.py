"""One update with each augmentation against PyTorch, which is given the random numbers that igan draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

pytest.importorskip("torch", reason="pip install igan[parity]")

import torch

from igan.game import optimizer, step, technique
from igan.game.technique import Game
from igan.randomness import stream
from igan.techniques.adaptive_augment import Draws
from igan.types import Batch, Batches, Critique, Examples, GameState, Network, Networks, Player
from tests.references import augment_torch

COUNT, SHAPE, LATENT, HIDDEN, RATE, TOLERANCE = 6, (6, 5, 3), 3, 4, 0.5, 1e-4
PIXELS, PROBABILITY = int(np.prod(SHAPE)), 0.7


def draw(*shape: int, seed: int, std: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape) * std


GENERATOR = {"kernel": draw(LATENT, PIXELS, seed=1), "shift": draw(PIXELS, seed=2)}
DISCRIMINATOR = {"kernel": draw(PIXELS, HIDDEN, seed=3, std=0.2), "last": draw(HIDDEN, seed=4)}
LATENTS, REAL = draw(COUNT, LATENT, seed=5), np.tanh(draw(COUNT, *SHAPE, seed=6))


def make_images(params, latents, tanh):
    return tanh(latents @ params["kernel"] + params["shift"]).reshape(len(latents), *SHAPE)


def judge(params, images, tanh):
    return tanh(images.reshape(len(images), PIXELS) @ params["kernel"]) @ params["last"]


NETWORKS = Networks(
    Network(
        lambda *_: ({}, {}),
        lambda params, variables, context, latents: (make_images(params, latents, jnp.tanh), variables),
        lambda *_: "",
    ),
    Network(
        lambda *_: ({}, {}),
        lambda params, variables, context, images: (
            Critique(judge(params, images, jnp.tanh), images.reshape(len(images), PIXELS)),
            variables,
        ),
        lambda *_: "",
    ),
    lambda key, count: jnp.asarray(LATENTS, jnp.float32),
    (-1.0, 1.0),
    convolutional=True,  # Real and generated images one after the other, with the numbers of their own keys.
)


def of_diff_augment(key):
    color, translation, cutout = (stream(key, name) for name in ("color", "translation", "cutout"))
    uniform = {"brightness": (-0.5, 0.5), "saturation": (0.0, 2.0), "contrast": (0.5, 1.5)}
    # An eighth of either side is one pixel; a hole of three rows has its centre on one of 6, of three columns on one of
    # 5: both are odd.
    drawn = {
        name: jax.random.uniform(stream(color, name), (COUNT,), jnp.float32, *ends) for name, ends in uniform.items()
    }
    return drawn | {
        "down": jax.random.randint(stream(translation, "down"), (COUNT,), -1, 2),
        "right": jax.random.randint(stream(translation, "right"), (COUNT,), -1, 2),
        "row": jax.random.randint(stream(cutout, "row"), (COUNT,), 0, 6),
        "column": jax.random.randint(stream(cutout, "column"), (COUNT,), 0, 5),
    }


def of_adaptive_augment(key):
    draws = Draws(key, COUNT, jnp.float32(PROBABILITY))
    height, width, _ = SHAPE
    turns = jnp.float32(1 - np.sqrt(1 - PROBABILITY))  # Of two, so that at least one is made with the probability.
    return {
        "flip": draws.one_of("flip", 2),
        "quarter_turns": draws.one_of("quarter_turns", 4),
        "shift_x": draws.uniform("shift_x", width / 8),
        "shift_y": draws.uniform("shift_y", height / 8),
        "scale": draws.normal("scale", 0.2),
        "stretch": draws.normal("stretch", 0.2),
        "turn_before": draws.uniform("turn_before", np.pi, turns),
        "turn_after": draws.uniform("turn_after", np.pi, turns),
        "fraction_x": draws.normal("fraction_x", 1 / 8),
        "fraction_y": draws.normal("fraction_y", 1 / 8),
        "brightness": draws.normal("brightness", 0.2),
        "contrast": draws.normal("contrast", 0.5),
        "luma_flip": draws.one_of("luma_flip", 2),
        "hue": draws.uniform("hue", np.pi),
        "saturation": draws.normal("saturation", 1.0),
    }


@pytest.mark.parametrize(
    ("name", "settings", "numbers"),
    [("diff_augment", {}, of_diff_augment), ("adaptive_augment", {"initial": PROBABILITY}, of_adaptive_augment)],
)
def test_an_update_is_that_of_pytorch(name, settings, numbers):
    techniques = technique.load({"non_saturating": {"enabled": True}, name: {"enabled": True} | settings})
    descent = optax.sgd(RATE)
    game = Game(NETWORKS, techniques, descent, descent, optimizer.average_rate(0.1))
    real = Examples(jnp.asarray(REAL, jnp.float32))
    players = [
        Player(params, {}, descent.init(params), params)
        for params in (jax.tree.map(jnp.float32, each) for each in (GENERATOR, DISCRIMINATOR))
    ]
    memories = {each: made.init(jax.random.key(1), real) for each, made in techniques.items()}
    state = GameState(jnp.int32(0), jax.random.key(0, impl="unsafe_rbg"), *players, memories)  # Quick to compile.
    with jax.default_matmul_precision("highest"):
        after, _ = jax.jit(functools.partial(step.update, game))(state, Batches((Batch(real),), (Batch(real),)))

    generator, discriminator = (
        {each: torch.tensor(value, requires_grad=True) for each, value in params.items()}
        for params in (GENERATOR, DISCRIMINATOR)
    )

    def seen(player, group, images):
        key = stream(stream(stream(state.key, f"{player}/0", 0), group), name)
        drawn = {each: torch.tensor(np.float64(value)) for each, value in numbers(key).items()}
        return judge(discriminator, getattr(augment_torch, name)(images, drawn), torch.tanh)

    def descend(params, loss):
        for leaf, slope in zip(params.values(), torch.autograd.grad(loss, list(params.values())), strict=True):
            leaf.data -= RATE * slope

    softplus, latents = torch.nn.functional.softplus, torch.tensor(LATENTS)
    fake = make_images(generator, latents, torch.tanh).detach()
    of_real, of_fake = seen("discriminator", "real", torch.tensor(REAL)), seen("discriminator", "fake", fake)
    descend(discriminator, softplus(-of_real).mean() + softplus(of_fake).mean())
    descend(generator, softplus(-seen("generator", "fake", make_images(generator, latents, torch.tanh))).mean())
    for found, expected, before in (
        (after.discriminator.params, discriminator, DISCRIMINATOR),
        (after.generator.params, generator, GENERATOR),
    ):
        for each, value in expected.items():
            np.testing.assert_allclose(found[each], value.detach(), rtol=0, atol=TOLERANCE, err_msg=each)
            assert np.abs(value.detach().numpy() - before[each]).max() > 30 * TOLERANCE
