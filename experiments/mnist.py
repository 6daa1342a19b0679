"""MNIST with the fully connected networks of Salimans et al. (2016), section 6.1.

    python -m igan.main --config=experiments/mnist.py                 semi-supervised, feature matching: Table 1
    python -m igan.main --config=experiments/mnist.py:unsupervised    an ordinary GAN, no labels

With all of MNIST the default is the paper's schedule, 300 epochs. Its table is 20, 50, 100 and 200 labels, which are
--config.labels_per_class=2, 5, 10 and 20, with --config.replicas=10 label draws each; `launch/sweep.py` runs it.
"""

from igan.config import Config, check_variant, default


def get_config(variant: str = "") -> Config:
    """Returns the config of a variant: "" (semi-supervised) or "unsupervised"."""
    if variant:
        check_variant("mnist", variant, ["unsupervised"])
    config = default(networks="fully_connected")
    config.experiment, config.variant = "mnist", variant
    techniques = config.techniques
    if variant == "unsupervised":
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
