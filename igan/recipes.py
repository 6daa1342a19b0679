"""What published GANs set of a game: techniques, and both players' steps and optimisers.

Networks, data, batches and the length of a run belong to the experiment: `experiments/gans.py` has those of the papers.
A recipe is the same at another scale, with points of the plane or digits:

    config = igan.config.default(networks="dcgan")
    recipes.KNOWN["sngan"](config)

Learning rates are in the order discriminator, generator, as Heusel et al. (2017) print them. An epsilon of 1e-8 beside
the root of Adam's second moment, which the released codes have, is one of 1e-16 inside the root, where igan adds it.
Few of those codes average parameters, those of `r3` and `biggan`; the others set `average_rate` to 1: what is sampled
and scored are the parameters as they are. In igan an update is all steps of the discriminator, then those of the
generator; the codes of WGAN-GP and SNGAN begin with the generator.
"""

from collections.abc import Callable
from typing import Any

from igan.config import Config

ADAM_EPSILON = 1e-16  # Inside the root.


def dcgan(config: Config) -> None:
    """The non-saturating game with one learning rate, as Heusel et al. (2017), table A2, compare theirs with."""
    _enable(config, non_saturating={})
    _adam(config, (1e-4, 1e-4), b1=0.5, b2=0.999)


def ttur(config: Config) -> None:
    """Two time-scales (Heusel et al. 2017, table 1): the generator learns five times as fast, one step each."""
    dcgan(config)
    config.generator.learning_rate = 5e-4


def lsgan(config: Config) -> None:
    """Least squares with the labels 0, 1 and 1 (Mao et al. 2017, section 3.2), two steps of the discriminator.

    The original has no numbers for CIFAR-10. Steps and rates are those of StudioGAN's configuration for it.
    """
    _enable(config, least_squares={"generated_label": 0.0, "real_label": 1.0, "generator_label": 1.0})
    _adam(config, (2e-4, 2e-4), b1=0.5, b2=0.999, steps=2)


def wgan(config: Config) -> None:
    """Wasserstein with clipped weights (Arjovsky et al. 2017, algorithm 1), five steps of the critic.

    The released code gives the critic 100 steps in each of the first 25 updates, and in every 500th; here it has five.
    """
    _enable(config, wasserstein={"clipping": True, "clip": 0.01})
    _players(config, (5e-5, 5e-5), steps=5, optimizer="rmsprop", decay=0.99, epsilon=1e-8)


def wgan_gp(config: Config) -> None:
    """Wasserstein with a gradient penalty (Gulrajani et al. 2017), at the rates of its convolutional network."""
    _enable(config, wasserstein={"clipping": False}, gradient_penalty={"strength": 10.0, "target": 1.0})
    _adam(config, (1e-4, 1e-4), b1=0.5, b2=0.9, steps=5)


def wgan_gp_resnet(config: Config) -> None:
    """The same with the rates of its residual network, which fall to zero (appendix F)."""
    wgan_gp(config)
    _adam(config, (2e-4, 2e-4), b1=0.0, b2=0.9, steps=5, falling=True)


def dragan(config: Config) -> None:
    """The non-saturating game with a penalty around the real images (Kodali et al. 2017 and its released notebook)."""
    _enable(config, non_saturating={}, dragan={"strength": 10.0, "target": 1.0, "radius": 0.5})
    _adam(config, (1e-4, 1e-4), b1=0.5, b2=0.9)


def sngan(config: Config) -> None:
    """Spectral norm and hinge (Miyato et al. 2018), with the optimiser that the paper calls setting C."""
    _enable(config, hinge={}, spectral_norm={})
    _adam(config, (2e-4, 2e-4), b1=0.5, b2=0.999)


def sngan_resnet(config: Config) -> None:
    """The same with the rates of its released residual network, five steps of the discriminator."""
    sngan(config)
    _adam(config, (2e-4, 2e-4), b1=0.0, b2=0.9, steps=5, falling=True)


def began(config: Config) -> None:
    """Boundary equilibrium (Berthelot et al. 2017) with the diversity ratio 0.5.

    The paper halves its rate, 1e-4, whenever the measure of convergence stalls; igan lets it fall linearly instead. The
    decays of the moments are Adam's usual ones, with which the known implementation in TensorFlow trains.
    """
    _enable(config, boundary_equilibrium={})
    _adam(config, (1e-4, 1e-4), b1=0.9, b2=0.999, falling=True)


