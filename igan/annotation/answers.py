"""What a study has measured, as its statistics see it: one `Answer` a judgement."""

from typing import NamedTuple


class Answer(NamedTuple):
    """One judgement of one person. It is right if `said_real == real`, in every mode and of attention checks too."""

    person: str  # The random id of a participant.
    position: int  # Of the question among the person's, from 0.
    image: str  # The hash of the image; of the generated one side by side.
    generator: str  # The name of the source; "real" for real images.
    real: bool  # Side by side always False, as of the generated image; of attention checks, what was to be said.
    said_real: bool
    feedback: bool  # Whether the person is told after each answer.
    seconds: float
    limit: float | None  # How many seconds the image was shown; None: until the answer.
    check: bool  # An attention check, whose right answer is written beside it.
