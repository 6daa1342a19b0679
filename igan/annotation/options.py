"""The options of a study: fixed when it is created, stored in it and hashed with its images."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from igan.annotation import crowds
from igan.errors import UserError

FEEDBACK = ("half", "with", "without")
MODES = ("single", "side_by_side")
CONSENT = (
    "Your answers and the time each takes are stored under a random number, without your name or your address in the"
    " network. You may stop at any moment, and have your answers deleted."
)
MOST_QUESTIONS, LONGEST_TEXT = 2000, 20_000
SHORTEST_LIMIT, LONGEST_LIMIT = 0.1, 60.0  # Seconds: browsers cannot show an image reliably for less than 100 ms.


@dataclasses.dataclass(frozen=True)
class Options:
    """What every person of a study has in common."""

    title: str = "Real or generated?"
    consent: str = CONSENT  # Plain text; empty lines separate paragraphs.
    contact: str = ""  # Whom people may ask: an address or a name.
    questions: int = 50  # Of a person, attention checks not counted.
    real_share: float = 0.5  # The probability with which a question's image is real, drawn independently.
    tell_share: bool = True  # Whether people are told that probability.
    feedback: str = "half"  # With, without, or half of the people each, at random.
    mode: str = "single"  # One image, or two side by side of which one is real.
    limit: float | None = None  # Seconds for which an image is shown; None: until the answer.
    staircase: bool = False  # Whether the limit follows the person's answers (HYPE, Zhou et al. 2019).
    checks: int = 0  # Attention checks besides the questions.
    checks_failed: int = 2  # How many failures exclude a person.
    people: int = 0  # Planned number; 0: not planned.
    margin: float = 0.05  # Of equivalence to chance, as a share of answers.
    pool: int = 5000  # Images of a source, at most.
    select: str = ""  # Which generated images: "top1%" by `select_score`, or all.
    select_score: str = ""
    jpeg: int | None = None  # Quality of the JPEG that all images are put through; None: none.
    completion_code: str = ""  # Shown at the end, the same to everybody, where no service passes ids in its link.
    crowd: crowds.Crowd | None = None  # The crowdsourcing service that people come from and go back to.

    def plain(self) -> dict[str, Any]:
        """Returns the options as JSON has them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def total(self) -> int:
        """Questions of a person, attention checks included."""
        return self.questions + self.checks

    @property
    def two(self) -> bool:
        """Whether a question has two images side by side."""
        return self.mode == "side_by_side"


def from_plain(plain: Mapping[str, Any]) -> Options:
    """Returns the options that a study has stored. Fields younger than the study have their defaults."""
    known = {field.name for field in dataclasses.fields(Options)}
    values = {name: value for name, value in plain.items() if name in known}
    if values.get("crowd") is not None:
        values["crowd"] = crowds.Crowd(**values["crowd"])
    return Options(**values)


def check(options: Options) -> Options:
    """Returns the options if they make sense together.

    Raises UserError for the first that does not.

    >>> check(Options(questions=20)).total
    20
    """
    _require("questions", options.questions, 1 <= options.questions <= MOST_QUESTIONS, f"1 to {MOST_QUESTIONS:,}", 50)
    _require("real_share", options.real_share, 0 < options.real_share < 1, "a share between 0 and 1", 0.5)
    _require("feedback", options.feedback, options.feedback in FEEDBACK, f"one of {', '.join(FEEDBACK)}", "half")
    _require("mode", options.mode, options.mode in MODES, f"one of {', '.join(MODES)}", "single")
    if options.limit is not None:
        expected = f"{SHORTEST_LIMIT} to {LONGEST_LIMIT:g} seconds"
        _require("limit", options.limit, SHORTEST_LIMIT <= options.limit <= LONGEST_LIMIT, expected, 1)
    _require("checks", options.checks, 0 <= options.checks <= options.questions, "at most as many as questions", 2)
    _require("checks_failed", options.checks_failed, options.checks_failed >= 1, "at least 1", 2)
    _require("people", options.people, options.people >= 0, "0 (not planned) or more", 20)
    _require("margin", options.margin, 0 < options.margin < 0.5, "a share between 0 and 0.5", 0.05)
    _require("pool", options.pool, options.pool >= options.total + 1, "more than a person's questions", 5000)
    if options.jpeg is not None:
        _require("jpeg", options.jpeg, 1 <= options.jpeg <= 100, "a quality from 1 to 100", 90)
    if options.select:
        _require("select", options.select, bool(share_of(options.select)), "top and a share, as top1%", "top1%")
    if options.completion_code and options.crowd:
        raise UserError("--completion_code and --crowd: a service's codes are given by --codes=done=CODE")
    for name in ("title", "consent", "contact", "completion_code"):
        _require(name, "(text)", len(getattr(options, name)) <= LONGEST_TEXT, "a shorter text", "TEXT")
    if options.staircase and options.feedback != "with":
        raise UserError("--staircase shows by its steps which answers were right: add --feedback=with")
    if options.staircase and options.mode != "single":
        raise UserError("--staircase needs --mode=single: its steps aim at 75 % of single images")
    return options


def share_of(select: str) -> float | None:
    """Returns the share that a selection keeps, or None for what is no selection.

    >>> share_of("top1%"), share_of("best")
    (0.01, None)
    """
    match = re.fullmatch(r"top(\d+(?:\.\d+)?)%", select)
    return float(match[1]) / 100 if match and 0 < float(match[1]) <= 100 else None


def _require(field: str, value: Any, holds: bool, expected: str, usual: Any) -> None:
    if not holds:  # Comparisons with NaN are false.
        raise UserError(f"--{field}={value}: expected {expected}, as --{field}={usual}")