def unrolled(config: Config) -> None:
    """The minimax game with a discriminator unrolled by five steps (Metz et al. 2017).

    Rates and decays are those with which PacGAN's code repeats that paper's game on stacked MNIST.
    """
    _enable(config, minimax={}, unrolled={"steps": 5})
    _adam(config, (2e-4, 1e-4), b1=0.5, b2=0.99)


def minibatch(config: Config) -> None:
    """The non-saturating game with minibatch discrimination (Salimans et al. 2016, section 3.2), at DCGAN's rates."""
    _enable(config, non_saturating={}, minibatch_discrimination={})
    _adam(config, (2e-4, 2e-4), b1=0.5, b2=0.999)


def r3(config: Config) -> None:
    """Relativistic pairing with R1 and R2 (Huang et al. 2024), gamma 0.05, which is where its schedule begins.

    The paper's schedules are those of `r3gan`; here rates, gamma and the decay of Adam's second moment stay at 2e-4,
    0.05 and 0.99. The average of the parameters has a half-life of five million images.
    """
    _enable(config, relativistic={"comparison": "pairing", "loss": "softplus"}, r1={"gamma": 0.05}, r2={"gamma": 0.05})
    _adam(config, (2e-4, 2e-4), b1=0.0, b2=0.99)
    config.average_half_life = 5e6


def r3gan(config: Config) -> None:
    """The same with the paper's schedules for CIFAR-10, along half a cosine over the whole run: 20 million images.

    The learning rate falls from 2e-4 to 5e-5, gamma from 0.05 to 0.005; Adam's second decay rises from 0.9 to 0.99, the
    probability of augmentations from 0 to 0.55, and the average's half-life from nothing to five million images.
    """
    r3(config)
    _enable(config, label_embedding={}, r1={"final_gamma": 0.005}, r2={"final_gamma": 0.005})
    policy = ("pixel_blitting", "geometry", "color", "cutout")
    _enable(config, adaptive_augment={"final_probability": 0.55, "policy": policy, "color_share": 0.5})
    for player in (config.discriminator, config.generator):
        player.update(final_learning_rate=5e-5, b2=0.9, final_b2=0.99)
    config.ramp_share = 1.0
    config.labels_per_class = 0


def sngan_projection(config: Config) -> None:
    """SNGAN's residual networks told the class (Miyato and Koyama 2018), at the rates of its released CIFAR-10 code."""
    sngan_resnet(config)
    _conditional(config, conditional_batch_norm={}, projection={})


def sagan_128(config: Config) -> None:
    """Self-attention and spectral norm in both players (Zhang et al. 2019) for 128 x 128, with the rates of the paper.

    Adam's second decay is the paper's 0.9; its released code leaves it at 0.999.
    """
    attention = {"generator_resolution": 32, "discriminator_resolution": 32}
    _enable(config, hinge={}, spectral_norm={"players": "both"}, self_attention=attention)
    _conditional(config, conditional_batch_norm={}, projection={})
    _adam(config, (4e-4, 1e-4), b1=0.0, b2=0.9)


def sagan(config: Config) -> None:
    """The same for 32 x 32, which the paper does not have, with the rates of StudioGAN's configuration for CIFAR-10."""
    sagan_128(config)
    config.techniques.self_attention.update(generator_resolution=16, discriminator_resolution=16)
    _adam(config, (2e-4, 2e-4), b1=0.5, b2=0.999, steps=5)


def biggan(config: Config) -> None:
    """BigGAN (Brock et al. 2019) for 32 x 32, with the rates of StudioGAN's configuration for CIFAR-10.

    Other than that configuration it has orthogonal regularisation, as the paper. The average begins at update 1000.
    """
    attention = {"generator_resolution": 16, "discriminator_resolution": 16}
    _enable(config, hinge={}, spectral_norm={"players": "both"})
    _enable(config, self_attention=attention, orthogonal={"strength": 1e-4})
    _conditional(config, projection={})
    _adam(config, (2e-4, 2e-4), b1=0.5, b2=0.999, steps=5)
    config.average_rate, config.average_start = 1e-4, 1000


def biggan_128(config: Config) -> None:
    """The same with the paper's rates for 128 x 128, two steps of the discriminator."""
    biggan(config)
    config.techniques.self_attention.update(generator_resolution=64, discriminator_resolution=64)
    _adam(config, (2e-4, 5e-5), b1=0.0, b2=0.999, steps=2)
    config.average_rate, config.average_start = 1e-4, 20_000


