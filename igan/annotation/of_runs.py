"""What the report of runs shows of the studies of their images."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from igan.annotation import results, study
from igan.annotation.sources import find_studies
from igan.annotation.summary import Summary, verdict
from igan.annotation.tables import between, percent
from igan.errors import RunError, UserError, one_line
from igan.reporting.lenient_json import printable
from igan.reporting.page import Section, render_html
from igan.reporting.tables import NONE, Table

HEADER = ("study", "generators", "people", "answers", "right", "95 % interval", "")
NOTE = "Right: the mean over people, with Student's t interval over people. Guessing has 50 %."


@dataclass(frozen=True)
class Studies:
    """What the report of runs shows of people."""

    section: Section | None
    pages: Mapping[str, str]  # The results of each study as a page of its own, by its file's name.
    warnings: tuple[str, ...]


def studies(runs: Sequence[Path], folder: str) -> Studies:
    """Returns a section with a row and a link for each study of any of the runs; None without a study.

    Args:
      runs: work directories.
      folder: where the pages will be, as seen from the report.
    """
    paths = dict.fromkeys(path for run in runs for path in find_studies(run))
    rows, links, pages, warnings = [], [], {}, []
    for path in paths:
        try:
            opened = study.open(path)
            try:
                summary, made = results.report(opened)
                generators = [each["name"] for each in opened.options["sources"] if not each["real"]]
                name = _page_name(path, pages)
                pages[name] = printable(render_html(made))
            finally:
                opened.close()
        except (UserError, RunError, apsw.Error) as error:
            warnings.append(f"Study {path} left out: {one_line(error)}.")
            continue
        rows.append(_row(summary, ", ".join(generators)))
        links.append((f"{summary.design.title}: all results", f"{folder}/{name}"))
    if not rows:
        return Studies(None, {}, tuple(warnings))
    table = Table("People who told these runs' images from real ones", HEADER, tuple(rows), (NOTE,))
    section = Section("people", "Human evaluation", (), (table,), (), (), tuple(links))
    return Studies(section, pages, tuple(warnings))


def _row(summary: Summary, generators: str) -> tuple[str, ...]:
    accuracy = summary.accuracy
    right = (NONE, NONE) if accuracy is None else (percent(accuracy.mean), between(accuracy.low, accuracy.high))
    people = f"{len(summary.people)} of {summary.design.people}" if summary.planned else str(len(summary.people))
    return (summary.design.title, generators, people, f"{summary.answers:,}", *right, verdict(summary))


def _page_name(path: Path, taken: Mapping[str, str]) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", f"{path.parent.name} {path.stem}")[-80:].strip("_")
    return next(
        name
        for number in range(len(taken) + 1)
        if (name := f"{words}{f'_{number}' if number else ''}.html") not in taken
    )
