"""Stacked MNIST: 1,000 modes of images, three digits each, and how many of them a generator finds.

    python -m igan.main --config=experiments/stacked_mnist.py:VARIANT

Published modes and reverse KL divergence; docs/results.md has what igan has seen of it:

    variant    discriminator                 modes           KL            of
    dcgan      DCGAN 5 x 5                   99.0            3.40          VEEGAN, table 2
                                             78.9 ± 6.46     4.50 ± .127   PacGAN, table 2
    pacgan2    the same, packs of 2          1000.0 ± .00    .06 ± .003    PacGAN, table 2
    pacgan3    the same, packs of 3          1000.0 ± .00    .06 ± .003    PacGAN, table 2
    pacgan4    the same, packs of 4          1000.0 ± .00    .07 ± .005    PacGAN, table 2
    tiny       2, 4 and 8 channels           78.5 ± 17.56    5.21 ± .19    PacGAN, table 3
    tiny-k0    the same, minimax             30.6 ± 20.73    5.99 ± .42    unrolled GAN, 3.3.1
    tiny-k1    the same, 1 step ahead        65.4 ± 34.75    5.91 ± .14    unrolled GAN, 3.3.1
    tiny-k5    the same, 5 steps ahead       236.4 ± 63.30   4.67 ± .43    unrolled GAN, 3.3.1
    tiny-k10   the same, 10 steps ahead      327.2 ± 74.67   4.66 ± .46    unrolled GAN, 3.3.1
    small      4, 8 and 16 channels          487.7 ± 34.59   2.24 ± .15    PacGAN, table 3
    small-k0   the same, minimax             628.0 ± 140.9   2.58 ± .75    unrolled GAN, 3.3.1
    small-k1   the same, 1 step ahead        523.6 ± 55.77   2.44 ± .26    unrolled GAN, 3.3.1
    small-k5   the same, 5 steps ahead       732.0 ± 44.98   1.66 ± .09    unrolled GAN, 3.3.1
    small-k10  the same, 10 steps ahead      817.4 ± 37.91   1.43 ± .12    unrolled GAN, 3.3.1

The first four play VEEGAN's set-up: 26,000 samples are counted, after 50 passes over 128,000 images or packs. The
others play that of unrolled GANs, as PacGAN's code repeats it: 25,600 samples, after 500,000 updates. PacGAN's ± is the
standard error, of 10 trials in table 2 and of 50 in table 3; the others' is as they print it. Real images have 1,000
modes and, as so few samples and unequal classes have it, a divergence of 0.024.

What differs from the papers: the images are a fixed 128,000, stacked of the training digits alone (VEEGAN takes the
test digits too, unrolled GANs draw new ones in each update), in [-1, 1] in all variants (VEEGAN's are in [0, 1], beside
a generator that ends in tanh); each step has latents of its own; counted are samples with the statistics of batch norm
of 500 fresh latents, where PacGAN's code has those of each batch; and the judge is igan's own classifier of digits.
The paper on unrolled GANs is taken to have played the minimax game that its authors' notebook plays, also without steps
ahead; here its generator had lost it by update 2,000. PacGAN's code plays the non-saturating one. That with steps ahead
is "small" with --config.techniques.unrolled.enabled=True, and with packs of two --config.batch_size=256
--config.epochs=1000 --config.techniques.packing.enabled=True.
"""

from igan import recipes
from igan.config import Config, check_variant, default
from igan.data import stacked

PACKS = {"dcgan": 1, "pacgan2": 2, "pacgan3": 3, "pacgan4": 4}
SIZES = {"tiny": (2, 4, 8), "small": (4, 8, 16)}  # The papers' D = 1/4 G and D = 1/2 G.
STEPS_AHEAD = (0, 1, 5, 10)
VARIANTS = (*PACKS, *(f"{size}{ahead}" for size in SIZES for ahead in ("", *(f"-k{steps}" for steps in STEPS_AHEAD))))
UNROLLED = {
    "latent_size": 256,
    "latents": "normal",
    "generator_widths": (64, 32, 16, 8),
    "generator_kernel": 3,
    "generator_ends_plain": True,
    "discriminator_kernel": 3,
    "discriminator_normalizes_first": True,
    "slope": 0.3,
}


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant, "dcgan" if none is named."""
    variant = variant or "dcgan"
    check_variant("stacked_mnist", variant, VARIANTS)
    config = default(networks="dcgan")
    config.experiment, config.variant = "stacked_mnist", variant
    config.data.name = "stacked_mnist"
    config.evaluation.scores = ("modes", "reverse_kl")
    config.evaluation.scores_interval = 10_000
    config.reporting.samples_interval = 2000
    if variant in PACKS:
        veegan(config, packs=PACKS[variant])
    else:
        size, _, ahead = variant.partition("-k")
        unrolled(config, SIZES[size], int(ahead) if ahead else None)
    return config


def veegan(config: Config, packs: int) -> None:
    """Sets VEEGAN's game (Srivastava et al. 2017), in which the generator takes two steps, with PacGAN's packs.

    Its networks are the family's defaults. A batch has 64 packs, so that an epoch has as many updates for each size.
    """
    recipes.dcgan(config)
    for player in (config.discriminator, config.generator):
        player.learning_rate = 2e-4
    config.generator.steps = 2
    config.batch_size, config.epochs = 64 * packs, 50 * packs
    if packs > 1:
        config.techniques.packing.update(enabled=True, images=packs)
        config.initial_images = 500 // packs * packs
    config.evaluation.images = 26_000


def unrolled(config: Config, widths: tuple[int, ...], steps: int | None) -> None:
    """Sets the game of unrolled GANs (Metz et al. 2017, section 3.3.1) with a small discriminator.

    Args:
      config: to be changed.
      widths: of the discriminator's convolutions.
      steps: K; None for PacGAN's game of the same networks, which is non-saturating.
    """
    recipes.unrolled(config)
    config.networks.update(UNROLLED, discriminator_widths=widths)
    if steps:
        config.techniques.unrolled.steps = steps
    else:
        config.techniques.unrolled.enabled = False
    if steps is None:
        config.techniques.minimax.enabled, config.techniques.non_saturating.enabled = False, True
    config.batch_size = 128
    config.epochs = recipes.epochs(500_000, config.batch_size, steps=1, images=stacked.TRAIN)
    config.evaluation.images = 25_600
