"""A report as Markdown with pictures beside it, and as one HTML page that holds its pictures and needs no network."""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from igan.reporting.recipes import Recipe
from igan.reporting.tables import Table

TEMPLATE = "page.html.jinja"
RECIPE_HEADER = ("field", "value", "default of the experiment")


@dataclass(frozen=True)
class Picture:
    """A picture with the words that stand in for it (`alt`) and below it (`caption`)."""

    name: str  # Of its file, unique in the report.
    alt: str
    caption: str
    content: bytes
    mime: str = "image/png"
    chart: str = ""  # What it shows as JSON, of `igan.reporting.charts`, for a page that draws it itself.
    group: int | None = None  # The group of runs that it belongs to, of `Section.groups`.
    still: bytes = b""  # Of a film its last picture, WebP.

    @property
    def data_uri(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode('ascii')}"

    @property
    def still_uri(self) -> str:
        return f"data:image/webp;base64,{base64.b64encode(self.still).decode('ascii')}" if self.still else ""


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading; small ones stand side by side where there is room."""

    title: str
    text: str
    pictures: tuple[Picture, ...]
    size: str = "wide"  # "wide", "panel", "grid" or "tiles", whose pixels stay sharp.


@dataclass(frozen=True)
class Section:
    """All about the runs on one data set. `name` identifies it in links."""

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...]
    recipes: tuple[Recipe, ...]
    galleries: tuple[Gallery, ...]
    links: tuple[tuple[str, str], ...] = ()  # Text and address of pages beside this one.
    first: tuple[Gallery, ...] = ()  # Pictures that come before everything else.
    groups: tuple[str, ...] = ()  # What can be compared by ticking.


@dataclass(frozen=True)
class Report:
    """What the templates show."""

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...]
    runs: Table | None
    headline: tuple[str, str] | None = None  # The one number of the page, and what it is.
    script: bool = False  # Whether the page may have a script: charts zoom, tables sort, runs can be compared.

    @property
    def pictures(self) -> list[Picture]:
        return [
            picture
            for section in self.sections
            for gallery in (*section.first, *section.galleries)
            for picture in gallery.pictures
        ]


def render_html(report: Report) -> str:
    """Returns the page: UTF-8, pictures as data: URIs, everything from the runs escaped."""
    return _template().render(report=report, recipe_header=RECIPE_HEADER)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("igan.reporting", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template(TEMPLATE)


def _breakable(text: str) -> Markup:
    """A long name may go on in the next line between its words, as a path may between its folders."""
    return Markup(re.sub(r"(?<=[_.=/])(?=\w)", "<wbr>", str(escape(text))))


def render_markdown(report: Report, pictures: str) -> str:
    """Returns the report as Markdown that also reads well in a terminal.

    Args:
      pictures: the folder of the pictures, relative to the file.
    """
    blocks = [f"# {_text(report.title)}", _text(report.subtitle)]
    if report.headline:
        blocks.append(f"**{_text(report.headline[0])}** {_text(report.headline[1])}")
    blocks.append("\n".join(f"- {_text(name)}: {_text(value)}" for name, value in report.facts))
    for section in report.sections:
        blocks += [f"## {_text(section.title)}", *map(_text, section.text), *_galleries(section.first, pictures)]
        for table in section.tables:
            blocks += _table(table)
        if section.links:
            blocks.append("\n".join(f"- [{_text(text)}]({address})" for text, address in section.links))
        blocks += _galleries(section.galleries, pictures)
        if section.recipes:
            blocks += ["### What was run", *(block for recipe in section.recipes for block in _recipe(recipe))]
    if report.warnings:
        blocks += ["## Warnings", "\n".join(f"- {_text(warning)}" for warning in report.warnings)]
    if report.runs:
        blocks += ["## Runs", *_table(report.runs)]
    return "\n\n".join(blocks) + "\n"


def render_tables(report: Report) -> str:
    """Returns the tables of all sections for a terminal."""
    blocks = []
    for section in report.sections:
        blocks += [f"## {_text(section.title)}", *map(_text, section.text)]
        blocks += [block for table in section.tables for block in _table(table)]
    return "\n\n".join(blocks) + "\n"


def _galleries(galleries: Sequence[Gallery], folder: str) -> list[str]:
    blocks = []
    for gallery in galleries:
        blocks += [f"### {_text(gallery.title)}", *([_text(gallery.text)] if gallery.text else [])]
        blocks += [
            f"![{_text(picture.alt)}]({folder}/{picture.name})\n\n{_text(picture.caption)}"
            for picture in gallery.pictures
        ]
    return blocks


def _recipe(recipe: Recipe) -> list[str]:
    blocks = [f"#### {_text(recipe.title)}", *([_text(recipe.text)] if recipe.text else [])]
    if recipe.settings:
        blocks.append("\n".join(_markdown_rows(RECIPE_HEADER, recipe.settings)))
    if recipe.command:
        blocks.append("\n".join(f"    {line}" for line in recipe.command.splitlines()))
    if recipe.fields:
        # GitHub folds this; elsewhere it is a table under its heading.
        rows = "\n".join(_markdown_rows(RECIPE_HEADER[:2], recipe.fields))
        blocks += [f"<details><summary>All {len(recipe.fields)} fields</summary>", rows, "</details>"]
    return blocks


def _table(table: Table) -> list[str]:
    rows = [
        [f"**{text}**" if (place, column) in table.best else text for column, text in enumerate(row)]
        for place, row in enumerate(table.rows)
    ]
    notes = [_text(note) for note in table.notes]
    return [f"### {_text(table.caption)}", "\n".join(_markdown_rows(table.header, rows)), *notes]


def _markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with padded columns."""
    cells = [[_text(text).replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"

    return [line(cells[0]), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, cells[1:])]


def _text(text: str) -> str:
    """Markdown passes HTML through: what a run calls itself must not become any, nor break a line."""
    return " ".join(html.escape(text, quote=False).split())
