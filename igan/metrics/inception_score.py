"""The Inception score, exp(E_x KL(p(y|x) || p(y))), under named protocols (Salimans et al. 2016, section 4)."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from igan.errors import UserError, did_you_mean
from igan.metrics.score import Score


class Protocol(NamedTuple):
    """How many images are scored, and in how many parts."""

    images: int | None  # The first so many, in order; None for all there are.
    splits: int


PROTOCOLS: Mapping[str, Protocol] = {
    "openai-is": Protocol(images=50_000, splits=10),
    "ten-splits": Protocol(images=None, splits=10),
    "one-split": Protocol(images=None, splits=1),
}


def inception_score(
    logits: np.ndarray, protocol: str = "openai-is", label: str = "unnamed logits", shuffle_seed: int | None = None
) -> Score:
    """Scores class logits.

    Args:
      logits: [n, classes]; for `openai-is` the 1,008 outputs of the Inception network without the bias.
      protocol: a key of `PROTOCOLS`. With fewer than 50,000 images `openai-is` is an error.
      label: where the logits come from, for the protocol string.
      shuffle_seed: None keeps the order. Images sorted by class must be shuffled: else every split lacks classes.

    Returns:
      mean and population standard deviation over the splits; the deviation is None for a single split.

    Warns of splits of fewer images than classes: the score cannot be more than their number, and is far too low.

    Raises:
      UserError: an unknown protocol, too few images, or logits that are not finite.

    >>> inception_score(np.eye(10) * 100, "one-split").value
    10.0
    """
    available = len(logits)
    check(available, protocol, shuffle_seed)
    wanted, splits = PROTOCOLS[protocol]
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise UserError("the Inception score needs finite logits of shape [images, classes]: is a pixel or weight NaN?")
    order, in_order = np.arange(available), "in order"
    if shuffle_seed is not None:
        # RandomState's stream is frozen: the same seed gives the same order in every version of NumPy.
        order = np.random.RandomState(shuffle_seed).permutation(available)
        in_order = f"shuffled by seed {shuffle_seed}"
    order = order[:wanted]
    if (fewest := len(order) // splits) < logits.shape[1]:
        classes = f"{fewest:,} images a split for {logits.shape[1]:,} classes"
        warnings.warn(f"an Inception score of only {classes} is far too low: use as many or more", stacklevel=2)
    from scipy import special  # A tenth of the time in which any command starts.

    # One split at a time: 50,000 x 1,008 in float64 would be 400 MB.
    scores = [
        exponentiated_divergence(special.softmax(logits[part].astype(np.float64), axis=1))
        for part in (order[i * len(order) // splits : (i + 1) * len(order) // splits] for i in range(splits))
    ]
    of = f" of {available:,}" if len(order) < available else ""
    how = f"{protocol}: {len(order):,}{of} images {in_order}, {splits} split{'s' * (splits > 1)}"
    return Score(float(np.mean(scores)), float(np.std(scores)) if splits > 1 else None, f"{how}; {label}")


def check(available: int, protocol: str, shuffle_seed: int | None = None) -> None:
    """Raises UserError unless so many images can be scored under the protocol, in the order of that seed."""
    if shuffle_seed is not None and not 0 <= shuffle_seed < 2**32:
        raise UserError(f"--shuffle_seed={shuffle_seed}: expected a number from 0 to 2^32 - 1")
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown Inception score protocol '{protocol}'.{did_you_mean(protocol, PROTOCOLS)}")
    wanted, splits = PROTOCOLS[protocol]
    if wanted is not None and available < wanted:
        raise UserError(
            f"{protocol} is defined for {wanted:,} images, here are {available:,}: use the protocol 'ten-splits', "
            "and compare only with scores of as many images"
        )
    if available < splits:
        raise UserError(f"{available} images cannot be divided into {splits} splits: give more, or fewer splits")


def exponentiated_divergence(probabilities: np.ndarray) -> float:
    """Returns exp(mean KL(p_i || mean p)) of one split, in float64; 0 log 0 counts as 0.

    Args:
      probabilities: [n, classes], rows that sum to one, however extreme.

    Returns:
      a number in [1, classes].

    >>> exponentiated_divergence(np.array([[1.0, 0.0], [0.0, 1.0]]))
    2.0
    """
    from scipy import special

    probabilities = np.asarray(probabilities, np.float64)
    # The mean of a number that is hardly above zero may be zero, and is then no divisor.
    marginal = np.maximum(probabilities.mean(axis=0), np.finfo(np.float64).tiny)
    divergences = special.rel_entr(probabilities, marginal).sum(axis=1)
    # Rounding may leave -1e-17 where all images look the same.
    return float(np.exp(max(divergences.mean(), 0.0)))
