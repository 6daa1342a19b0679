"""The best of many generated images by a score of single images, as the paper's second figure on CIFAR-10 has them.

The paper selects "the top 1 % of samples according to the Inception score", which is defined for sets of images and not
for one. Here the score of one image is its term of that sum: the divergence of its class distribution from the mean one
of all candidates, KL(p(y|x) || p(y)).
"""

from collections.abc import Callable

import numpy as np
import scipy.special

from igan.annotation.options import Options, share_of
from igan.annotation.pool import Source
from igan.errors import UserError, did_you_mean
from igan.metrics import images
from igan.metrics.images import Images

SCORES = ("inception_score",)
MOST_CANDIDATES = 50_000


def candidates(options: Options) -> int:
    """Returns how many images to draw from a run, so that enough are left.

    >>> candidates(Options(pool=100)), candidates(Options(pool=100, select="top1%", select_score="inception_score"))
    (100, 10000)
    """
    share = share_of(options.select) if options.select else None
    return min(MOST_CANDIDATES, round(options.pool / share)) if share else options.pool


def select(source: Source, options: Options, logits: Callable[[Images], np.ndarray] | None = None) -> Source:
    """Returns a source with the best of its images by the study's score; real ones as they are.

    Args:
      logits: images -> [n, classes]; default: the Inception network's.

    Raises UserError for an unknown score.
    """
    if not options.select or source.real:
        return source
    if options.select_score not in SCORES:
        raise UserError(
            f"--select needs --select_score: '{options.select_score}'.{did_you_mean(options.select_score, SCORES)}"
        )
    share = share_of(options.select) or 1.0
    scores = divergences((logits or _inception_logits)(source.images))
    keep = np.sort(np.argsort(-scores, kind="stable")[: max(1, round(share * len(scores)))])
    pixels = np.concatenate([source.images.read(int(place), int(place) + 1) for place in keep])
    description = (
        f"{len(keep):,} of {source.description}: {options.select} of {len(scores):,} by the divergence of an image's"
        " classes from the mean (Inception network)"
    )
    return source._replace(images=images.from_array(source.name, pixels), description=description)


def divergences(logits: np.ndarray) -> np.ndarray:
    """Returns KL(p(y|x) || p(y)) in nats for each row of logits [n, classes]; p(y) is the mean over rows.

    >>> divergences(np.array([[100.0, 0.0], [0.0, 100.0]])).round(4).tolist()
    [0.6931, 0.6931]
    """
    log_probabilities = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=1)
    log_mean = scipy.special.logsumexp(log_probabilities, axis=0) - np.log(len(log_probabilities))
    return (np.exp(log_probabilities) * (log_probabilities - log_mean)).sum(axis=1)


def _inception_logits(found: Images) -> np.ndarray:
    from igan.metrics import extract, inception, weights

    network = inception.network(weights.load(None))
    if "logits_unbiased" not in network.levels:
        raise UserError(f"--select needs the whole Inception network: {weights.HOW_TO_FETCH}")
    batches = extract.stream(found, network, ("logits_unbiased",))
    return extract.collect(batches, found.count)["logits_unbiased"]
