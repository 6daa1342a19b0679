"""What tests of growing networks share: small ones, and a game of a recipe at one of their stages."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from igan import models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.game.engine import complete_stages
from igan.game.technique import Game, Technique
from igan.types import Context, GameState, Networks, Stage, Turn

OF_PGGAN = {
    "wasserstein": {"clipping": False},
    "gradient_penalty": {},
    "drift": {},
    "pixel_norm": {},
    "equalized_rate": {},
    "minibatch_stddev": {"group": 2},
}
SMALL = {"latent_size": 5, "base": 24, "most": 6, "train_images": 40, "fade_images": 80}


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


def game_at(networks: Networks, loaded: dict[str, Technique], rate: float, at_step: int) -> tuple[Game, GameState]:
    """A game of gradient descent, every parameter of which is drawn, at this update."""
    random, descent = np.random.default_rng(0), optax.sgd(rate)
    game = Game(networks, loaded, descent, descent, optimizer.average_rate(1e-3))
    side = 4 * 2 ** (len(networks.stages) // 2)
    real = step.Examples(jnp.zeros((4, side, side, 3)))
    shapes = jax.eval_shape(lambda: step.initialize(game, jax.random.key(0), real))
    drawn = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), shapes._replace(key=None)
    )
    return game, drawn._replace(key=jax.random.key(0), step=jnp.int32(at_step))
