"""Mixtures of Gaussians in the plane: a laboratory in which every technique is played in half a minute.

    python -m igan.main --config=experiments/mixture.py:ring              8 Gaussians on a circle
    python -m igan.main --config=experiments/mixture.py:grid              25 Gaussians on a grid
    python -m igan.main --config=experiments/mixture.py:spiral            a line; no modes to count
    python -m igan.main --config=experiments/mixture.py:ring-hinge        the same with a technique, any that igan has
    python launch/sweep.py --config=experiments/mixture.py --variants=all --jobs=2 --workdir=runs/mixture      them all

All of these have the same networks, the same optimisers and as many updates, so that what differs is the technique; 10
replicas each. What a technique changes besides is in `ALSO`. They are no papers' settings; those are, the last one at
the scale of points,

    python -m igan.main --config=experiments/mixture.py:unrolled_ring     the demo of unrolled GANs, with 5 steps
    python -m igan.main --config=experiments/mixture.py:unrolled_figure   the figure of their paper, with 10
    python -m igan.main --config=experiments/mixture.py:pacgan_ring       PacGAN's GAN; :pacgan_grid
    python -m igan.main --config=experiments/mixture.py:r3                R3GAN's objective and penalties, on the ring

PacGAN's packing is --config.techniques.packing.enabled=True --config.techniques.packing.images=2 with it. Other data:
--config.data.name=ring:radius=2:std=0.02, as igan/data/points.py describes it.
"""

from collections.abc import Callable
from typing import Any

from igan import recipes
from igan.config import Config, check_variant, default
from igan.game import technique
from igan.reporting.mixtures import left_out

SHAPES = ("ring", "grid")
UPDATES_IN_EPOCHS = 3  # Of 100,000 points in batches of 64: 4,686 updates.
# Fields that go with a technique here, beside its own defaults.
ALSO: dict[str, dict[str, Any]] = {
    "feature_matching": {"techniques.non_saturating.generator_weight": 0.0},
    "wasserstein": {"discriminator.steps": 5, "techniques.wasserstein.clip": 0.1},
    "gradient_penalty": {
        "discriminator.steps": 5,
        "techniques.wasserstein.enabled": True,
        "techniques.wasserstein.clipping": False,
        "techniques.gradient_penalty.strength": 0.1,  # The paper's code, for points.
    },
    # Distances of all pairs are what takes the time: 100 kernels are five minutes of it.
    "minibatch_discrimination": {
        "techniques.minibatch_discrimination.kernels": 10,
        "techniques.minibatch_discrimination.dimensions": 3,
    },
    "virtual_batch_norm": {"techniques.virtual_batch_norm.reference_size": 64},
}


