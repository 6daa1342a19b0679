"""All that a study's answers say, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from igan.annotation import breakdown
from igan.annotation.agreement import Agreement, agreement
from igan.annotation.answers import Answer
from igan.annotation.breakdown import Arm, Block, Comparison, Generator, Image, Person
from igan.annotation.estimates import (
    Estimate,
    Floats,
    as_single,
    difference_test,
    equivalence_test,
    estimate,
    share,
    spread_between,
    two_way_interval,
    wilson,
)
from igan.annotation.exclusions import UNFINISHED, Excluded, Rules, exclude
from igan.annotation.votes import Votes, votes

CHANCE = 0.5
SIGNIFICANT = 0.05
NOBODY = Rules(failed_checks=None, questions=None)


class Design(NamedTuple):
    """What the statistics need to know of a study's options; `design` reads it from `igan.annotation.study`'s."""

    title: str = "Real or generated?"
    questions: int | None = None  # Of a person, attention checks not counted; None: unknown.
    real_share: float = 0.5
    feedback: str = "half"  # "with", "without", or "half" of the people, at random.
    side_by_side: bool = False
    staircase: bool = False
    people: int = 0  # Planned number; 0: not planned.
    margin: float = 0.05  # Of equivalence to chance.
    checks_failed: int = 2  # Attention checks whose failure excludes a person.


def design(options: Mapping[str, Any]) -> Design:
    """Returns what the options of a study say about its statistics; what they lack has its default."""
    known = {name: options[name] for name in Design._fields if options.get(name) is not None}
    return Design(**(known | {"side_by_side": options.get("mode") == "side_by_side"}))


class Test(NamedTuple):
    """Of the mean over persons against chance, and of whether it is within a margin of chance."""

    p: float
    equivalence_p: float
    margin: float


class Pooled(NamedTuple):
    """Answers of all people in one heap."""

    right: int
    answers: int
    mean: float
    low: float
    high: float


class Effect(NamedTuple):
    """Accuracy with feedback minus accuracy without it, people against people."""

    difference: float
    low: float
    high: float
    p: float
    randomised: bool


class Variant(NamedTuple):
    """The headline under other rules of exclusion."""

    name: str
    accuracy: Estimate | None
    excluded: int


@dataclass(frozen=True)
class Summary:
    """None stands for what these answers cannot tell, as an interval over a single person."""

    design: Design
    rules: Rules
    answered: int  # People who answered anything.
    answers: int  # Of the people who stayed, attention checks not counted.
    excluded: list[Excluded]
    checks: int  # Answered, of all people,
    checks_failed: int  # of those.
    balanced: bool  # Whether the accuracy is the mean of that on real and that on generated images.
    accuracy: Estimate | None
    spread: float | None  # Standard deviation of people's true accuracies.
    pooled: Pooled | None
    two_way: Pooled | None  # Its interval is over persons and images; None where few images were asked about twice.
    test: Test | None
    single: Estimate | None  # Side by side: what the accuracy is worth with single images.
    hit_rate: Estimate | None  # Of generated images, called generated.
    false_alarm_rate: Estimate | None  # Of real images, called generated.
    dprime: Estimate | None
    criterion: Estimate | None
    generators: list[Generator]
    comparisons: list[Comparison]
    arms: list[Arm]
    effect: Effect | None
    curve: list[Block]
    agreement: Agreement | None
    seconds: Estimate | None  # Of people's median times.
    exposure: Estimate | None  # Of a staircase: people's most frequent time limits, in seconds.
    variants: list[Variant]
    people: list[Person]
    images: list[Image]

    @property
    def planned(self) -> int:
        """How many people there should have been before anybody looked, and are not yet."""
        return max(0, self.design.people - len(self.people))


def summarise(answers: Sequence[Answer], study: Design | None = None, everybody: bool = False) -> Summary:
    """Returns the statistics of a study.

    Args:
      answers: all of it, attention checks included.
      everybody: whether to leave nobody out.

    >>> summarise([Answer("p", 0, "9f", "real", True, True, True, 1.2, None, False)]).accuracy
    Estimate(mean=1.0, low=None, high=None, count=1)
    """
    study = study or Design()
    rules = NOBODY if everybody else Rules(study.checks_failed, study.questions)
    kept, excluded = exclude(answers, rules)
    all_votes = votes(kept)
    checks = [answer.real == answer.said_real for answer in answers if answer.check]
    balanced = not study.side_by_side and abs(study.real_share - CHANCE) > 1e-9
    scores = breakdown.scores(all_votes, balanced)
    measured = breakdown.people(all_votes, scores, study.side_by_side)
    accuracy = share(scores)
    limits = breakdown.exposures(kept) if study.staircase else []
    return Summary(
        design=study,
        rules=rules,
        answered=len({answer.person for answer in answers}),
        answers=all_votes.count,
        excluded=excluded,
        checks=len(checks),
        checks_failed=checks.count(False),
        balanced=balanced,
        accuracy=accuracy,
        spread=_spread(all_votes),
        pooled=_pooled(all_votes),
        two_way=_two_way(all_votes),
        test=_test(scores, study.margin),
        single=_single(accuracy) if study.side_by_side else None,
        hit_rate=None if study.side_by_side else share([each.hit_rate for each in measured]),
        false_alarm_rate=None if study.side_by_side else share([each.false_alarm_rate for each in measured]),
        dprime=estimate([each.dprime for each in measured]),
        criterion=None if study.side_by_side else estimate([each.criterion for each in measured]),
        generators=breakdown.generators(all_votes, study.side_by_side),
        comparisons=breakdown.comparisons(all_votes),
        arms=breakdown.arms(all_votes, scores, measured),
        effect=_effect(all_votes, scores, study.feedback),
        curve=breakdown.curve(all_votes),
        agreement=agreement(all_votes),
        seconds=estimate([each.seconds for each in measured]),
        exposure=estimate(limits),
        variants=_variants(answers, study, balanced),
        people=measured,
        images=breakdown.images(all_votes),
    )


def _spread(all_votes: Votes) -> float | None:
    right, asked = all_votes.sum_by_person(all_votes.right), all_votes.sum_by_person(np.ones(all_votes.count))
    several = asked >= 2
    return spread_between(right[several], asked[several]) if several.sum() >= 2 else None


def _pooled(all_votes: Votes) -> Pooled | None:
    if not all_votes.count:
        return None
    right = int(all_votes.right.sum())
    return Pooled(right, all_votes.count, *(float(each) for each in wilson(right, all_votes.count)))


def _two_way(all_votes: Votes) -> Pooled | None:
    people, images = len(all_votes.people), len(all_votes.images)
    if min(people, images) < 2 or all_votes.count < 1.1 * images or all_votes.right.all() or not all_votes.right.any():
        return None
    interval = two_way_interval(all_votes.right, all_votes.person, all_votes.image)
    return Pooled(int(all_votes.right.sum()), all_votes.count, *(float(each) for each in interval))


def _test(scores: Floats, margin: float) -> Test | None:
    values = scores[np.isfinite(scores)]
    if values.size < 2 or np.ptp(values) < 1e-12:
        return None
    p, equivalence_p = difference_test(values, CHANCE), equivalence_test(values, CHANCE, margin)
    return Test(float(p), float(equivalence_p), margin)


def _single(accuracy: Estimate | None) -> Estimate | None:
    if accuracy is None:
        return None
    low, high = (None if each is None else as_single(each) for each in (accuracy.low, accuracy.high))
    return Estimate(as_single(accuracy.mean), low, high, accuracy.count)


def _effect(all_votes: Votes, scores: Floats, feedback: str) -> Effect | None:
    found = breakdown.difference(scores, all_votes.arm())
    return found and Effect(*(float(each) for each in found), randomised=feedback == "half")


def _variants(answers: Sequence[Answer], study: Design, balanced: bool) -> list[Variant]:
    """The headline under each set of rules, which tells whether it hangs on who was left out."""
    found = []
    for name, rules in (
        ("by the study's rules", Rules(study.checks_failed, study.questions)),
        (f"with who {UNFINISHED}", Rules(study.checks_failed, None)),
        ("everybody", NOBODY),
    ):
        kept, excluded = exclude(answers, rules)
        found.append(Variant(name, share(breakdown.scores(votes(kept), balanced)), len(excluded)))
    return found


def verdict(summary: Summary) -> str:
    """Returns what the tests allow to say, in a sentence: absence of a difference is not equivalence."""
    if summary.design.staircase:
        return "The time limit follows each person and holds the accuracy near 75 %: read the time limits instead."
    if summary.test is None or summary.accuracy is None:
        return "Too few people for a test."
    points = f"{100 * summary.test.margin:g} points"
    differs, equivalent = summary.test.p < SIGNIFICANT, summary.test.equivalence_p < SIGNIFICANT
    direction = "better" if summary.accuracy.mean > CHANCE else "worse"
    if equivalent and differs:
        return f"People do {direction} than chance, by less than {points}."
    if equivalent:
        return f"Indistinguishable within {points}: equivalence to chance is shown."
    if differs:
        return f"People do {direction} than chance."
    return f"Undecided: neither a difference from chance nor equivalence within {points} is shown. Ask more people."
