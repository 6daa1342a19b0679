"""CIFAR-10 with the convolutional networks of Salimans et al. (2016), section 6.2.

    python -m igan.main --config=experiments/cifar10.py                             feature matching: best classifier
    python -m igan.main --config=experiments/cifar10.py:minibatch_discrimination    best samples, three generator steps
    python -m igan.main --config=experiments/cifar10.py:ours                        the ablation of Table 3 begins here

The first two are semi-supervised with 400 labels a class; the paper's table is --config.labels_per_class=100, 200, 400
and 800, with --config.replicas=10. The rows of Table 3 are "ours" (every technique but feature matching and historical
averaging, all labels) and what is left without one: "-vbn+bn" (batch normalisation instead of virtual batch
normalisation), "-l+ha" (no labels, historical averaging), "-ls" (no label smoothing), "-l" (no labels) and "-mbf" (no
minibatch features). Other data: --config.data.name=fashion_mnist with other generator_widths, or folder:/path.
"""

from igan import presets
from igan.config import Config, check_variant

ABLATION = ("ours", "-vbn+bn", "-l+ha", "-ls", "-l", "-mbf")
VARIANTS = ("feature_matching", "minibatch_discrimination", *ABLATION)


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant, "feature_matching" if none is named."""
    variant = variant or "feature_matching"
    check_variant("cifar10", variant, VARIANTS)
    config = presets.semi_supervised()
    config.experiment, config.variant = "cifar10", variant
    config.data.name = "cifar10"
    config.epochs = 1200
    config.labels_per_class = 400
    if variant == "feature_matching":
        presets.match_features(config)
    else:
        presets.discriminate_minibatches(config)
    if variant in ABLATION:
        ablate(config, variant)
    return config


def ablate(config: Config, variant: str) -> None:
    """Sets a row of Table 3."""
    config.labels_per_class = 0  # The paper does not say how many; all of them.
    techniques = config.techniques
    techniques.semi_supervised.enabled = variant not in ("-l", "-l+ha")
    techniques.historical_averaging.enabled = variant == "-l+ha"
    techniques.label_smoothing.enabled = variant != "-ls"
    techniques.virtual_batch_norm.enabled = variant != "-vbn+bn"
    techniques.minibatch_discrimination.enabled = variant != "-mbf"
