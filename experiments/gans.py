"""The GANs since DCGAN on CIFAR-10, each with its paper's networks, rates and schedule.

    python -m igan.main --config=experiments/gans.py:VARIANT
    python -m igan.main --config=experiments/gans.py:VARIANT --config.data.name=folder:/path/to/images

Published Inception score / FID on CIFAR-10 without labels, the protocol of the numbers, and what igan measured. "Not
yet" is for want of a GPU; experiments/mnist.py plays the same recipes on narrow networks, and docs/results.md has what
came out: classifier score 6.50 ± 0.22 with ttur, 6.38 ± 0.41 with minibatch and 4.29 ± 0.09 with dcgan, for example.

    variant         networks                published      protocol                                           igan
    dcgan           DCGAN 5 x 5             - / 37.7       TTUR, table A2: 50,000 against 50,000, best        not yet
    ttur            the same                - / 36.9       the same, two time-scales                          not yet
    lsgan           the same                6.55 / 40.22   StudioGAN: 50,000, its own network                 not yet
    wgan            WGAN-GP's 5 x 5         6.41 / 42.6    SNGAN, table 2: 5k, SNGAN's network                not yet
    wgan_gp         WGAN-GP's 5 x 5         6.68 / 40.2    SNGAN, table 2: 5k, SNGAN's network                not yet
    wgan_gp_resnet  residual, 128 wide      7.86 / -       WGAN-GP, table 3: 50,000 in ten splits             not yet
    dragan          DCGAN 5 x 5             6.90 / -       DRAGAN                                             not yet
    sngan           SNGAN's 3 x 3, 4 x 4    7.58 / 25.5    SNGAN, table 2: 5k                                 not yet
    sngan_resnet    residual, 256 and 128   8.22 / 21.7    SNGAN, table 2: 5k, means over models              not yet
    began           autoencoder             5.62 / -       BEGAN, as WGAN-GP's table 3 quotes it              not yet
    unrolled        DCGAN 5 x 5             - / -          the paper has no such score                        not yet
    minibatch       DCGAN 5 x 5             6.86 / -       improved GAN, its own networks and labels          not yet
    r3              DCGAN 5 x 5, no norms   - / -          R3GAN's are of large networks, with labels         not yet
    r3gan           R3GAN's, with labels    - / 1.96       R3GAN: 50,000 against 50,000                       not yet

`r3gan` is given the labels of all images; "--config.techniques.label_embedding.enabled=False" plays it without. A
narrow one is "--config.networks.widths=(32,32,32,32) --config.networks.blocks=1 --config.batch_size=64". Rates, gamma,
Adam's second decay, the average's half-life and the probability of augmentations follow the paper's schedules over the
whole run, however many epochs that has ("--config.ramp_share=0.5": over its first half). In `r3` all of them stay.

With labels, of which these networks are given all:

    sngan_projection  residual, as SNGAN    8.62 / 17.5    SNGAN's, 5k                                        not yet
    sagan           residual, 16: attention 9.32 / 9.43    mmgeneration: 50,000, 500,000 discriminator steps  not yet
    sagan_128       the paper's, 128 px     52.5 / 18.65   SAGAN, ImageNet, 50,000, best of the run           not yet
    biggan          BigGAN, 96 channels     9.22 / 14.73   BigGAN, C.2; StudioGAN's log has 9.85 / 8.03, 10k  not yet
    biggan_128      the paper's, 128 px     99.3 / 8.51    BigGAN, table 1, ImageNet, no truncation           not yet

"5k" is 5,000 images a score, ten times, and an FID of 5,000 against 10,000 real ones. Numbers compare within one
protocol only: one kind of network has had an FID of 16.8 with 50,000 against 50,000 and 23.9 by "5k".

`r3gan`, `sagan` and `biggan` mirror half of the training images at random ("--config.data.mirror"), as R3GAN's paper
and StudioGAN's configurations do.

What differs from the papers: pixels are not dequantised (SNGAN and WGAN-GP's residual network add U[0, 1/128)), the
statistics of batch norm in sampling are those of 500 fresh latents, an update begins with the discriminator's steps,
and each of those has noise of its own. Smaller differences are those of one or two variants. `dcgan` and `ttur` draw
the kernels of convolutions from a normal distribution, TTUR's code cuts it off at two standard deviations. `lsgan` has
DCGAN's latents, 100 uniform numbers, and StudioGAN 128. `dragan` has batches of 64, as its neighbours; its notebook,
which is of MNIST alone, has 128. The batch norm of `sngan_resnet` adds 1e-5 to a variance, as WGAN-GP's code does in
the same network; SNGAN's code adds 2e-5.

Papers count updates and igan epochs: each variant has the epochs that come nearest to its paper's updates on the 50,000
images of CIFAR-10, those for 128 pixels on the 1,281,167 of ImageNet (TFDS imagenet2012, prepared, read as they are
needed), and other data as many epochs. A folder has a sub-folder for each class:
--config.data.name=folder:/path/to/images. Images of 28 pixels work as they are with all networks but the residual ones,
which then need "--config.networks.generator_widths=(256,256,256)".
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from igan import recipes
from igan.config import Config, check_variant, default

IMAGES = {"cifar10": 50_000, "imagenet2012": 1_281_167}  # To train on.
DCGAN = {"latent_size": 100, "latents": "uniform"}
WGAN_GP = {
    "latent_size": 128,
    "latents": "normal",
    "generator_widths": (512, 256, 128),
    "generator_norm": "flat",
    "discriminator_widths": (128, 256, 512),
    "kernel_std": 0.0,
}
SNGAN = {
    "latent_size": 128,
    "latents": "normal",
    "generator_widths": (512, 256, 128, 64),
    "generator_kernel": 4,
    "generator_norm": "batch",
    "generator_ends_plain": True,
    "discriminator_widths": (64, 64, 128, 128, 256, 256, 512),  # The paper's; all released codes have wider ones:
    "discriminator_kernel": 4,  # (64, 128, 128, 256, 256, 512, 512).
    "discriminator_paired": True,
    "discriminator_norm": "none",
    "slope": 0.1,
}


SAGAN_128 = {
    "generator_widths": (1024, 1024, 512, 256, 128, 64),
    "discriminator_widths": (64, 128, 256, 512, 1024, 1024),
    "discriminator_halvings": 5,
    "discriminator_wide": True,
    "last_bias": True,
}
BIGGAN_128 = {
    "generator_widths": (1536, 1536, 768, 384, 192, 96),
    "discriminator_widths": (96, 192, 384, 768, 1536, 1536),
    "discriminator_halvings": 5,
}


class Setup(NamedTuple):
    """What a variant adds to its recipe."""

    updates: int  # Of the generator, in its paper.
    networks: str = "dcgan"
    settings: Mapping[str, Any] = MappingProxyType({})
    batch_size: int = 64
    generator_batch_size: int = 0  # 0: the same.
    accumulate: int = 1
    data: str = "cifar10"  # A key of IMAGES.
    mirror: bool = False  # Whether images are mirrored at random, as R3GAN's paper and StudioGAN have it.


SETUPS = {
    "dcgan": Setup(100_000, settings=DCGAN),
    "ttur": Setup(75_000, settings=DCGAN),
    "lsgan": Setup(200_000, settings=DCGAN),
    "wgan": Setup(200_000, settings=WGAN_GP),
    "wgan_gp": Setup(200_000, settings=WGAN_GP | {"discriminator_norm": "none"}),
    "wgan_gp_resnet": Setup(
        100_000,
        "resnet",
        {"generator_widths": (128,) * 4, "discriminator_widths": (128,) * 4, "pooling": "mean", "last_bias": True},
        generator_batch_size=128,
    ),
    "dragan": Setup(100_000, settings=DCGAN | {"discriminator_norm": "none", "kernel_std": 0.0}),
    "sngan": Setup(100_000, settings=SNGAN),
    "sngan_resnet": Setup(50_000, "resnet", generator_batch_size=128),  # As released; the paper has 100,000.
    "began": Setup(500_000, "autoencoder", batch_size=16),
    "unrolled": Setup(100_000, settings=DCGAN, batch_size=128),
    "minibatch": Setup(100_000, settings=DCGAN),
    "r3": Setup(
        39_062,  # 20 million images.
        settings=DCGAN
        | {"latents": "normal", "generator_norm": "none", "discriminator_norm": "none", "kernel_std": 0.0},
        batch_size=512,
    ),
    "r3gan": Setup(39_062, "r3gan", batch_size=512, mirror=True),
    "sngan_projection": Setup(50_000, "resnet", generator_batch_size=128),  # As released.
    "sagan": Setup(100_000, "resnet", {"last_bias": True}, mirror=True),
    "sagan_128": Setup(1_000_000, "resnet", SAGAN_128, batch_size=256, data="imagenet2012"),
    "biggan": Setup(100_000, "biggan", mirror=True),
    "biggan_128": Setup(200_000, "biggan", BIGGAN_128, batch_size=2048, accumulate=8, data="imagenet2012"),
}


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant, "dcgan" if none is named."""
    variant = variant or "dcgan"
    check_variant("gans", variant, list(SETUPS))
    setup = SETUPS[variant]
    config = default(networks=setup.networks)
    config.experiment, config.variant = "gans", variant
    config.data.name, config.data.mirror = setup.data, setup.mirror
    config.networks.update(setup.settings)
    config.batch_size = setup.batch_size
    config.generator.batch_size, config.accumulate = setup.generator_batch_size, setup.accumulate
    if setup.data == "imagenet2012":
        config.data.stream, config.data.image_size, config.data.crop = True, 128, "center"
    recipes.KNOWN[variant](config)
    config.epochs = recipes.epochs(setup.updates, config.batch_size, config.discriminator.steps, IMAGES[setup.data])
    return config
