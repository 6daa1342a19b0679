"""How many people and answers an interval of some width needs.

    python -m igan.annotation plan --width=0.05 --people=20           # the accuracy, 5 points to either side
    python -m igan.annotation plan --width=0.03 --like=earlier.db     # people who differ as in an earlier study

More answers of the same people stop helping where people differ: then it takes more people.
"""

import argparse
import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.special import ndtri, stdtrit

from igan.annotation.estimates import LEVEL
from igan.errors import UserError

MOST_ANSWERS = 2000  # Of a person: more is no study.
MOST_PEOPLE = 1_000_000
OTHERS = (5, 10, 15, 20, 30, 50, 100, 200)
POWER = 0.8


def half_width(people: int, answers: float, accuracy: float, spread: float) -> float:
    """Returns how far the t interval over people reaches to either side, about.

    Args:
      people: at least 2, with so many `answers` each.
      accuracy: the mean over people.
      spread: the standard deviation of people's true accuracies.

    >>> round(half_width(20, 50, 0.787, 0.1), 3)
    0.054
    """
    return float(stdtrit(people - 1, 0.5 + LEVEL / 2)) * _error(people, answers, accuracy, spread)


def answers_needed(width: float, people: int, accuracy: float, spread: float) -> int | None:
    """Returns the smallest number of answers a person for an interval of +- `width`; None where none is enough.

    >>> answers_needed(0.05, 20, 0.787, 0.1), answers_needed(0.03, 20, 0.787, 0.1)
    (112, None)
    """
    t = float(stdtrit(people - 1, 0.5 + LEVEL / 2))
    room = people * (width / t) ** 2 - spread**2
    if room <= 0:
        return None
    return max(1, math.ceil((accuracy * (1 - accuracy) - spread**2) / room - 1e-9))


def people_needed(width: float, accuracy: float, spread: float, answers: float = MOST_ANSWERS) -> int:
    """Returns the smallest number of people with so many answers each for an interval of +- `width`.

    >>> people_needed(0.05, 0.787, 0.1, 50), people_needed(0.03, 0.787, 0.1, 50)
    (23, 59)
    """
    low, high = 1, 2
    while half_width(high, answers, accuracy, spread) > width:
        low, high = high, 2 * high
        if high > MOST_PEOPLE:
            raise UserError(
                f"--width={width} takes more than {MOST_PEOPLE:,} people: give a larger one, as --width=0.05"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half_width(middle, answers, accuracy, spread) <= width else (middle, high)
    return high


def independent_answers(width: float, accuracy: float) -> int:
    """Returns how many answers of as many different people Wilson's interval of +- `width` needs.

    >>> independent_answers(0.05, 0.787), independent_answers(0.02, 0.5)
    (256, 2398)
    """
    # Its half-width, solved for the count: z^2 / 4 (w^2 + ...) is a quadratic in n.
    z2 = float(ndtri(0.5 + LEVEL / 2)) ** 2
    variance = accuracy * (1 - accuracy)
    b, c = 2 * width**2 * z2 - z2 * variance, width**2 * z2**2 - z2**2 / 4
    return max(1, math.ceil((-b + math.sqrt(b * b - 4 * width**2 * c)) / (2 * width**2) - 1e-9))


def smallest_difference(people: int, answers: float, spread: float) -> float:
    """Returns the difference from chance that a test finds four times in five, about."""
    quantiles = stdtrit(people - 1, 0.5 + LEVEL / 2) + stdtrit(people - 1, POWER)
    return float(quantiles) * _error(people, answers, 0.5, spread)


def _error(people: int, answers: float, accuracy: float, spread: float) -> float:
    """The variance within people is of accuracies around the mean one: E[p (1 - p)] = m (1 - m) - spread^2."""
    within = max(0.0, accuracy * (1 - accuracy) - spread**2)
    return math.sqrt((spread**2 + within / answers) / people)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=float, default=0.05, help="to either side of the accuracy; default: 0.05")
    parser.add_argument("--people", type=int, default=20, help="how many there are; default: 20")
    parser.add_argument("--accuracy", type=float, help="that is expected; default: 0.787, the paper's on CIFAR-10")
    parser.add_argument("--spread", type=float, help="standard deviation of people's accuracies; default: 0.1")
    parser.add_argument("--like", type=Path, metavar="STUDY", help="take both from the file of an earlier study")


def run(arguments: argparse.Namespace) -> None:
    accuracy, spread = _expected(arguments)
    width, people = arguments.width, arguments.people
    for name, value, holds, expected, usual in (
        ("width", width, 0 < width < 0.5, "a share between 0 and 0.5", 0.05),
        ("people", people, 2 <= people <= MOST_PEOPLE, f"2 to {MOST_PEOPLE:,}", 20),
        ("accuracy", accuracy, 0 < accuracy < 1, "a share between 0 and 1", 0.787),
        ("spread", spread, 0 <= spread < math.sqrt(accuracy * (1 - accuracy)) if 0 < accuracy < 1 else True,
         "0, or a share that people with this accuracy can differ by", 0.1),
    ):  # fmt: skip
        if not holds:  # Comparisons with NaN are false.
            raise UserError(f"--{name}={value}: expected {expected}, as --{name}={usual}")
    _show(Console(), width, people, accuracy, spread)


def _expected(arguments: argparse.Namespace) -> tuple[float, float]:
    accuracy, spread = 0.787, 0.1
    if arguments.like:
        from igan.annotation import study
        from igan.annotation.summary import design, summarise

        earlier = study.open(arguments.like)
        summary = summarise(earlier.answers(), design(earlier.options))
        if summary.accuracy is None or summary.spread is None:
            raise UserError(f"{arguments.like} has fewer than two people with answers: give --accuracy and --spread")
        accuracy, spread = summary.accuracy.mean, summary.spread
    return (
        accuracy if arguments.accuracy is None else arguments.accuracy,
        spread if arguments.spread is None else arguments.spread,
    )


def _show(console: Console, width: float, people: int, accuracy: float, spread: float) -> None:
    console.print(
        f"For {100 * accuracy:.1f} % ± {100 * width:g} points at 95 %, with people whose accuracies differ by"
        f" {100 * spread:.1f} points (standard deviation):"
    )
    needed = answers_needed(width, people, accuracy, spread)
    if needed is None or needed > MOST_ANSWERS:
        least = people_needed(width, accuracy, spread)
        print(f"{people:,} people cannot do it with any sensible number of answers: it takes {least:,} or more.")
    else:
        print(f"{people:,} people with {needed:,} answers each: {people * needed:,} answers.")
    table = Table("people", "answers each", "answers", "found against chance, 4 times in 5", box=None, pad_edge=False)
    for count in sorted({*OTHERS, people}):
        each = answers_needed(width, count, accuracy, spread)
        if each is None or each > MOST_ANSWERS:
            table.add_row(f"{count:,}", "not enough people", "", "")
        else:
            found = f"± {100 * smallest_difference(count, each, spread):.1f} points"
            table.add_row(f"{count:,}", f"{each:,}", f"{count * each:,}", found)
    console.print(table)
    independent = independent_answers(width, accuracy)
    print(f"If every answer were another person's, {independent:,} would do: answers of one person are worth less.")
