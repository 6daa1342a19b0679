"""The formula of the Inception score on the classes of any classifier: for images that ImageNet knows nothing of."""

from collections.abc import Callable

from igan.metrics import inception_score
from igan.metrics.extract import FeatureNetwork, collect, stream
from igan.metrics.images import Images
from igan.metrics.score import Score
from igan.types import Array


def from_function(label: str, classify: Callable[[Array], Array]) -> FeatureNetwork:
    """Wraps a classifier for `classifier_score`. Wrap it once: each wrapping is compiled anew.

    Args:
      label: what a protocol calls it, with a hash of its weights.
      classify: uint8 images [n, height, width, 3] -> logits [n, classes]; grey images have three equal channels.

    >>> network = from_function("mean", lambda images: images.mean(axis=(1, 2)))
    """
    return FeatureNetwork(label, ("logits",), {}, lambda params, images, levels: {"logits": classify(images)})


def classifier_score(
    images: Images,
    network: FeatureNetwork,
    protocol: str = "",
    shuffle_seed: int | None = None,
    batch_size: int = 0,
) -> Score:
    """Returns exp(mean KL(p(y|x) || p(y))) with the softmax of a classifier, a number between 1 and its classes.

    Args:
      images: what to score.
      network: of `from_function` or `igan.metrics.image_classifier.load`; its output `logits` is used.
      protocol: a key of `igan.metrics.inception_score.PROTOCOLS`; "" for `openai-is` with 50,000 images or more, else
        `ten-splits`.
      shuffle_seed: shuffles before the splits.
      batch_size: images on all devices at once; 0 for a default.

    Raises:
      UserError: too few images, an unknown protocol, or logits that are not finite.
    """
    protocol = protocol or ("openai-is" if images.count >= 50_000 else "ten-splits")
    inception_score.check(images.count, protocol)
    logits = collect(stream(images, network, ["logits"], batch_size=batch_size or 512), images.count)["logits"]
    label = f"classifier {network.label}, {images.name}"
    return inception_score.inception_score(logits, protocol, label, shuffle_seed)
