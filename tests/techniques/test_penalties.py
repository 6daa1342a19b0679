"""Whole updates with each gradient penalty agree with PyTorch's autograd, in float64.

The discriminator is a strided convolution, leaky rectifiers and a curved end; shares and noise are igan's own, from its
named streams.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.game import optimizer, step, technique
from igan.game.technique import Game
from igan.layers.activation import leaky_relu
from igan.layers.convolution import conv
from igan.randomness import stream
from igan.types import Batch, Batches, Context, Critique, Examples, Network, Networks
from tests.game.smallest import OBJECTIVE

torch = pytest.importorskip("torch", reason="pip install igan[parity]")

COUNT, SIDE, CHANNELS, WIDTH, LATENT = 5, 6, 2, 4, 3
PIXELS = SIDE * SIDE * CHANNELS
RATE = 0.05
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "gradient_penalty": [{}, {"sides": "one", "target": 0.3}, {"target": 0.0, "strength": 2.0}],
    "dragan": [{}],
    "r1": [{}, {"gamma": 0.5, "interval": 4}],
    "r2": [{}],
}


def generate(params: Any, variables: Any, context: Context, latents: jax.Array) -> tuple:
    return jnp.tanh(latents @ params).reshape(-1, SIDE, SIDE, CHANNELS), variables


def judge(params: Any, variables: Any, context: Context, images: jax.Array) -> tuple:
    hidden = leaky_relu(conv(images, params["first"], 2, 1))
    features = jnp.tanh(conv(hidden, params["second"], 1, 1)).reshape(len(images), -1)
    return Critique(features @ params["last"], features), variables


def torch_judge(params: Any, images: Any) -> Any:
    """Images [n, h, w, c], kernels [h, w, in, out]; the last layer's inputs in the order of igan's."""
    first, second = (params[name].permute(3, 2, 0, 1) for name in ("first", "second"))
    hidden = torch.nn.functional.conv2d(images.permute(0, 3, 1, 2), first, stride=2, padding=1)
    hidden = torch.nn.functional.leaky_relu(hidden, 0.2)
    hidden = torch.tanh(torch.nn.functional.conv2d(hidden, second, padding=1))
    return hidden.permute(0, 2, 3, 1).flatten(1) @ params["last"]


def initial(random: np.random.Generator) -> dict[str, Any]:
    shapes = {"first": (3, 3, CHANNELS, WIDTH), "second": (3, 3, WIDTH, WIDTH), "last": (WIDTH * (SIDE // 2) ** 2,)}
    return {name: jnp.asarray(random.normal(0, 0.5, shape)) for name, shape in shapes.items()}


def torch_penalty(name: str, settings: dict[str, Any], params: Any, real: Any, fake: Any, key: jax.Array) -> Any:
    """The definitions, once more: one line each."""

    def uniform(key: jax.Array, *shape: int) -> Any:
        return torch.tensor(np.array(jax.random.uniform(key, shape, jnp.float64)))

    if name == "gradient_penalty":
        share = uniform(key, COUNT, 1, 1, 1)
        points = real + share * (fake - real)
    elif name == "dragan":
        noise, share = jax.random.split(key)
        perturbed = real + 0.5 * real.std(correction=0) * uniform(noise, *real.shape)
        points = real + uniform(share, COUNT, 1, 1, 1) * (perturbed - real)
    else:
        points = {"r1": real, "r2": fake}[name]
    points = points.detach().requires_grad_(True)
    (slopes,) = torch.autograd.grad(torch_judge(params, points).sum(), points, create_graph=True)
    if name in ("r1", "r2"):
        squares = (slopes**2).sum(dim=(1, 2, 3))
        return settings.get("gamma", 10) / 2 * settings.get("interval", 1) * squares.mean()
    excess = slopes.flatten(1).norm(dim=1) - settings.get("target", 1.0)
    excess = excess.clamp(min=0) if settings.get("sides") == "one" else excess
    return settings.get("strength", 10) * (excess**2).mean()


@pytest.mark.parametrize(
    ("name", "settings"), [(name, each) for name, several in SETTINGS.items() for each in several], ids=str
)
def test_an_update_of_the_discriminator_is_pytorchs(random, name, settings):
    with jax.enable_x64(True):
        params, out = initial(random), jnp.asarray(random.normal(size=(LATENT, PIXELS)))
        networks = Networks(
            Network(lambda context, inputs: (out, {}), generate, lambda *_: ""),
            Network(lambda context, inputs: (params, {}), judge, lambda *_: ""),
            lambda key, count: jax.random.normal(key, (count, LATENT), jnp.float64),
            image_range=(-1.0, 1.0),
        )
        tx, tested = optax.sgd(RATE), technique.load({name: settings | {"enabled": True}})
        game = Game(networks, {"objective": OBJECTIVE} | tested, tx, tx, optimizer.average_rate(0.5))
        real = Examples(jnp.asarray(random.uniform(-1, 1, (COUNT, SIDE, SIDE, CHANNELS))))
        state = step.initialize(game, jax.random.key(3), real)
        update = jax.jit(functools.partial(step.update, game))
        after, metrics = update(state, Batches((Batch(real),), (Batch(real),)))
        key = stream(state.key, "discriminator/0", state.step)
        latents = networks.sample_latents(stream(key, "latents"), COUNT)
        to_torch = lambda array: torch.tensor(np.asarray(array))  # noqa: E731
        theirs = {each: to_torch(value).requires_grad_(True) for each, value in params.items()}
        images = to_torch(real.images)
        fake = torch.tanh(to_torch(latents) @ to_torch(out)).reshape(images.shape)
        # The technique's own key in this step.
        penalty = torch_penalty(name, settings, theirs, images, fake, stream(key, f"techniques/{name}"))
        softplus = torch.nn.functional.softplus
        loss = softplus(-torch_judge(theirs, images)).mean() + softplus(torch_judge(theirs, fake)).mean() + penalty
        gradients = dict(zip(theirs, torch.autograd.grad(loss, list(theirs.values())), strict=True))
    np.testing.assert_allclose(metrics[f"d/{name}"], penalty.item(), rtol=1e-6)
    for each, gradient in gradients.items():
        moved = np.asarray(after.discriminator.params[each] - params[each])
        np.testing.assert_allclose(moved, -RATE * gradient.numpy(), rtol=1e-6, atol=1e-9)
