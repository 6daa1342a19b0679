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


class Circumstances(NamedTuple):
    """What is stored of a judgement besides, which no statistics need."""

    clock: str  # Whose `seconds` are: of the "browser", of the "server", or "since the answer before".
    shown: float | None  # Seconds for which a browser says it has shown a timed image.
    received: float  # Seconds since 1970.
    device: str  # "phone" or "desktop".
    real_image: str | None  # Side by side: the hash of the image beside the generated one.


class Attendance(NamedTuple):
    """Who came, beside those whose answers are counted."""

    began: int  # Consented, and were not deleted.
    never_answered: int  # Of those.
    declined: int
    deleted: int
    first: float | None  # When the first answer and the last came, in seconds since 1970; None without any.
    last: float | None
