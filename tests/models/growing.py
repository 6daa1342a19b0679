"""What tests of growing networks share: small ones, and a game of a recipe at one of their stages."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.game.stages import complete_stages
from igan.game.technique import Game, Technique
from igan.models import growth
from igan.randomness import stream
from igan.types import Batch, Batches, Context, Examples, GameState, Networks, Stage, Turn
from tests.models.inspection import assert_nearly_the_same

FADES = [
    pytest.param(index, at_step, id=name, marks=[pytest.mark.long("a program of its own")] * is_long)
    for index, at_step, name, is_long in (
        (0, 3, "the first resolution", False),
        (1, 15, "in the middle of a fade", False),
        (2, 33, "the second resolution", True),
    )
]

OF_PGGAN = {
    "wasserstein": {"clipping": False},
    "gradient_penalty": {},
    "drift": {},
    "pixel_norm": {},
    "equalized_rate": {},
    "minibatch_stddev": {"group": 2},
}
SMALL: dict[str, Any] = {"latent_size": 5, "base": 24, "most": 6, "train_images": 40, "fade_images": 80}


def techniques(**settings: dict[str, Any]) -> dict[str, Technique]:
    return technique.load({name: {"enabled": True} | each for name, each in settings.items()})


def networks_of(
    loaded: dict[str, Technique], shape: tuple[int, int, int], family: str = "progressive", **settings: Any
) -> Networks:
    layers = technique.layers(loaded)
    networks = models.load({"name": family, **settings}, space.images(shape), None, layers)
    return networks._replace(stages=complete_stages(networks.stages, (4, 4), (1, 1)))


def counts(networks: Networks, shape: tuple[int, int, int]) -> tuple[int, int]:
    """How many numbers the generator and the discriminator train."""
    context, inputs = context_of(networks.stages[-1]), jax.ShapeDtypeStruct((4, *shape), np.float32)
    latents = jax.eval_shape(lambda: networks.sample_latents(jax.random.key(0), 4))
    shapes = [
        jax.eval_shape(lambda given, network=network: network.init(context, given), given)[0]
        for network, given in ((networks.generator, latents), (networks.discriminator, inputs))
    ]
    of_generator, of_discriminator = (sum(leaf.size for leaf in jax.tree.leaves(params)) for params in shapes)
    return of_generator, of_discriminator


def context_of(stage: Stage, step: int | None = None, train: bool = True, **options: float) -> Context:
    """In a stage's update, its first by default."""
    now = jnp.int32(stage.start if step is None else step)
    return Context(jax.random.key(3), Turn(now, now, stage), train, options=options)


def game_at(
    networks: Networks, loaded: dict[str, Technique], rate: float, at_step: int, first: int = 4
) -> tuple[Game, GameState]:
    """A game of gradient descent, every parameter of which is drawn, at this update."""
    random, descent = np.random.default_rng(0), optax.sgd(rate)
    game = Game(networks, loaded, descent, descent, optimizer.average_rate(1e-3))
    side = growth.side_at(networks.stages[-1], first)
    real = Examples(jnp.zeros((4, side, side, 3)))
    shapes = jax.eval_shape(lambda: step.initialize(game, jax.random.key(0), real))
    state = draw(shapes._replace(key=None), random)
    return game, state._replace(key=jax.random.key(0), step=jnp.int32(at_step))


def draw(shapes: Any, random: np.random.Generator) -> Any:
    """Values from N(0, 1), those of a mapping network as much larger as its learning rate is smaller."""

    def one(path: Any, leaf: Any) -> jax.Array:
        scale = 100.0 if any("mapping" in str(each) for each in path) else 1.0
        return jnp.asarray(scale * random.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(one, shapes)


def assert_bfloat16_is_near(player: str, loaded: dict[str, Technique], family: str, **settings: Any) -> None:
    """A player's outputs at the last of its stages, up to 8 pixels, in bfloat16 and in float32."""
    exact, rough = (
        networks_of(loaded, (8, 8, 3), family, precision=precision, **settings) for precision in ("float32", "bfloat16")
    )
    latents = exact.sample_latents(jax.random.key(1), 8)
    inputs = {"generator": latents, "discriminator": jax.random.normal(jax.random.key(2), (8, 8, 8, 3))}[player]
    assert_nearly_the_same(getattr(exact, player), getattr(rough, player), inputs, context_of(exact.stages[-1]))


def assert_an_update_agrees(
    loaded: dict[str, Technique],
    networks: Networks,
    index: int,
    at_step: int,
    first: int,
    play: Callable[..., dict[str, float]],
) -> None:
    """Losses and all parameters after one update of gradient descent in a stage agree to 1e-4 with PyTorch's.

    Args:
      play: of the reference: (arrays of both players, images, latents, the key of the discriminator's step, rate, side,
        share of what fades in, images of a group) -> losses.
    """
    import torch

    rate, stage = 0.05, networks.stages[index]
    game, state = game_at(networks, loaded, rate, at_step, first)
    side = growth.side_at(networks.stages[-1], first)
    images = np.random.default_rng(1).uniform(-1, 1, (4, side, side, 3)).astype(np.float32)
    real = Batch(Examples(jnp.asarray(images)))
    with jax.default_matmul_precision("highest"):
        update = jax.jit(lambda state: step.update(game, state, Batches((real,), (real,)), stage))
        after, metrics = update(state)
    keys = [stream(state.key, f"{player}/0", at_step) for player in ("discriminator", "generator")]
    latents = tuple(torch.tensor(np.float64(networks.sample_latents(stream(key, "latents"), 4))) for key in keys)
    reference = tuple(
        {name: torch.tensor(value, requires_grad=True) for name, value in by_name(player.params).items()}
        for player in (state.generator, state.discriminator)
    )
    alpha = (at_step - stage.start) / stage.updates if growth.fades(stage) else None
    given = torch.tensor(np.float64(images).transpose(0, 3, 1, 2))
    losses = play(reference, given, latents, keys[0], rate, growth.side_at(stage, first), alpha, 2)
    for name, loss in losses.items():
        np.testing.assert_allclose(float(metrics[name]), loss, rtol=1e-4, atol=1e-4, err_msg=name)
    for player, expected in zip(("generator", "discriminator"), reference, strict=True):
        found, before = (by_name(getattr(each, player).params) for each in (after, state))
        moved = 0
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value.detach(), rtol=1e-4, atol=1e-4, err_msg=name)
            moved += bool(np.abs(found[name] - before[name]).max() > 3e-4)
        assert moved >= len(expected) / 2, (player, moved)


def by_name(params: Any) -> dict[str, np.ndarray]:
    """Parameters by the names of the reference, in PyTorch's order of axes."""
    orders = {1: (0,), 2: (1, 0), 3: (2, 0, 1), 4: (3, 2, 0, 1)}
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = ".".join(each.key for each in path).replace("EqualizedLayer_", "")
        found[name] = np.ascontiguousarray(np.float64(leaf).transpose(orders[leaf.ndim]))
    return found
