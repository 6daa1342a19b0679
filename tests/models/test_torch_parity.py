"""One update of the games of `points`, `dcgan`, `resnet`, `autoencoder` and `r3gan` agrees with PyTorch."""

import jax.numpy as jnp
import pytest

pytest.importorskip("torch", reason="pip install igan[parity]")

from tests.models.test_dcgan import SNGAN, UNROLLED, WGAN_GP
from tests.models.torch_parity import assert_an_update_agrees
from tests.references import autoencoder_torch, gans_torch, points_torch, r3gan_torch
from tests.xla import LONG

# Of the generator: its activation and pieces, and whether it is normalised; of the discriminator: the same, and what
# divides its inputs.
OF_POINTS = {
    "the ring of unrolled GANs": (("relu", 1, False), ("relu", 1, 4.0)),
    "its demo": (("tanh", 1, False), ("tanh", 1, 1.0)),
    "PacGAN": (("relu", 1, True), ("maxout", 3, 1.0)),
    "maxout and batch norm": (("maxout", 2, True), ("maxout", 2, 1.0)),
}


@pytest.mark.parametrize("name", OF_POINTS)
def test_an_update_of_points_agrees_with_torch(name):
    (made, parts, norm), (judged, pieces, divisor) = OF_POINTS[name]
    settings = {
        "name": "points",
        "latent_size": 5,
        "generator_layers": (6, 4),
        "discriminator_layers": (5, 3),
        "generator_activation": made,
        "discriminator_activation": judged,
        "pieces": max(parts, pieces),
        "batch_norm": norm,
        "input_divisor": divisor,
    }
    names = [
        (r"Hidden_0/WeightLayer_(\d+)", r"layers.\1"),
        (r"Hidden_0/ShiftBatchNorm_(\d+)", r"norms.\1"),
        ("WeightLayer_0", "last"),
    ]
    assert_an_update_agrees(
        settings,
        0,
        lambda: (
            points_torch.Network(5, (6, 4), 2, made, parts, norm),
            points_torch.Discriminator(2, (5, 3), 1, judged, pieces, divisor=divisor),
        ),
        (names, names),
    )


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


def each_level(prefix: str) -> tuple[str, str]:
    return (rf"{prefix}WeightLayer_(\d+)", rf"{prefix.replace('/', '.')}layers.\1")


@pytest.mark.parametrize(("side", "smallest", "levels"), [(16, 4, 3), (14, 7, 2)])
def test_an_update_of_the_boundary_equilibrium_game_agrees_with_torch(side, smallest, levels):
    """From k = 0.3: images and reconstructions, both losses, both players' steps, and the step of k itself."""
    width, share, diversity, gain = 4, 0.3, 0.7, 0.2
    equilibrium = autoencoder_torch.Equilibrium(share, diversity, gain)
    memories = assert_an_update_agrees(
        {"name": "autoencoder", "latent_size": 5, "width": width, "smallest": smallest},
        side,
        lambda: (
            autoencoder_torch.Decoder(5, width, smallest, levels),
            autoencoder_torch.Autoencoder(5, width, smallest, levels),
        ),
        ([each_level("")], [each_level("encoder/"), each_level("decoder/")]),
        (equilibrium.discriminator_loss, equilibrium.generator_loss),
        {"boundary_equilibrium": {"diversity": diversity, "gain": gain}},
        {"boundary_equilibrium": jnp.float32(share)},
    )
    assert abs(equilibrium.share - share) > 0.01 and 0 < equilibrium.share < 1
    assert float(memories["boundary_equilibrium"]) == pytest.approx(equilibrium.share, abs=1e-5)


R3GANS = [((6, 4), 2, 4), ((4, 4, 4), 1, 2)][: 2 if LONG else 1]  # A quarter of a minute each.


@pytest.mark.parametrize(("widths", "blocks", "group"), R3GANS)
def test_an_update_of_r3gan_agrees_with_torch(widths, blocks, group):
    """Relativistic pairs with both penalties: derivatives of the second order through groups and filters."""
    gamma = 0.7
    names = [(r"Block_(\d+)/WeightLayer_(\d+)", r"blocks.\1.layers.\2"), (r"WeightLayer_(\d+)", r"layers.\1")]
    assert_an_update_agrees(
        {"name": "r3gan", "latent_size": 5, "widths": widths, "blocks": blocks, "group_size": group},
        4 * 2 ** (len(widths) - 1),
        lambda: (r3gan_torch.Generator(5, widths, blocks, group), r3gan_torch.Discriminator(widths, blocks, group)),
        ([*names, ("basis", "")], names),
        (r3gan_torch.discriminator_loss(gamma), r3gan_torch.generator_loss),
        {"relativistic": {}, "r1": {"gamma": gamma}, "r2": {"gamma": gamma}},
        rate=0.06,
    )
