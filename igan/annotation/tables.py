"""A study's statistics as tables of a report."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from igan.annotation.estimates import Estimate, as_single, wilson
from igan.annotation.summary import Pooled, Summary
from igan.reporting import paper
from igan.reporting.tables import NONE, Table, duration

ROUND = 1  # Decimals of percentages.
SHOWN_PEOPLE = 200  # A page is for people; the CSV has everybody.


def percent(value: float | None) -> str:
    """Returns a share for people.

    >>> percent(0.7871), percent(float("nan")), percent(None)
    ('78.7 %', '-', '-')
    """
    return NONE if value is None or value != value else f"{100 * value:.{ROUND}f} %"


def points(value: float) -> str:
    """Returns a difference of shares for people.

    >>> points(0.0432), points(-0.02)
    ('+4.3 points', '-2.0 points')
    """
    return f"{100 * value:+.{ROUND}f} points"


def between(low: float | None, high: float | None) -> str:
    """Returns an interval of shares for people.

    >>> between(0.502, 0.546), between(None, None)
    ('50.2 to 54.6 %', '-')
    """
    return NONE if low is None or high is None else f"{100 * low:.{ROUND}f} to {100 * high:.{ROUND}f} %"


def p_value(p: float) -> str:
    """Returns a p-value for people.

    >>> p_value(0.0341), p_value(1e-9)
    ('0.034', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def accuracy_table(summary: Summary) -> Table:
    """Returns the headline, and other ways to count beside it."""
    rows = [_shares("mean over people (the result)", summary.accuracy)]
    rows += [_shares(f"people {arm_name(arm.feedback)}", arm.accuracy) for arm in summary.arms if len(summary.arms) > 1]
    if summary.two_way:
        rows.append(_pooled("all answers, interval for other people and other images", summary.two_way))
    if summary.pooled:
        rows.append(_pooled("all answers, as if they were independent (Wilson)", summary.pooled))
    notes = [
        "The result is the mean of the people's accuracies with Student's t interval over people. Wilson's interval"
        " treats the answers of one person as those of many: it is too narrow wherever people differ."
    ]
    if summary.balanced:
        share = percent(summary.design.real_share)
        notes.append(f"As {share} of the images are real, accuracy is the mean of that on real and on generated ones.")
    if summary.spread is not None:
        notes.append(
            f"True accuracies of people differ with a standard deviation of about {points(summary.spread)[1:]}."
        )
    return Table("Accuracy", ("", "right", "95 % interval", "people", "answers"), tuple(rows), tuple(notes))


def _shares(name: str, value: Estimate | None) -> tuple[str, ...]:
    if value is None:
        return (name, NONE, NONE, "0", NONE)
    return (name, percent(value.mean), between(value.low, value.high), str(value.count), NONE)


def _pooled(name: str, value: Pooled) -> tuple[str, ...]:
    return (name, percent(value.mean), between(value.low, value.high), NONE, f"{value.answers:,}")


def paper_table(summary: Summary) -> Table:
    """Returns the study's accuracy beside the figures of the paper."""
    rows, quoted = [], set()
    for each in paper.PEOPLE:
        quoted.add(len(rows))
        interval, answers = "not stated", "not stated"
        if each.answers:
            low, high = wilson(each.right * each.answers, each.answers)[1:]
            interval, answers = between(float(low), float(high)), f"{each.answers:,}"
        share = f"{'> ' if each.at_least else ''}{percent(each.right)}"
        rows.append((f"paper, {each.title}", share, interval, "not stated", answers, "not stated"))
    convert = as_single if summary.design.side_by_side else float
    named = [("this study", summary.accuracy, f"{summary.answers:,}", _arms_text(summary))]
    if len(summary.arms) > 1:
        named += [
            (f"this study, {arm_name(arm.feedback)}", arm.accuracy, f"{arm.answers:,}", _yes(arm.feedback))
            for arm in summary.arms
        ]
    fakes = [each for each in summary.generators if each.balanced]
    if len(fakes) > 1:
        told = _arms_text(summary)
        named += [(f"this study, {each.name}", each.balanced, f"{each.answers:,}", told) for each in fakes[:20]]
    for name, value, answers, feedback in named:
        if value is not None:
            low, high = (None if each is None else convert(each) for each in (value.low, value.high))
            rows.append((name, percent(convert(value.mean)), between(low, high), str(value.count), answers, feedback))
    notes = [
        "Other images, people, instructions and pay make other numbers: a study says which of its own generators is"
        " better, not whether one is better than the paper's. The paper states neither how many people answered nor"
        " whether they got feedback, and for CIFAR-10 not the number of answers. Its interval on MNIST takes all"
        " answers for independent."
    ]
    if summary.design.side_by_side:
        notes.append("Choosing one of two is easier: shares here are those of single images with the same d'.")
    header = ("", "right", "95 % interval", "people", "answers", "feedback")
    return Table("Share of right answers beside the paper's", header, tuple(rows), tuple(notes), frozenset(quoted))


def _arms_text(summary: Summary) -> str:
    return "half" if len(summary.arms) > 1 else ", ".join(_yes(arm.feedback) for arm in summary.arms)


def _yes(feedback: bool) -> str:
    return "yes" if feedback else "no"


def arm_name(feedback: bool) -> str:
    return "with feedback" if feedback else "without feedback"


def classes_table(summary: Summary) -> Table:
    """Returns right and wrong answers about real and about generated images apart, and d'."""
    rows = [
        ("hits: generated images called generated", *_mean(summary.hit_rate)),
        ("false alarms: real images called generated", *_mean(summary.false_alarm_rate)),
        ("d'", *_number(summary.dprime)),
        ("criterion c (above 0: says real more readily)", *_number(summary.criterion)),
    ]
    if summary.design.side_by_side:
        rows = [("d'", *_number(summary.dprime))]
    notes = (
        "Means over people, with t intervals. d' is 0 for who cannot tell and grows with what the eye sees, whichever"
        " answer a person prefers; rates are log-linear, (count + 0.5) / (n + 1).",
    )
    return Table("Signal detection", ("", "mean", "95 % interval", "people"), tuple(rows), notes)


def _mean(value: Estimate | None) -> tuple[str, str, str]:
    return (
        (NONE, NONE, "0") if value is None else (percent(value.mean), between(value.low, value.high), str(value.count))
    )


def _number(value: Estimate | None) -> tuple[str, str, str]:
    if value is None:
        return (NONE, NONE, "0")
    low, high = value.low, value.high
    return (f"{value.mean:.2f}", NONE if low is None or high is None else f"{low:.2f} to {high:.2f}", str(value.count))


def generators_tables(summary: Summary) -> list[Table]:
    """Returns each generator, and every two of them against each other."""
    rows = []
    for each in summary.generators:
        mean, interval, _ = _mean(each.recognised)
        with_real = _mean(each.balanced)[:2]
        rows.append((each.name, mean, interval, *with_real, _number(each.dprime)[0], f"{each.answers:,}"))
    header = ("images of", "recognised", "95 % interval", "accuracy", "95 % interval", "d'", "answers")
    notes = (
        "Means over people, with t intervals. Accuracy is the mean of that on a generator's images and on real ones.",
    )
    tables = [Table("By generator", header, tuple(rows), notes)]
    if summary.comparisons:
        pairs = tuple(
            (f"{each.first} - {each.second}", points(each.difference.mean), _points(each.difference),
             p_value(each.p), p_value(each.adjusted_p), str(each.difference.count))
            for each in summary.comparisons
        )  # fmt: skip
        header = ("recognised more often", "difference", "95 % interval", "p", "p after Holm", "people")
        tables.append(Table("Generators against each other, within people", header, pairs))
    return tables


def _points(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return NONE
    return f"{100 * value.low:+.{ROUND}f} to {100 * value.high:+.{ROUND}f}"


def learning_table(summary: Summary) -> Table:
    """Returns how accuracy changes from the first half of the questions to the second."""
    rows = tuple(
        (f"people {arm_name(arm.feedback)}", _mean(arm.first_half)[0], _mean(arm.second_half)[0],
         NONE if arm.learning is None else points(arm.learning.mean),
         NONE if arm.learning is None else _points(arm.learning))
        for arm in summary.arms
    )  # fmt: skip
    notes = ("Of all answers: real and generated images have their shares here.",) if summary.balanced else ()
    return Table("Learning", ("", "first half", "second half", "difference", "95 % interval"), rows, notes)


def variants_table(summary: Summary) -> Table:
    """Returns the headline with and without the people who were left out."""
    rows = tuple((each.name, *_mean(each.accuracy), str(each.excluded)) for each in summary.variants)
    return Table("Does it hang on who is left out?", ("", "right", "95 % interval", "people", "left out"), rows)


def people_table(summary: Summary) -> Table:
    """Returns a row a person, with those left out at the end."""
    header = ("person", "feedback", "answers", "right", "hits", "false alarms", "d'", "median time", "")
    rows: list[tuple[str, ...]] = []
    for each in summary.people[:SHOWN_PEOPLE]:
        dprime = NONE if each.dprime != each.dprime else f"{each.dprime:.2f}"
        rates = (percent(each.accuracy), percent(each.hit_rate), percent(each.false_alarm_rate), dprime)
        rows.append((each.name[:8], _yes(each.feedback), str(each.answers), *rates, seconds(each.seconds), ""))
    for left_out in summary.excluded[:SHOWN_PEOPLE]:
        empty = (NONE,) * 5
        rows.append((left_out.person[:8], NONE, str(left_out.answers), *empty, f"left out: {left_out.reason}"))
    hidden = len(summary.people) + len(summary.excluded) - len(rows)
    notes = (f"{hidden:,} more are in the CSV file.",) if hidden else ()
    return Table("People", header, tuple(rows), notes)


def seconds(value: float) -> str:
    """Returns a time for people.

    >>> seconds(1.234), seconds(75)
    ('1.2 s', '1 min 15 s')
    """
    return f"{value:.1f} s" if value < 60 else duration(value)


def options_rows(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns a study's options for people, a row each; of its sources, what they are.

    >>> options_rows({"limit": None, "created": 0.0, "sources": [{"name": "real", "description": "9 images"}]})
    [('limit', 'none'), ('created', '1970-01-01 00:00 UTC'), ('images of real', '9 images')]
    """
    rows = []
    for name, value in options.items():
        if name == "sources":
            rows += [(f"images of {source['name']}", source["description"]) for source in value]
        elif name == "created":
            rows.append((name, f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M UTC}"))
        elif value is None or value == "":
            rows.append((name, "none"))
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows


def options_table(options: Mapping[str, Any]) -> Table:
    return Table("Options, fixed when the study was made", ("option", "value"), tuple(options_rows(options)))
