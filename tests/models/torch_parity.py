"""One update of a family's game by igan and by PyTorch, from the same parameters, images and latents."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from igan import models
from igan.data import points, space
from igan.game import optimizer, step, technique
from igan.randomness import stream
from igan.types import Batch, Batches, Examples
from tests.references import gans_torch

TOLERANCE, RATE, COUNT = 1e-4, 0.3, 5
# The programs are small, and compiling them is what takes time.
PLAYERS = ("generator", "discriminator")
NON_SATURATING = {"non_saturating": {}}

Names = Sequence[tuple[str, str]]  # (a layer's place in igan, its name in the reference), first match.


def generic(path: Any, leaf: jax.Array, random: np.random.Generator) -> jax.Array:
    """Values that no initialiser gives: nothing that is zero or one by default is so here."""
    name = path[-1].key
    if name == "kernel":
        return jnp.asarray(random.normal(0, 1.3 / np.sqrt(np.prod(leaf.shape[:-1])), leaf.shape), jnp.float32)
    middle = 1.0 if name == "scale" else 0.0
    return jnp.asarray(middle + random.uniform(-0.4, 0.4, leaf.shape), jnp.float32)


def in_torch_layout(params: Any, names: Names) -> dict[str, Any]:
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        place, array = "/".join(each.key for each in path), np.float64(leaf)
        pattern, name = next(each for each in names if re.match(f"{each[0]}(/|$)", place))
        name = re.match(pattern, place).expand(name)
        is_transposed = name.startswith("*")
        if array.ndim == 4:
            array = array[::-1, ::-1].transpose(2, 3, 0, 1) if is_transposed else array.transpose(3, 2, 0, 1)
        field = "weight" if path[-1].key == "kernel" else path[-1].key
        found[f"{name.lstrip('*')}.{field}".lstrip(".")] = array.T if array.ndim == 2 else array
    return {name: torch.tensor(np.ascontiguousarray(value)) for name, value in found.items()}


def fill(network: Any, values: Mapping[str, Any]) -> Any:
    """The network in float64 with these parameters, which are all that it has."""
    network.double().load_state_dict({name: value.clone() for name, value in values.items()})
    return network


def tensor(examples: Any) -> Any:
    array = np.float64(examples)
    return torch.tensor(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array)


def assert_an_update_agrees(
    settings: Mapping[str, Any],
    side: int,
    make: Callable[[], tuple[Any, Any]],
    names: tuple[Names, Names],
    losses: Sequence[gans_torch.Loss] = gans_torch.NON_SATURATING,
    techniques: Mapping[str, Mapping[str, Any]] = NON_SATURATING,
    memories: Mapping[str, Any] | None = None,
    rate: float = RATE,
) -> Mapping[str, Any]:
    """Images, logits, losses and all parameters after one update of gradient descent agree to 1e-4.

    Args:
      settings: of the family, its name included.
      side: of the images; 0 for points of the plane.
      make: returns the reference's generator and discriminator.
      names: of the generator's and the discriminator's layers.
      losses: of the reference's discriminator and generator.
      techniques: the same in igan, by name with their settings.
      memories: of those techniques before the update; None: as at the beginning of a game.

    Returns: the techniques' memories after it.
    """
    random = np.random.default_rng(0)
    loaded = technique.load({name: {"enabled": True, **each} for name, each in techniques.items()})
    of_data = space.images((side, side, 3)) if side else points.space(1.0, None)
    networks = models.load(settings, of_data, None, {})
    descent = optax.sgd(rate)
    game = step.Game(networks, loaded, descent, descent, optimizer.average_rate(1e-4))
    images = [random.uniform(-1, 1, (COUNT, *of_data.shape)).astype(np.float32) for _ in range(2)]
    state = jax.eval_shape(lambda: step.initialize(game, jax.random.key(0), Examples(jnp.asarray(images[0]))))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state._replace(key=jnp.zeros(())))
    state = zeros._replace(key=jax.random.key(0), techniques={**zeros.techniques, **(memories or {})})
    for player in PLAYERS:
        mine = getattr(state, player)
        params = jax.tree_util.tree_map_with_path(lambda path, leaf: generic(path, leaf, random), mine.params)
        state = state._replace(**{player: mine._replace(params=params)})
    before = {
        player: in_torch_layout(getattr(state, player).params, each)
        for player, each in zip(PLAYERS, names, strict=True)
    }
    references = dict(zip(PLAYERS, make(), strict=True))
    for player, network in references.items():
        fill(network, before[player])
    keys = [stream(stream(state.key, f"{player}/0", 0), "latents") for player in reversed(PLAYERS)]
    latents = [torch.tensor(np.float64(networks.sample_latents(key, COUNT))) for key in keys]
    batches = Batches(*[(Batch(Examples(jnp.asarray(each))),) for each in images])
    with jax.default_matmul_precision("highest"):
        update = jax.jit(lambda state, batches: step.update(game, state, batches))
        after, metrics = update(state, batches)
    found = gans_torch.play(*references.values(), rate, [tensor(each) for each in images], latents, losses)
    for player, loss in found.items():
        mine = sum(float(metrics.get(f"{player[0]}/{name}", 0)) for name in techniques)
        assert mine == pytest.approx(loss, abs=TOLERANCE), player
    for player, each in zip(PLAYERS, names, strict=True):
        found = in_torch_layout(getattr(after, player).params, each)
        expected = references[player].state_dict()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=TOLERANCE, err_msg=f"{player} {name}")
        # An agreement means something only where the update moved far beyond the tolerance. Nothing moves a bias in
        # front of a normalisation.
        still = [
            name
            for name, value in expected.items()
            if not name.endswith("bias") and (value - before[player][name]).abs().max() < 3 * TOLERANCE
        ]
        assert not still, (player, still)
    return after.techniques
