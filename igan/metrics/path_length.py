"""Path length: how far images go on the way from one latent to another (Karras et al. 2019, section 4.1).

    E |f(G(z(t))) - f(G(z(t + epsilon)))|^2 / epsilon^2,    epsilon = 1e-4, t uniform in [0, 1]

The paper's perceptual path length measures the distance by LPIPS, a metric of VGG16's features that was fitted to what
people say. Those weights are not at hand: f are the features that other scores have too, Inception's or those of the
classifier of the data, and their square distance has another scale. So it is no number to put beside the paper's.
Between two runs under one protocol a shorter path means images that change more evenly.
"""

from collections.abc import Iterator

import jax
import numpy as np

from igan.errors import UserError
from igan.metrics.extract import FeatureNetwork, collect, stream
from igan.metrics.images import Images
from igan.metrics.score import Score

NAME = "path_length"
EPSILON = 1e-4
KEPT = (1.0, 99.0)  # Percentiles of the lengths: those outside are left out.


def path_length(pairs: Images, network: FeatureNetwork, level: str, way: str, batch_size: int = 0) -> Score:
    """Returns the mean length of paths, without the hundredth that is longest and that which is shortest.

    Args:
      pairs: images 2i and 2i + 1 are those of path i at t and t + epsilon, float in 0..255: as bytes they would be the
        same.
      network: what has the features.
      level: which of its features.
      way: how latents are interpolated, for the protocol.
      batch_size: images on all devices at once; 0 for a default.

    Raises UserError for features that are not finite.
    """

    def distances() -> Iterator[dict[str, np.ndarray]]:
        rest = np.empty((0, 0), np.float32)  # A batch may end in the middle of a pair.
        for batch in stream(pairs, network, [level], batch_size=batch_size):
            features = np.concatenate([rest, batch[level]]) if len(rest) else batch[level]
            whole = len(features) // 2 * 2
            rest = features[whole:]
            if whole:
                yield {level: lengths(features[:whole])[:, None]}

    if jax.process_count() > 1:  # The two of a pair may be looked at by two hosts.
        features = collect(stream(pairs, network, [level], batch_size=batch_size), pairs.count)[level]
        found = lengths(features).astype(np.float32)
    else:
        found = collect(distances(), pairs.count // 2)[level][:, 0]
    if not np.isfinite(found).all():
        raise UserError("some features are not finite: is a pixel or a weight NaN?")
    low, high = KEPT
    how = f"{len(found):,} whole paths, {way}, epsilon {EPSILON:g}, percentiles {low:g} to {high:g}"
    return Score(mean_within(found), None, f"{how}; square distances (not LPIPS) of {network.label}, features {level}")


def lengths(features: np.ndarray) -> np.ndarray:
    """Returns |f - f'|^2 / epsilon^2 of neighbours, float64 [n], of features [2n, d]."""
    first, second = np.asarray(features, np.float64).reshape(-1, 2, features.shape[1]).transpose(1, 0, 2)
    return np.sum(np.square(first - second), axis=1) / EPSILON**2


def mean_within(values: np.ndarray) -> float:
    """Returns the mean of the values within the percentiles, which themselves are values and count.

    >>> mean_within(np.array([0.0, *[1.0] * 198, 400.0])), mean_within(np.array([3.0]))
    (1.0, 3.0)
    """
    low = np.percentile(values, KEPT[0], method="lower")
    high = np.percentile(values, KEPT[1], method="higher")
    return float(np.mean(values[(values >= low) & (values <= high)], dtype=np.float64))