KNOWN: dict[str, Callable[[Config], None]] = {
    "dcgan": dcgan,
    "lsgan": lsgan,
    "wgan": wgan,
    "wgan_gp": wgan_gp,
    "wgan_gp_resnet": wgan_gp_resnet,
    "dragan": dragan,
    "sngan": sngan,
    "sngan_resnet": sngan_resnet,
    "ttur": ttur,
    "began": began,
    "unrolled": unrolled,
    "minibatch": minibatch,
    "r3": r3,
    "r3gan": r3gan,
    "sngan_projection": sngan_projection,
    "sagan": sagan,
    "sagan_128": sagan_128,
    "biggan": biggan,
    "biggan_128": biggan_128,
}


def narrow(config: Config, rate: float) -> None:
    """Makes the game of a recipe one for a laptop: three seeds, batches of 64, and scores that need no weights.

    Networks are the experiment's. All learning rates are `rate` times the recipe's, which has to be there already.
    """
    config.batch_size, config.replicas, config.steps_per_chunk, config.epochs = 64, 3, 25, 1
    for player in (config.discriminator, config.generator):
        player.learning_rate *= rate
        player.final_learning_rate *= rate
    config.reporting.samples_interval = 300
    config.evaluation.images = 10_000
    config.evaluation.reference_images = 10_000  # The neighbours of 60,000 take as long as the run.
    config.evaluation.scores = (
        "classifier_score",
        "fid_classifier",
        "precision_recall_classifier",
        "density_coverage_classifier",
    )


def epochs(updates: int, batch_size: int, steps: int, images: int) -> int:
    """Returns how many epochs come nearest to a number of updates; papers count these.

    An epoch is a pass of the discriminator, so with several steps an update it has fewer updates.

    >>> epochs(100_000, batch_size=64, steps=5, images=50_000)  # 156 updates each.
    641
    """
    return max(1, round(updates / max(1, images // (batch_size * steps))))


def _conditional(config: Config, **techniques: dict[str, Any]) -> None:
    """Enables techniques that are given all labels; generated images are of each class as often as of the others."""
    _enable(config, **techniques)
    config.labels_per_class, config.generated_labels = 0, "uniform"


def _enable(config: Config, **techniques: dict[str, Any]) -> None:
    for name, settings in techniques.items():
        config.techniques[name].update(enabled=True, **settings)


def _adam(
    config: Config, rates: tuple[float, float], b1: float, b2: float, steps: int = 1, falling: bool = False
) -> None:
    _players(config, rates, steps, falling, optimizer="adam", b1=b1, b2=b2, epsilon=ADAM_EPSILON)


def _players(config: Config, rates: tuple[float, float], steps: int, falling: bool = False, **optimizer: Any) -> None:
    """Sets both players' optimisers, and the discriminator's steps; rates that fall do so from the first update on."""
    for player, rate in zip((config.discriminator, config.generator), rates, strict=True):
        player.update(optimizer | {"learning_rate": rate, "constant_share": 0.0 if falling else 1.0})
    config.discriminator.steps = steps
    config.average_rate = 1.0


def pggan(config: Config) -> None:
    """Progressive growing with WGAN-GP (Karras et al. 2018, appendix A.1), of the networks `progressive`.

    The slope that the penalty aims at is 1; `experiments/growing.py` has CIFAR-10's, 750. The average of the generator
    spans 1,000 updates, and at most a ninth of a stage: in the paper it knows no stages. Nor is there one batch of
    generated images for both players, as CIFAR-10's code had.
    """
    _enable(
        config,
        wasserstein={"clipping": False},
        gradient_penalty={"strength": 10.0, "target": 1.0},
        drift={"strength": 1e-3},
        pixel_norm={},
        equalized_rate={},
        minibatch_stddev={"group": 0},
    )
    _adam(config, (1e-3, 1e-3), b1=0.0, b2=0.99)
    config.average_rate = 1e-3


def stylegan(config: Config) -> None:
    """Styles (Karras et al. 2019, appendix C), of the networks `style`: the non-saturating game with R1, gamma 10.

    R1 comes in every 16th step only, 16 times as large, as in that paper's successor. The average of the generator has
    a half-life of 10,000 images. The rates are those for images of up to 64 pixels: `experiments/growing.py` has the
    factors for larger ones.
    """
    _enable(
        config,
        non_saturating={},
        r1={"gamma": 10.0, "interval": 16},
        equalized_rate={},
        minibatch_stddev={"group": 4},
        style_mixing={"probability": 0.9},
    )
    _adam(config, (1e-3, 1e-3), b1=0.0, b2=0.99)
    config.average_half_life = 10_000.0


# Those of the networks that grow, whose setups are those of `experiments/growing.py`.
GROWING: dict[str, Callable[[Config], None]] = {"pggan": pggan, "stylegan": stylegan}
