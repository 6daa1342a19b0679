"""What every score returns: a number never travels without its uncertainty and its protocol."""

from typing import NamedTuple


class Score(NamedTuple):
    """One number that can be quoted.

    >>> str(Score(11.2368, 0.0951, "openai-is: 50,000 images in order, 10 splits"))
    '11.24 ± 0.0951 (openai-is: 50,000 images in order, 10 splits)'
    """

    value: float
    std: float | None  # The spread over splits or subsets, as the protocol says; None where the score has none.
    protocol: str  # Network and weights, resize, counts, splits, reference: all that another number must share.

    def __str__(self) -> str:
        spread = "" if self.std is None else f" ± {self.std:.3g}"
        return f"{self.value:.4g}{spread} ({self.protocol})"
