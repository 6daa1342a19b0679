"""SVHN with the convolutional networks of Salimans et al. (2016), section 6.3.

    python -m igan.main --config=experiments/svhn.py                             feature matching: best classifier
    python -m igan.main --config=experiments/svhn.py:minibatch_discrimination    best samples, three generator steps

Semi-supervised with 100 labels a class; the paper's table is --config.labels_per_class=50, 100 and 200, with
--config.replicas=10. 73,257 images to train on and 26,032 to test; the part `extra` is not used.
"""

from igan import presets
from igan.config import Config, check_variant

VARIANTS = ("feature_matching", "minibatch_discrimination")


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant, "feature_matching" if none is named."""
    variant = variant or "feature_matching"
    check_variant("svhn", variant, VARIANTS)
    config = presets.semi_supervised()
    config.experiment, config.variant = "svhn", variant
    config.data.name = "svhn_cropped"
    config.epochs = 900
    config.labels_per_class = 100
    if variant == "feature_matching":
        config.networks.discriminator_widths = (64, 128)
        presets.match_features(config)
    else:
        presets.discriminate_minibatches(config)
    return config
