"""A study's results as a report: the same page as that of runs."""

import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from PIL import Image as Pixels

from igan.annotation import charts, tables
from igan.annotation.answers import Attendance
from igan.annotation.breakdown import Image
from igan.annotation.mixed import Mixed
from igan.annotation.summary import Summary, verdict
from igan.annotation.tables import between, p_value, percent, points
from igan.reporting.page import Gallery, Picture, Report, Section
from igan.reporting.tables import Table

SHOWN = 12  # Images of a gallery.
EDGE = 128  # Pixels, about: the side of an enlarged image.
HASTY, SAME, SEVERAL = 0.3, 0.95, 30  # Seconds; share of the same answer, of so many.

Draw = Callable[[str], bytes]  # From the hash of an image to its PNG file.


def assemble(
    summary: Summary,
    options: Mapping[str, Any],
    image: Draw | None,
    made_at: datetime,
    mixed: Mixed | None = None,
    attendance: Attendance | None = None,
) -> Report:
    """Returns what the page, the Markdown and the terminal show.

    Args:
      options: of the study, as they are; every export shows them.
      image: gives the images of the galleries; None: none are shown.
    """
    accuracy = summary.accuracy
    headline = None
    if accuracy:
        interval = f"95 % interval over people: {between(accuracy.low, accuracy.high)}"
        if accuracy.low is None:
            interval = "no interval: it takes two people who differ"
        headline = (
            percent(accuracy.mean),
            f"of answers right, as the mean over {_people(accuracy.count)}; {interval}. {verdict(summary)}",
        )
    sections = [
        _result(summary),
        _section("paper", "Beside the paper", [], [tables.paper_table(summary)]),
        _section("classes", "Real and generated apart", [], [tables.classes_table(summary)],
                 _chart("classes", "Each person's hits and false alarms", charts.plot_classes(summary), size="panel")),
        _section("generators", "Generators", [], tables.generators_tables(summary)),
        _feedback(summary),
        _section("agreement", "Agreement", _agreement(summary), [_mixed_table(mixed)] if mixed else []),
        _section("people", "People", _times(summary), [tables.variants_table(summary), tables.people_table(summary)]),
    ]  # fmt: skip
    galleries = _galleries(summary, image) if image else []
    if galleries:
        sections.append(Section("images", "Images", (), (), (), tuple(galleries)))
    sections.append(_section("study", "The study", [], [tables.options_table(options)]))
    return Report(
        title=summary.design.title,
        subtitle=f"Human evaluation, {made_at:%Y-%m-%d %H:%M %Z}".strip(),
        facts=_facts(summary, attendance),
        sections=tuple(sections),
        warnings=warnings(summary),
        runs=None,
        headline=headline,
    )


def warnings(summary: Summary) -> tuple[str, ...]:
    """Returns what a reader must know before believing a number."""
    found = []
    if summary.planned:
        found.append(
            f"{summary.design.people - summary.planned:,} of {summary.design.people:,} planned people are in: who looks"
            " before the end, and stops when the result pleases, finds differences that are not there more often than"
            " the tests say."
        )
    if summary.rules.failed_checks is None and any(each.excluded for each in summary.variants):
        found.append("Nobody is left out: --everybody undoes the rules that the study was made with.")
    if summary.accuracy and summary.accuracy.low is None:
        found.append("An interval over people takes two people with different results: there is none yet.")
    if summary.design.staircase:
        found.append("The time limit follows each person's answers, which holds the accuracy near 75 % by design.")
    hasty = [each.name[:8] for each in summary.people if each.seconds < HASTY]
    if hasty:
        found.append(f"Median time under {1000 * HASTY:g} ms, not left out: {_named(hasty)}.")
    same = [each.name[:8] for each in summary.people if each.same_answer > SAME and each.answers >= SEVERAL]
    if same and not summary.design.side_by_side:
        found.append(f"The same answer to more than {100 * SAME:g} % of the questions, not left out: {_named(same)}.")
    return tuple(found)


def _named(people: Sequence[str]) -> str:
    rest = len(people) - 10
    return ", ".join(people[:10]) + (f" and {rest:,} more" if rest > 0 else "")


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count:,} people"


def _facts(summary: Summary, attendance: Attendance | None) -> tuple[tuple[str, str], ...]:
    left_out = f"{len(summary.excluded):,}"
    reasons = sorted({each.reason for each in summary.excluded})
    counts = [f"{sum(each.reason == reason for each in summary.excluded)} {reason}" for reason in reasons]
    facts = [
        ("people", f"{len(summary.people):,} of {summary.answered:,} who answered"),
        ("left out", f"{left_out} ({', '.join(counts)})" if counts else left_out),
        ("answers", f"{summary.answers:,} about {len(summary.images):,} images"),
    ]
    if summary.checks:
        facts.append(("attention checks failed", f"{summary.checks_failed:,} of {summary.checks:,}"))
    if attendance:
        facts.append(("began", f"{attendance.began:,}, of whom {attendance.never_answered:,} never answered"))
        facts.append(("declined, deleted", f"{attendance.declined:,}, {attendance.deleted:,}"))
        if attendance.first is not None and attendance.last is not None:
            first, last = (datetime.fromtimestamp(each, UTC) for each in (attendance.first, attendance.last))
            facts.append(("answered between", f"{first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} UTC"))
    return tuple(facts)


