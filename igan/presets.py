"""What the paper's convolutional experiments, CIFAR-10 and SVHN, have in common (Salimans et al. 2016, section 6)."""

from igan.config import Config, default


def semi_supervised() -> Config:
    """Returns the convolutional semi-supervised game, without a loss for the generator yet.

    >>> config = semi_supervised()
    >>> match_features(config)
    """
    config = default(networks="convolutional")
    for player in (config.discriminator, config.generator):
        player.learning_rate = 3e-4
        player.constant_share = 2 / 3  # 3e-4 * min(3 - 3 * epoch / epochs, 1)
    config.techniques.semi_supervised.enabled = True
    config.techniques.minimax.enabled = True
    config.techniques.minimax.discriminator_weight = 0.5
    config.techniques.minimax.generator_weight = 0.0
    config.evaluation.interval = 500
    return config


def match_features(config: Config) -> None:
    """Sets what the paper's best classifier adds: feature matching by the mean absolute difference."""
    config.techniques.feature_matching.enabled = True
    config.techniques.feature_matching.distance = "absolute"


def discriminate_minibatches(config: Config) -> None:
    """Sets what the paper's best samples add: minibatch features, and three steps of the generator on minimax."""
    config.networks.input_dropout = 0.0
    config.networks.input_noise = 0.2
    config.techniques.minibatch_discrimination.enabled = True
    config.techniques.minimax.generator_weight = 1.0  # -mean softplus(log Z(G(z)))
    config.generator.steps = 3
