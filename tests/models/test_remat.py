"""`config.remat`: the same numbers, and less that is kept between the passes."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.config import default
from igan.data import Dataset, space
from igan.errors import UserError
from igan.game import technique
from igan.game.batches import Resident
from igan.game.stages import complete_stages
from igan.models.functional import rematerialised
from igan.run import experiment
from igan.run.experiment import Loaded
from igan.types import Context, Network, Networks, Turn
from tests.xla import LONG

SIDE, BATCH = 16, 32
SMALL = {
    "resnet": {"generator_widths": (8, 8, 8), "discriminator_widths": (8, 8, 8)},
    "biggan": {"piece_size": 2, "generator_widths": (8, 8, 8), "discriminator_widths": (8, 8, 8)},
    "progressive": {"latent_size": 5, "base": 64, "most": 8},
    "style": {"latent_size": 5, "base": 64, "most": 8, "mapping_layers": 1, "mapping_width": 8},
    "r3gan": {"latent_size": 5, "widths": (8, 8, 8), "blocks": 2, "group_size": 4},
}


def load(family: str) -> Networks:
    layers = technique.layers(technique.load({}))
    networks = models.load({"name": family, **SMALL[family]}, space.images((SIDE, SIDE, 3)), None, layers)
    assert networks.blocks
    return networks._replace(stages=complete_stages(networks.stages, (BATCH, BATCH), (1, 1)))


def context_of(networks: Networks) -> Context:
    stage = networks.stages[-1]
    return Context(jax.random.key(1), Turn(jnp.int32(stage.start), jnp.int32(stage.start), stage), train=True)


def initialise(networks: Networks) -> list[Any]:
    latents = networks.sample_latents(jax.random.key(2), BATCH)
    players = (networks.generator, latents), (networks.discriminator, jnp.zeros((BATCH, SIDE, SIDE, 3)))
    return [player.init(context_of(networks), given) for player, given in players]


def loss(generator: Network, discriminator: Network, networks: Networks, players: list[Any]) -> Any:
    latents = networks.sample_latents(jax.random.key(2), BATCH)
    images, after = generator.apply(*players[0], context_of(networks), latents)
    said, others = discriminator.apply(*players[1], context_of(networks), images)
    return jnp.mean(jax.nn.softplus(said.logits)), (after, others)


def both(networks: Networks) -> list[Any]:
    """The loss of the players, as they are and with remat."""
    players = networks.generator, networks.discriminator
    return [functools.partial(loss, *map(change, players), networks) for change in (lambda each: each, rematerialised)]


@pytest.mark.parametrize("family", SMALL)
def test_less_is_kept_between_the_passes(family: str) -> None:
    """By what JAX hands from the forward to the backward pass: XLA undoes it again where it compiles for a CPU."""
    networks = load(family)
    players = jax.eval_shape(lambda: initialise(networks))
    kept = []
    for each in both(networks):
        backward = jax.eval_shape(lambda players, each=each: jax.vjp(each, players, has_aux=True)[1], players)
        kept.append(sum(math.prod(leaf.shape) * 4 for leaf in jax.tree.leaves(backward)))
    assert 0 < kept[1] < 0.6 * kept[0], kept


def test_the_numbers_are_the_same() -> None:
    networks = load("resnet")
    players = jax.jit(lambda: initialise(networks))()
    found = [jax.jit(jax.value_and_grad(each, has_aux=True))(players) for each in both(networks)]
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(found[0][1])) > 1e-4


def test_a_config_asks_for_it() -> None:
    """The program of a game has remat in it, or not; after one update, which takes long, the same generator."""
    images, labels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8), np.zeros(16, np.int32)
    arrays = Resident(images, labels, images[:0], labels[:0])
    loaded = Loaded(Dataset("noise", *arrays, 1, "here"), arrays, 16)
    config = default("resnet")
    config.devices, config.batch_size, config.initial_images, config.techniques.hinge.enabled = 1, 8, 8, True
    config.networks.generator_widths = config.networks.discriminator_widths = (6, 6)
    found = []
    for config.remat in (False, True):
        built = experiment.build(config, loaded=loaded)
        stage = built.plan.stages[0]
        assert ("remat" in str(built.engine.trace(stage, 1).jaxpr)) == config.remat
        if LONG:
            state = built.engine.initialize(1)
            found.append(jax.device_get(built.engine.run(state, stage, 1)[0].generator.params))
    for one, other in zip(*(jax.tree.leaves(each) for each in found), strict=True) if found else ():
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_networks_without_blocks_are_refused(small) -> None:
    small.remat = True
    with pytest.raises(UserError, match=r"'fully_connected' have no blocks: set --config\.remat=False"):
        experiment.build(small)
