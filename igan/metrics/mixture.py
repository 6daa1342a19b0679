"""How much of a mixture of Gaussians a generator has found: modes, high-quality samples and reverse KL divergence.

By the definitions of VEEGAN (Srivastava et al. 2017, section 4.1) and PacGAN (Lin et al. 2018, section 4.1). A sample
is of high quality where the nearest mode is less than three standard deviations away; a perfect generator of a plane
mixture has 1 - exp(-4.5) = 98.9 per cent of those.
"""

from collections.abc import Sequence

import numpy as np

from igan.errors import UserError, did_you_mean
from igan.metrics.score import Score
from igan.types import Modes

SCORES = ("modes", "high_quality", "reverse_kl")
MOST_STDS = 3.0


def scores(names: Sequence[str], samples: np.ndarray, modes: Modes) -> dict[str, Score]:
    """Returns scores of samples against the modes that they should cover.

    Args:
      names: of `SCORES`: `modes`, those that are nearest to at least one high-quality sample; `high_quality`, the
        samples that are, in per cent; `reverse_kl`, the Kullback-Leibler divergence (natural logarithm) of the modes of
        the high-quality samples from equal shares: 0 for equal shares, log(modes) for a single mode and, as there is
        nothing to count, where no sample is of high quality.
      samples: float [n, coordinates].
      modes: of the mixture.

    Raises UserError for an unknown score.

    >>> ring = Modes(np.array([[1.0, 0.0], [-1.0, 0.0]]), std=0.01)
    >>> scores(["modes"], np.zeros((5, 2)), ring)["modes"].value
    0.0
    """
    for name in names:
        if name not in SCORES:
            raise UserError(f"unknown score '{name}'.{did_you_mean(name, SCORES)}")
    counts = mode_counts(samples, modes)
    total = len(modes.centres)
    values = {
        "modes": float((counts > 0).sum()),
        "high_quality": 100 * float(counts.sum()) / len(samples),
        "reverse_kl": reverse_kl(counts),
    }
    of = f"{len(samples):,} samples, {total} modes of std {modes.std:g}, high quality within {MOST_STDS:g} std"
    said = {"modes": "", "high_quality": "per cent of ", "reverse_kl": "natural logarithm, of high quality among "}
    return {name: Score(values[name], None, said[name] + of) for name in names}


def mode_counts(samples: np.ndarray, modes: Modes) -> np.ndarray:
    """Returns how many high-quality samples are nearest to each mode, int [modes].

    Args:
      samples: float [n, coordinates].
      modes: of the mixture.
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(modes.centres, np.float64)
    squared = np.stack([((samples - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    is_good = squared.min(axis=1) < (MOST_STDS * modes.std) ** 2
    return np.bincount(squared.argmin(axis=1)[is_good], minlength=len(centres))


def reverse_kl(counts: np.ndarray) -> float:
    """Returns the divergence KL(p || uniform) of the shares p of modes, from how often each was seen.

    >>> reverse_kl(np.array([5, 5])), round(reverse_kl(np.array([7, 0])), 4)
    (0.0, 0.6931)
    """
    if not counts.sum():
        return float(np.log(len(counts)))
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(shares * len(counts))).sum())