PLAYED = tuple(name for name in technique.known() if name not in left_out())
VARIANTS = tuple(f"{shape}-{name}" for shape in SHAPES for name in PLAYED)  # Of the whole table.


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant, "ring" if none is named."""
    variant = variant or "ring"
    check_variant("mixture", variant, [*SHAPES, "spiral", *SETUPS, *VARIANTS])
    shape, _, name = variant.partition("-")
    config = SETUPS[variant]() if variant in SETUPS else laboratory(shape, name)
    config.experiment, config.variant = "mixture", variant
    return config


def laboratory(shape: str, name: str) -> Config:
    """Returns the game that all techniques are compared in, with one of them or, for "", the plain game."""
    config = points(shape)
    config.batch_size = 64
    config.networks.latent_size = 2
    config.networks.generator_layers = config.networks.discriminator_layers = (128, 128)
    config.networks.initialiser = "he"
    config.networks.input_divisor = 4.0 if shape == "grid" else 1.0
    for player in (config.discriminator, config.generator):
        player.learning_rate = 1e-3
        player.constant_share = 0.5
    config.techniques.non_saturating.enabled = True
    if name:
        switch_on(config, name)
    config.epochs = UPDATES_IN_EPOCHS * config.discriminator.steps  # As many updates, whatever the critic's steps.
    return config


def switch_on(config: Config, name: str) -> None:
    """Enables a technique with what goes with it; what has an objective of its own takes the place of the plain one."""
    settings = {f"techniques.{name}.enabled": True} | ALSO.get(name, {})
    for field, value in settings.items():
        section, _, last = field.rpartition(".")
        target = config
        for part in section.split("."):
            target = target[part]
        target[last] = value
    enabled = {each: fields for each, fields in config.techniques.items() if fields.enabled}
    for each, loaded in technique.load(enabled).items():
        if each != "non_saturating" and loaded.objective:
            for player in ("discriminator", "generator"):
                if getattr(loaded, f"{player}_loss") is not None:
                    config.techniques.non_saturating[f"{player}_weight"] = 0.0
    plain = config.techniques.non_saturating
    plain.enabled = bool(plain.discriminator_weight or plain.generator_weight)


def points(shape: str) -> Config:
    """Returns what all games on points have in common."""
    config = default(networks="points")
    config.data.name, config.data.source = shape, "points"
    config.replicas = 10
    config.average_rate = 1.0  # Papers look at the generators as they are.
    for player in (config.discriminator, config.generator):  # That of 2016, 1e-4 beside the root, shortens small steps.
        player.epsilon = recipes.ADAM_EPSILON
    config.steps_per_chunk = 250
    config.evaluation.images = 2500
    config.evaluation.scores_interval = 1000
    config.evaluation.scores = () if shape == "spiral" else ("modes", "high_quality", "reverse_kl")
    config.reporting.samples = 2500
    config.reporting.samples_interval = 500
    return config


def unrolled_ring() -> Config:
    """Returns the authors' demo of unrolled GANs (Metz et al. 2017), on a ring whose eight modes weigh the same."""
    config = points("ring")
    config.batch_size = 512
    config.epochs = 128  # 24,960 updates.
    config.networks.generator_layers = config.networks.discriminator_layers = (128, 128)
    config.networks.generator_activation = config.networks.discriminator_activation = "tanh"
    config.networks.gain = 1.4
    config.networks.input_divisor = 1.0
    config.discriminator.learning_rate, config.generator.learning_rate = 1e-4, 1e-3
    config.techniques.minimax.enabled = True
    if "unrolled" in config.techniques:
        config.techniques.unrolled.enabled = True
    config.evaluation.scores_interval = config.reporting.samples_interval = 5000
    return config


def unrolled_figure() -> Config:
    """Returns the game of figure 1 of that paper, as others describe it: we could not read its appendix.

    A step there is one player's, so that its 25,000 are half as many updates. The generator's rate is the demo's 1e-3,
    as some descriptions have it; others have 1e-4 for both players. Without steps ahead, which is
    --config.techniques.unrolled.enabled=False, all samples are in one place and go from mode to mode.
    """
    config = unrolled_ring()
    config.data.name = "ring:radius=2:std=0.02"
    config.epochs = 64  # 12,480 updates.
    config.networks.generator_activation = config.networks.discriminator_activation = "relu"
    config.networks.discriminator_layers = (128,)
    config.networks.gain = 0.8
    config.networks.input_divisor = 4.0
    if "unrolled" in config.techniques:
        config.techniques.unrolled.steps = 10
    config.evaluation.scores_interval = config.reporting.samples_interval = 2500
    return config


def pacgan(shape: str) -> Config:
    """Returns PacGAN's game on the ring or the grid (Lin et al. 2018, section 4.1), without packing.

    Its code moves both players at once, from gradients of the same parameters; igan's engine has the discriminator move
    first and the generator answer it, in this game as in all others.
    """
    config = points(shape)
    config.batch_size = 100
    config.epochs = 400
    config.networks.latent_size = 2
    config.networks.generator_layers = (400, 400, 400, 400)
    config.networks.batch_norm = True
    config.networks.discriminator_layers = (200, 200, 200)
    config.networks.discriminator_activation = "maxout"
    config.networks.initialiser, config.networks.gain = "normal", 0.02
    config.networks.input_divisor = 1.0
    for player in (config.discriminator, config.generator):
        player.learning_rate = 1e-4
        player.b1 = 0.8
    config.techniques.non_saturating.enabled = True
    config.evaluation.scores_interval = config.reporting.samples_interval = 20_000
    return config


def r3() -> Config:
    """Returns the ring of the laboratory with R3GAN's recipe (Huang et al. 2024): relativistic pairs, R1 and R2.

    The numbers are those of `igan.recipes.r3`, but for the average of the parameters: its half-life of five million
    images is longer than this game.
    """
    config = laboratory("ring", "")
    config.techniques.non_saturating.enabled = False
    recipes.r3(config)
    config.average_half_life = 0.0
    return config


SETUPS: dict[str, Callable[[], Config]] = {
    "unrolled_ring": unrolled_ring,
    "unrolled_figure": unrolled_figure,
    "pacgan_ring": lambda: pacgan("ring"),
    "pacgan_grid": lambda: pacgan("grid"),
    "r3": r3,
}
