"""What a study says: accuracy with its interval over people, tests, tables, a page.

    python -m igan.annotation results cifar10.db                       # tables in the terminal
    python -m igan.annotation results cifar10.db --output=report       # a page, Markdown, JSON and CSV files
    python -m igan.annotation results cifar10.db --json | jq .accuracy

The study may still be running: reading it waits for nobody, and nobody waits for it.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from igan.annotation.answers import Answer, Attendance
from igan.annotation.assemble import assemble
from igan.annotation.exclusions import exclude
from igan.annotation.files import as_json, estimates_rows, images_rows, people_rows, write_csv, write_options
from igan.annotation.mixed import mixed
from igan.annotation.summary import Summary, design, summarise
from igan.annotation.votes import votes
from igan.errors import UserError
from igan.report import PAGE, write_pages
from igan.reporting.lenient_json import printable
from igan.reporting.page import Report, render_html
from igan.reporting.tables import Table

WIDTH = 110  # Letters of a line where no terminal says.
IN_TERMINAL = ("result", "paper", "classes", "generators", "feedback", "agreement")


class Study(Protocol):
    """What is read of a study, as `igan.annotation.study.open` returns it."""

    @property
    def options(self) -> Mapping[str, Any]: ...

    def answers(self) -> Sequence[Answer]: ...

    def attendance(self) -> Attendance: ...

    def image(self, hash: str, /) -> bytes: ...


def report(study: Study, everybody: bool = False, made_at: datetime | None = None) -> tuple[Summary, Report]:
    """Returns a study's statistics, and the report that shows them.

    Args:
      everybody: whether to leave nobody out.
      made_at: the time to print; None: now.

    >>> report(study.open(Path("cifar10.db")))[0].accuracy  # doctest: +SKIP
    Estimate(mean=0.712, low=0.668, high=0.756, count=20)
    """
    summary = summarise(study.answers(), design(study.options), everybody)
    now = made_at or datetime.now().astimezone()
    return summary, assemble(summary, study.options, study.image, now, attendance=study.attendance())


def page(study: Study) -> str:
    """Returns a study's results so far as one HTML page that needs nothing else, also before the first answer."""
    return printable(render_html(report(study)[1]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="the file of a study")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write a page, Markdown, JSON and CSV files there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--everybody", action="store_true", help="leave nobody out: undoes the study's rules")
    parser.add_argument("--mixed", action="store_true", help="fit people and images crossed too; needs statsmodels")


def run(arguments: argparse.Namespace) -> None:
    from igan.annotation import study

    show(study.open(arguments.study), arguments)


def show(study: Study, arguments: argparse.Namespace) -> None:
    """Prints the results of an open study, and writes them if asked to.

    Raises UserError without a single answer, and if the output cannot be written to.
    """
    answers = study.answers()
    if not any(not answer.check for answer in answers):
        raise UserError(f"nobody has answered a question of {arguments.study} yet: show people its link first")
    summary = summarise(answers, design(study.options), arguments.everybody)
    crossed = mixed(votes(exclude(answers, summary.rules)[0])) if arguments.mixed else None
    attendance = study.attendance()
    made = assemble(summary, study.options, study.image, datetime.now().astimezone(), crossed, attendance)
    plain = as_json(summary, study.options, made.warnings, crossed, attendance)
    if arguments.output:
        try:
            _write(summary, made, plain, arguments.output)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot write to {arguments.output}: {reason}: give another --output=DIR") from error
    if arguments.json:
        print(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_report(made, Console() if sys.stdout.isatty() else Console(width=WIDTH))
    for warning in made.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    if arguments.output:
        print(f"wrote {arguments.output / PAGE} (one page with everything) and files beside it", file=sys.stderr)


def _write(summary: Summary, made: Report, plain: Mapping[str, Any], output: Path) -> None:
    write_pages(made, output)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    (output / "results.json").write_text(printable(text) + "\n", encoding="utf-8")
    write_options(output / "options.json", plain["options"])
    write_csv(output / "results.csv", estimates_rows(summary))
    write_csv(output / "people.csv", people_rows(summary))
    write_csv(output / "images.csv", images_rows(summary))


def print_report(made: Report, console: Console) -> None:
    """Prints the parts of a report that a terminal has room for."""
    console.print(Text(printable(made.title), "bold"))
    for name, value in made.facts:
        console.print(Text(printable(f"{name}: {value}"), "dim"))
    if made.headline:
        console.print(Text.assemble((made.headline[0], "bold green"), " ", made.headline[1]))
    for section in made.sections:
        if section.name in IN_TERMINAL:
            for paragraph in section.text:
                console.print(Text(printable(paragraph)))
            for table in section.tables:
                console.print(_rich(table))


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=Text(table.caption, "bold"), title_justify="left", box=None, pad_edge=False)
    for name in table.header:
        shown.add_column(Text(name, "dim"), overflow="fold")
    for place, row in enumerate(table.rows):
        style = "italic dim" if place in table.quoted else ""
        shown.add_row(*(Text(printable(text), style) for text in row))
    return shown
