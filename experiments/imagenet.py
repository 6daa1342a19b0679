"""ImageNet at 128 x 128 pixels with the networks of Salimans et al. (2016), section 6.4.

    python -m igan.main --config=experiments/imagenet.py                              TFDS imagenet2012, prepared
    python -m igan.main --config=experiments/imagenet.py --config.data.name=folder:/path/to/images

All 1,000 classes and all labels; images are read as they are needed. The paper trains on four devices with 64 images
each: --config.batch_size=256 on four. In a folder each sub-folder is a class.
"""

from igan.config import Config, default
from igan.errors import UserError


def get_config(variant: str = "") -> Config:
    """Returns the config; there are no variants."""
    if variant:
        raise UserError(f"experiments/imagenet.py has no variant '{variant}': use --config=experiments/imagenet.py")
    config = default(networks="imagenet")
    config.experiment = "imagenet"
    config.data.name = "imagenet2012"
    config.data.stream = True
    config.data.image_size = 128
    config.data.crop = "center"
    config.epochs = 100
    config.batch_size = 64
    config.initial_images = 64
    config.labels_per_class = 0
    config.discriminator.learning_rate = 4e-4
    config.generator.learning_rate = 4e-4
    techniques = config.techniques
    techniques.semi_supervised.enabled = True
    techniques.non_saturating.enabled = True
    techniques.label_smoothing.enabled = True
    techniques.label_smoothing.real_target = 0.75
    techniques.label_smoothing.generator_target = 0.375
    techniques.virtual_batch_norm.enabled = True
    techniques.virtual_batch_norm.reference_size = 64
    techniques.minibatch_discrimination.enabled = True
    techniques.minibatch_discrimination.kernels = 300
    techniques.minibatch_discrimination.dimensions = 50
    return config
