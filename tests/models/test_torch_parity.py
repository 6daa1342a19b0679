"""One update of the games of `dcgan` and `resnet` agrees with PyTorch, from the same parameters, images and latents."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.randomness import stream
from igan.types import Batch, Batches, Examples

torch = pytest.importorskip("torch", reason="pip install igan[parity]")

from tests.models.test_dcgan import SNGAN, UNROLLED, WGAN_GP  # noqa: E402
from tests.references import gans_torch  # noqa: E402

TOLERANCE, RATE, COUNT = 1e-4, 0.3, 5
# The programs are small, and compiling them is what takes time.
COMPILER_OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
pytestmark = pytest.mark.usefixtures("quick_compilation_of_file")

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
        pattern, name = next(each for each in names if re.match(f"{each[0]}/", place))
        name = re.match(pattern, place).expand(name)
        is_transposed = name.startswith("*")
        if array.ndim == 4:
            array = array[::-1, ::-1].transpose(2, 3, 0, 1) if is_transposed else array.transpose(3, 2, 0, 1)
        field = "weight" if path[-1].key == "kernel" else path[-1].key
        found[f"{name.lstrip('*')}.{field}"] = array.T if array.ndim == 2 else array
    return {name: torch.tensor(np.ascontiguousarray(value)) for name, value in found.items()}


def fill(network: Any, values: Mapping[str, Any]) -> Any:
    """The network in float64 with these parameters, which are all that it has."""
    network.double().load_state_dict({name: value.clone() for name, value in values.items()})
    return network


def tensor(images: Any) -> Any:
    return torch.tensor(np.float64(images).transpose(0, 3, 1, 2))


def assert_an_update_agrees(
    settings: Mapping[str, Any],
    side: int,
    make: Callable[[], tuple[Any, Any]],
    names: tuple[Names, Names],
) -> None:
    """Images, logits, losses and all parameters after one update of gradient descent agree to 1e-4.

    Args:
      settings: of the family, its name included.
      make: returns the reference's generator and discriminator.
      names: of the generator's and the discriminator's layers.
    """
    random = np.random.default_rng(0)
    techniques = technique.load({"non_saturating": {"enabled": True}})
    networks = models.load(settings, space.images((side, side, 3)), None, {})
    descent = optax.sgd(RATE)
    game = step.Game(networks, techniques, descent, descent, optimizer.average_rate(1e-4))
    images = [random.uniform(-1, 1, (COUNT, side, side, 3)).astype(np.float32) for _ in range(2)]
    state = jax.eval_shape(lambda: step.initialize(game, jax.random.key(0), Examples(jnp.asarray(images[0]))))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state._replace(key=jnp.zeros(())))
    state = zeros._replace(key=jax.random.key(0))
    players = ("generator", "discriminator")
    for player in players:
        mine = getattr(state, player)
        params = jax.tree_util.tree_map_with_path(lambda path, leaf: generic(path, leaf, random), mine.params)
        state = state._replace(**{player: mine._replace(params=params)})
    before = {
        player: in_torch_layout(getattr(state, player).params, each)
        for player, each in zip(players, names, strict=True)
    }
    references = dict(zip(players, make(), strict=True))
    for player, network in references.items():
        fill(network, before[player])
    keys = [stream(stream(state.key, f"{player}/0", 0), "latents") for player in ("discriminator", "generator")]
    latents = [networks.sample_latents(key, COUNT) for key in keys]
    batches = Batches(*[(Batch(Examples(jnp.asarray(each))),) for each in images])
    with jax.default_matmul_precision("highest"):
        update = jax.jit(lambda state, batches: step.update(game, state, batches), compiler_options=COMPILER_OPTIONS)
        after, metrics = update(state, batches)
    losses = gans_torch.play(
        references["generator"],
        references["discriminator"],
        RATE,
        tensor(images[0]),
        [torch.tensor(np.float64(each)) for each in latents],
    )
    for player, loss in losses.items():
        assert float(metrics[f"{player[0]}/non_saturating"]) == pytest.approx(loss, abs=TOLERANCE), player
    for player, each in zip(players, names, strict=True):
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


STRIDED = {
    "dcgan, 28 pixels": (
        28,
        {"generator_widths": (6, 5, 4, 4), "discriminator_widths": (3, 4, 5, 6)},
        lambda: (
            gans_torch.Generator(5, (6, 5, 4, 4), 5, (2, 4, 7, 14, 28), "batch", False),
            gans_torch.Discriminator([(3, 5, 2), (4, 5, 2), (5, 5, 2), (6, 5, 2)], 28, "batch", False, 0.2),
        ),
    ),
    "sngan": (
        16,
        SNGAN | {"generator_widths": (6, 5, 4), "discriminator_widths": (3, 4, 4, 5, 6)},
        lambda: (
            gans_torch.Generator(5, (6, 5, 4), 4, (4, 8, 16), "convolutions", True),
            gans_torch.Discriminator([(3, 3, 1), (4, 4, 2), (4, 3, 1), (5, 4, 2), (6, 3, 1)], 16, "none", False, 0.1),
        ),
    ),
    "wgan-gp with layer norm": (
        16,
        WGAN_GP | {"generator_widths": (6, 5), "discriminator_widths": (4, 5, 6), "discriminator_norm": "layer"},
        lambda: (
            gans_torch.Generator(5, (6, 5), 5, (4, 8, 16), "flat", False),
            gans_torch.Discriminator([(4, 5, 2), (5, 5, 2), (6, 5, 2)], 16, "layer", False, 0.2),
        ),
    ),
    "unrolled": (
        28,
        UNROLLED | {"generator_widths": (6, 5, 4, 4), "discriminator_widths": (3, 4, 5)},
        lambda: (
            gans_torch.Generator(5, (6, 5, 4, 4), 3, (4, 7, 14, 28), "batch", True),
            gans_torch.Discriminator([(3, 3, 2), (4, 3, 2), (5, 3, 2)], 28, "batch", True, 0.3),
        ),
    ),
}


@pytest.mark.parametrize("name", STRIDED)
def test_an_update_of_dcgan_agrees_with_torch(name):
    side, settings, make = STRIDED[name]
    settings = {"name": "dcgan", **settings, "latent_size": 5}
    generator, discriminator = (len(settings[f"{player}_widths"]) for player in ("generator", "discriminator"))
    plain = settings.get("generator_ends_plain")
    of_generator = [
        ("WeightLayer_0", "dense"),
        *((f"WeightLayer_{index}", f"*convolutions.{index - 1}") for index in range(1, generator)),
        (f"WeightLayer_{generator}", f"{'' if plain else '*'}convolutions.{generator - 1}"),
        (r"BatchNorm_(\d+)", r"norms.\1"),
    ]
    of_discriminator = [
        (f"WeightLayer_{discriminator}", "last"),
        (r"WeightLayer_(\d+)", r"convolutions.\1"),
        (r"(?:Batch|Layer)Norm_(\d+)", r"norms.\1"),
    ]
    assert_an_update_agrees(settings, side, make, (of_generator, of_discriminator))


def make_reference(generator, side, discriminator, *rest):
    return lambda: (
        gans_torch.ResidualGenerator(5, generator, side),
        gans_torch.ResidualDiscriminator(discriminator, *rest),
    )


RESIDUAL = {
    # The first two blocks halve, of the others one changes its channels and one does not.
    "sngan": (
        8,
        {"generator_widths": (4, 6), "discriminator_widths": (4, 5, 6, 6), "discriminator_halvings": 2},
        make_reference((4, 6), 4, (4, 5, 6, 6), 2, "none", "sum", False),
    ),
    "wgan-gp with layer norm": (
        8,
        {
            "generator_widths": (5, 5, 4),
            "discriminator_widths": (5, 4),
            "discriminator_halvings": 2,
            "discriminator_norm": "layer",
            "pooling": "mean",
            "last_bias": True,
        },
        make_reference((5, 5, 4), 2, (5, 4), 2, "layer", "mean", True),
    ),
}
BLOCK = [
    (r"(?:Up|Down)Block_(\d+)/WeightLayer_(\d+)", r"blocks.\1.convolutions.\2"),
    (r"(?:Up|Down)Block_(\d+)/(?:Batch|Layer)Norm_(\d+)", r"blocks.\1.norms.\2"),
]


@pytest.mark.parametrize("name", RESIDUAL)
def test_an_update_of_resnet_agrees_with_torch(name):
    side, settings, make = RESIDUAL[name]
    names = (
        [*BLOCK, ("WeightLayer_0", "dense"), ("WeightLayer_1", "last"), ("BatchNorm_0", "norm")],
        [*BLOCK, ("WeightLayer_0", "last")],
    )
    assert_an_update_agrees({"name": "resnet", **settings, "latent_size": 5}, side, make, names)
