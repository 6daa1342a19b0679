"""PGGAN and StyleGAN, whose networks grow from small images to large ones, on CIFAR-10 or any images.

    python -m igan.main --config=experiments/growing.py:pggan
    python -m igan.main --config=experiments/growing.py:stylegan --config.data.name=folder:/path/to/photos \
        --config.data.image_size=128 --config.data.crop=center

One number, `data.image_size`, says how large images become; a stage is a resolution, or a new one that fades in. What a
run does in which update it says before it begins. Rows `a` to `f` are those of StyleGAN's table 1, `stylegan` is `f`.

    variant    what                              published                                              igan
    pggan      PGGAN's networks for CIFAR-10     IS 8.80 best, 8.56 ± 0.06 mean of ten runs (50,000     not yet
                                                 images, ten splits); FID 15.52 (StyleGAN2-ADA's table)
    stylegan   = f                               none for CIFAR-10 or 128 pixels                        not yet
    a          PGGAN's large networks            FFHQ 1,024: FID 8.04 (50,000 against all)              not yet
    b          + blurred resampling, from 8 px   5.25                                                   not yet
    c          + mapping network and styles      4.85                                                   not yet
    d          + a constant instead of latents   4.88                                                   not yet
    e          + noise                           4.42                                                   not yet
    f          + style mixing                    4.40                                                   not yet

With `_narrow` behind its name a variant has 32 channels, three seeds in one program and 60,000 images, for a machine
without a GPU:

    python -m igan.main --config=experiments/growing.py:pggan_narrow
    python -m igan.main --config=experiments/growing.py:f_narrow --config.data.name=mnist \
        --config.data.image_size=32 --config.data.crop=pad

The columns are of other data and sizes: only rows of one run of igan compare. Total images are the papers', 20 million
and 25 million; on other data than CIFAR-10 that is as many epochs.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from igan import recipes
from igan.config import Config, check_variant, default

IMAGES = 50_000  # Of CIFAR-10, to train on.
NARROW = "_narrow"
NARROW_RATE = 4.0  # Times the papers' rates.
# Of images of 4, 8, 16, 32 pixels and of all that are larger: for eight devices, which one device also plays.
STYLE = {
    "batch_sizes": (512, 256, 128, 64, 32),
    "rate_factors": (1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 3.0),  # Of 1e-3: 1.5e-3 for 128 pixels, 3e-3 from 512 on.
}
NOTHING = {"mapping_layers": 0, "styles_of_layers": False, "constant_input": False, "noise": False}


class Setup(NamedTuple):
    """What a variant adds to its recipe."""

    recipe: str
    networks: str
    settings: Mapping[str, Any]
    images: int  # Real ones, in the whole run.
    batch_size: int
    techniques: Mapping[str, Mapping[str, Any]] = {}


PLAIN_B = {"style_mixing": {"enabled": False}, "pixel_norm": {"enabled": True}}
UNMIXED = {"style_mixing": {"enabled": False}}
SETUPS = {
    "pggan": Setup(
        "pggan",
        "progressive",
        {"latent_size": 128, "base": 4096, "most": 128, "train_images": 400_000, "fade_images": 400_000},
        20_000_000,
        16,
        {"gradient_penalty": {"strength": 10 / 750**2, "target": 750.0}},
    ),
    "stylegan": Setup("stylegan", "style", STYLE, 25_000_000, 64),
    "a": Setup(
        "pggan",
        "progressive",
        {"batch_sizes": (128, 128, 128, 64, 32, 16)},
        12_000_000,
        64,
        {"minibatch_stddev": {"group": 4}},
    ),
    "b": Setup("stylegan", "style", NOTHING | STYLE, 25_000_000, 64, PLAIN_B),
    "c": Setup(
        "stylegan",
        "style",
        {"constant_input": False, "noise": False} | STYLE,
        25_000_000,
        64,
        UNMIXED,
    ),
    "d": Setup("stylegan", "style", {"noise": False} | STYLE, 25_000_000, 64, UNMIXED),
    "e": Setup("stylegan", "style", STYLE, 25_000_000, 64, UNMIXED),
    "f": Setup("stylegan", "style", STYLE, 25_000_000, 64),
}


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant, "pggan" if none is named."""
    variant = variant or "pggan"
    check_variant("growing", variant, [name + ending for name in SETUPS for ending in ("", NARROW)])
    setup = SETUPS[variant.removesuffix(NARROW)]
    config = default(networks=setup.networks)
    config.experiment, config.variant = "growing", variant
    config.data.name = "cifar10"
    config.networks.update(setup.settings)
    config.batch_size = setup.batch_size
    recipes.GROWING[setup.recipe](config)
    for name, settings in setup.techniques.items():
        config.techniques[name].update(settings)
    config.epochs = setup.images // IMAGES
    if variant.endswith(NARROW):
        narrow(config)
    return config


def narrow(config: Config) -> None:
    """Makes a game small enough for a laptop."""
    config.networks.update(latent_size=32, base=256, most=32, batch_sizes=(), rate_factors=())
    config.networks.update(train_images=7_500, fade_images=7_500)
    if config.networks.name == "style":
        config.networks.update(mapping_layers=min(config.networks.mapping_layers, 4), mapping_width=32)
    recipes.narrow(config, NARROW_RATE)