def _result(summary: Summary) -> Section:
    text = []
    if summary.accuracy is None:
        text.append("There is no result yet: nobody whose answers count has finished.")
    if summary.test:
        text.append(
            f"Test against chance over people: p {_p(summary.test.p)}. Two one-sided tests of being within"
            f" {100 * summary.test.margin:g} points of chance: p {_p(summary.test.equivalence_p)}."
        )
    if summary.single and summary.design.side_by_side:
        text.append(
            f"People choose the real one of two images, which is easier: with single images the same eye has"
            f" {percent(summary.single.mean)} ({between(summary.single.low, summary.single.high)})."
        )
    if summary.exposure:
        exposure, (low, high) = 1000 * summary.exposure.mean, summary.exposure[1:3]
        interval = "" if low is None or high is None else f" ({1000 * low:.0f} to {1000 * high:.0f} ms)"
        text.append(f"Time that people need, as the mean of their most frequent limits: {exposure:.0f} ms{interval}.")
    picture = _chart(
        "accuracy", "Accuracy with 95 % intervals, a faint dot a person; the paper's figures beside it",
        charts.plot_accuracies(summary),
    )  # fmt: skip
    return _section("result", "Result", text, [tables.accuracy_table(summary)], picture)


def _feedback(summary: Summary) -> Section:
    text = []
    if summary.effect:
        effect = summary.effect
        how = "drawn at random" if effect.randomised else "not drawn at random"
        text.append(
            f"Feedback changes accuracy by {points(effect.difference)}, 95 % interval"
            f" {points(effect.low)} to {points(effect.high)} (Welch, over people; p {_p(effect.p)})."
            f" Who gets feedback was {how}."
        )
    elif len(summary.arms) == 1:
        told = tables.arm_name(summary.arms[0].feedback)
        text.append(f"All people answered {told}: its effect needs half of them the other way.")
    picture = _chart(
        "curve", "Accuracy by position, bands: 95 % intervals over people; dashed: chance", charts.plot_curve(summary)
    )
    return _section("feedback", "Feedback and learning", text, [tables.learning_table(summary)], picture)


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _agreement(summary: Summary) -> list[str]:
    found = summary.agreement
    if found is None:
        return ["No image was asked about twice, or all answers are the same: there is no agreement to measure."]
    return [
        f"Krippendorff's alpha is {found.alpha:.2f}, of {found.answers:,} answers about {found.images:,} images that"
        f" were asked about at least twice. If people erred independently it would be {found.expected:.2f}.",
        "A low alpha near chance is no defect: who cannot tell does not agree. An alpha above the expected one says"
        " that some images are harder than others.",
    ]


def _mixed_table(mixed: Mixed) -> Table:
    rows = (
        ("people", f"{mixed.people:.2f}"),
        ("images", f"{mixed.images:.2f}"),
        ("right, in the middle of people and images", percent(mixed.accuracy)),
    )
    notes = (
        "A logistic model with people and images crossed, fitted by variational Bayes: standard deviations on the logit"
        " scale. Its own intervals are too narrow and are not shown; those of the result stand.",
    )
    return Table("How much people and images differ", ("", "estimate"), rows, notes)


def _times(summary: Summary) -> list[str]:
    if summary.seconds is None:
        return []
    low, high = summary.seconds.low, summary.seconds.high
    interval = "" if low is None or high is None else f" (95 % interval {max(low, 0):.1f} to {high:.1f} s)"
    return [f"People's median time for an answer is {tables.seconds(summary.seconds.mean)} on average{interval}."]


def _section(
    name: str, title: str, text: Sequence[str], shown: Sequence[Table], gallery: Gallery | None = None
) -> Section:
    return Section(name, title, tuple(text), tuple(shown), (), (gallery,) if gallery else ())


def _chart(name: str, caption: str, content: bytes | None, size: str = "wide") -> Gallery | None:
    if content is None:
        return None
    return Gallery(caption.split(",")[0], "", (Picture(f"{name}.png", caption, caption, content),), size)


def _galleries(summary: Summary, image: Draw) -> list[Gallery]:
    fakes, reals = ([each for each in summary.images if each.real == real] for real in (False, True))
    real, generated = "taken for real", "called generated"
    rank = "Ranked by the lower end of Wilson's interval, so that one answer of one does not win."
    found = []
    for title, images, said_real in (
        ("The most deceptive generated images", fakes, True),
        ("The most obvious generated images", fakes, False),
        ("Real images most often called generated", reals, False),
    ):
        if said_real:
            ranked = sorted((each for each in images if each.said_real), key=lambda each: (-each.low, each.hash))
        else:
            ranked = sorted(
                (each for each in images if each.said_real < each.answers), key=lambda each: (each.high, each.hash)
            )
        if ranked:
            told = real if said_real else generated
            shown = tuple(_tile(each, said_real, told, image) for each in ranked[:SHOWN])
            found.append(Gallery(title, rank, shown, "tiles"))
    return found


def _tile(each: Image, said_real: bool, told: str, image: Draw) -> Picture:
    count = each.said_real if said_real else each.answers - each.said_real
    by = f"{told} by {count} of {each.answers}"
    caption = by if each.real else f"{each.generator}: {by}"
    name = f"image_{zlib.crc32(f'{told} {each.generator} {each.hash}'.encode()):08x}.png"
    return Picture(name, caption, caption, enlarged(image(each.hash)))


def enlarged(content: bytes) -> bytes:
    """Returns a PNG file of about `EDGE` pixels or more, each pixel of a small image a square of equal ones."""
    with Pixels.open(io.BytesIO(content)) as picture:
        factor = max(1, round(EDGE / max(picture.size)))
        larger = picture.resize((picture.width * factor, picture.height * factor), Pixels.Resampling.NEAREST)
    buffer = io.BytesIO()
    larger.save(buffer, "PNG")
    return buffer.getvalue()
