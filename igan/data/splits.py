"""Which training examples are allowed to keep their label."""

import numpy as np

from igan.errors import UserError


def labeled_indices(labels: np.ndarray, labels_per_class: int, seed: int) -> np.ndarray:
    """Draws the same number of examples from every class, without replacement.

    A pure function of its arguments: a resumed run, or a second one with this seed, keeps the same labels.

    Args:
      labels: integers [n] in 0..classes-1, where classes is the largest label plus one.
      labels_per_class: how many examples of each class to draw, at least 1.
      seed: a non-negative integer; every seed is a draw of its own.

    Returns:
      int32 [labels_per_class * classes]: positions in `labels`, all of class 0 first, then all of class 1, and so on.

    Raises:
      UserError: `labels_per_class` is below 1, or some class has fewer examples.

    >>> labels = np.array([1, 0, 1, 0, 1])
    >>> labels[labeled_indices(labels, labels_per_class=2, seed=7)].tolist()
    [0, 0, 1, 1]
    """
    if labels_per_class < 1:
        raise UserError(f"labels_per_class={labels_per_class}: use --config.labels_per_class=1 or more")
    counts = np.bincount(labels)
    if counts.size == 0:
        raise UserError("the training data are empty: there is nothing to draw labels from")
    rarest = int(counts.argmin())
    if counts[rarest] < labels_per_class:
        raise UserError(
            f"labels_per_class={labels_per_class} but class {rarest} has {counts[rarest]} examples; "
            f"use --config.labels_per_class={counts[rarest]} or fewer"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    members = [np.flatnonzero(labels == label) for label in range(counts.size)]
    draws = [generator.choice(positions, size=labels_per_class, replace=False) for positions in members]
    return np.concatenate(draws).astype(np.int32)
