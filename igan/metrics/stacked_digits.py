"""How many of the modes of stacked digits a generator has found, as a classifier of digits sees them.

By the definition of unrolled GANs (Metz et al. 2017, section 3.3.1), VEEGAN (Srivastava et al. 2017, section 4.2) and
PacGAN (Lin et al. 2018, section 4.2): each channel of an image is taken for the digit that the classifier finds the
most probable, however improbable; three digits are one mode of 1,000. Nothing else is asked of an image, so one of
noise counts as a mode too.
"""

from collections.abc import Sequence

import numpy as np

from igan.errors import UserError, did_you_mean
from igan.metrics import mixture
from igan.metrics.extract import FeatureNetwork, collect, stream
from igan.metrics.images import Images, from_array
from igan.metrics.score import Score
from igan.types import Array

SCORES = ("modes", "reverse_kl")
CHANNELS = 3
BATCH = 256  # Images, three digits each.


def scores(names: Sequence[str], images: Images, judge: FeatureNetwork) -> dict[str, Score]:
    """Returns scores of stacked digits.

    Args:
      names: of `SCORES`: `modes`, how many of the classes^3 there is at least one image of; `reverse_kl`, the
        Kullback-Leibler divergence (natural logarithm) of their shares from equal ones: 0 for equal shares,
        log(classes^3) for a single mode. Of n samples of equal shares it is about (classes^3 - 1) / 2n.
      images: uint8 [n, height, width, 3], a digit each channel.
      judge: of `of_channels`.

    Raises UserError for an unknown score, or logits that are not finite.
    """
    for name in names:
        if name not in SCORES:
            raise UserError(f"unknown score '{name}' of stacked digits.{did_you_mean(name, SCORES)}")
    counts = mode_counts(images, judge)
    values = {"modes": float((counts > 0).sum()), "reverse_kl": mixture.reverse_kl(counts)}
    of = f"{images.count:,} samples, {len(counts):,} modes, each channel's digit by {judge.label}"
    said = {"modes": "", "reverse_kl": "natural logarithm, "}
    return {name: Score(values[name], None, said[name] + of) for name in names}


def mode_counts(images: Images, judge: FeatureNetwork) -> np.ndarray:
    """Returns how many images show each mode, int [classes^3]: the digits a, b and c are mode 100 a + 10 b + c.

    Raises UserError where the judge's logits are not finite.
    """
    digits, classes = _digits(images, judge)
    modes = digits @ classes ** np.arange(CHANNELS)[::-1]
    return np.bincount(modes, minlength=classes**CHANNELS)


def of_channels(judge: FeatureNetwork, images: np.ndarray, labels: np.ndarray) -> FeatureNetwork:
    """Returns a classifier of single digits as one of each channel, with its errors in its label.

    Wrap it once: each wrapping is compiled anew.

    Args:
      judge: takes grey images [n, height, width, 1] to the output "logits" [n, classes].
      images: uint8 [n, height, width, 1], digits that it was not trained on.
      labels: int [n], theirs; from 0 on.
    """

    def apply(params: dict, images: Array, levels: Sequence[str]) -> dict[str, Array]:
        grey = images.transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3], 1)
        found = judge.apply(params, grey, levels)
        return {level: output.reshape(len(images), -1) for level, output in found.items()}

    each = judge._replace(levels=("logits",), apply=apply)
    digits, _ = _digits(from_array("digits", images), each)  # Three equal channels.
    wrong = int((digits[:, 0] != labels).sum())
    return each._replace(label=f"{judge.label}, which errs in {wrong:,} of {len(labels):,} test digits")


def _digits(images: Images, judge: FeatureNetwork) -> tuple[np.ndarray, int]:
    """Returns the digit of each channel, int [n, 3], and of how many it is one."""
    logits = collect(stream(images, judge, ["logits"], batch_size=BATCH), images.count)["logits"]
    if not np.isfinite(logits).all():
        raise UserError(f"{judge.label} gives logits that are not finite for {images.name}: no digits can be counted")
    logits = logits.reshape(images.count, CHANNELS, -1)
    return logits.argmax(axis=2), logits.shape[2]
