"""MNIST: the semi-supervised game of Salimans et al. (2016), section 6.1, and the GANs since on narrow networks.

    python -m igan.main --config=experiments/mnist.py                 semi-supervised, feature matching: Table 1
    python -m igan.main --config=experiments/mnist.py:unsupervised    an ordinary GAN, no labels
    python -m igan.main --config=experiments/mnist.py:sngan           a recipe of igan/recipes.py, by its name
    python launch/sweep.py --config=experiments/mnist.py --variants=all --jobs=2 --workdir=runs/recipes    all recipes

With all of MNIST the first two have the paper's schedule, 300 epochs. Its table is 20, 50, 100 and 200 labels, which
are --config.labels_per_class=2, 5, 10 and 20, with --config.replicas=10 label draws each; `launch/sweep.py` runs it.

The recipes are a table on real images for a machine without GPU: networks of 8 to 32 channels, batches of 64, three
seeds in one program, and as many real images shown to each discriminator, whatever its steps, so that a critic with
five of them has a fifth of the generator's updates. Objectives, penalties, steps and optimisers are the papers', but
that all learning rates are eight times theirs: the networks are about eight times narrower, and the rate at which Adam
does best goes as the inverse of the width (Yang et al. 2021, "Tensor Programs V"). At the papers' own rates
dcgan had drawn no digit by the end. The networks are one pair for all but the residual and the autoencoding ones.
"""

from typing import Any

from igan import recipes
from igan.config import Config, check_variant, default

VARIANTS = tuple(name for name in recipes.KNOWN if not name.endswith("_128"))  # Of the whole table.
RATE = 8.0  # Times the papers' rates.
CONVOLUTIONS = {
    "latent_size": 64,
    "latents": "normal",
    "generator_widths": (32, 16, 8),
    "discriminator_widths": (8, 16, 32),
}
BLOCKS = {"generator_widths": (8, 8, 8), "discriminator_widths": (8, 8, 8)}
RESIDUAL = BLOCKS | {"latent_size": 64}
R3GAN = {"latent_size": 64, "widths": (8, 8, 8), "group_size": 16, "blocks": 1}
BIGGAN = BLOCKS | {"piece_size": 16, "embedding_size": 16}
AUTOENCODER = {"latent_size": 32, "width": 8}
# Kernels are drawn by the size of each layer in these; in the others with DCGAN's standard deviation, 0.02.
HE_UNIFORM = ("wgan", "wgan_gp", "dragan", "r3")
# A penalty on single images forbids a discriminator that mixes those of a batch; spectral norm takes the place of one.
WITHOUT_NORM = ("wgan_gp", "dragan", "sngan", "r3")


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant: "" (semi-supervised), "unsupervised", or a recipe of `igan.recipes`."""
    check_variant("mnist", variant or "unsupervised", ["unsupervised", *VARIANTS])
    config = recipe(variant) if variant in VARIANTS else fully_connected(bool(variant))
    config.experiment, config.variant = "mnist", variant
    return config


def fully_connected(unsupervised: bool) -> Config:
    """Returns the paper's game, or an ordinary GAN with its networks."""
    config = default(networks="fully_connected")
    techniques = config.techniques
    if unsupervised:
        techniques.non_saturating.enabled = True
        config.discriminator.learning_rate = 3e-4
        config.generator.learning_rate = 3e-4
        return config
    config.discriminator.learning_rate = 3e-3
    config.generator.learning_rate = 3e-3
    techniques.semi_supervised.enabled = True
    techniques.feature_matching.enabled = True
    techniques.minimax.enabled = True  # Of the objective only the discriminator's half is used, weighted one half.
    techniques.minimax.discriminator_weight = 0.5
    techniques.minimax.generator_weight = 0.0
    return config


def recipe(name: str) -> Config:
    """Returns the game of a published GAN on narrow networks."""
    family, settings = networks(name)
    config = default(networks=family)
    config.networks.update(settings)
    recipes.KNOWN[name](config)
    recipes.narrow(config, RATE)
    if config.techniques.self_attention.enabled:
        config.techniques.self_attention.update(generator_resolution=14, discriminator_resolution=14)
    return config


def networks(name: str) -> tuple[str, dict[str, Any]]:
    """Returns the family of a recipe's networks and its settings, at 28 x 28 pixels."""
    if name.endswith("_resnet") or name in ("sngan_projection", "sagan"):
        return "resnet", RESIDUAL
    if name == "biggan":
        return "biggan", BIGGAN
    if name == "r3gan":
        return "r3gan", R3GAN
    if name == "began":
        return "autoencoder", AUTOENCODER
    norm = "none" if name in WITHOUT_NORM else "batch"
    return "dcgan", CONVOLUTIONS | {"discriminator_norm": norm, "kernel_std": 0.0 if name in HE_UNIFORM else 0.02}
