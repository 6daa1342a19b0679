"""A study's answers, a line each, attention checks included; the study's options go beside, or to standard error.

python -m igan.annotation export cifar10.db                         # CSV on standard output
python -m igan.annotation export cifar10.db --output=answers.csv     # and answers.options.json
python -m igan.annotation export cifar10.db --output=answers.jsonl
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from igan.annotation.answers import Answer, Circumstances
from igan.annotation.files import Row, csv_text, write_options
from igan.errors import UserError
from igan.reporting.lenient_json import printable

SUFFIXES = (".csv", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="the file of a study")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .csv or .jsonl file; default: CSV, printed")


def run(arguments: argparse.Namespace) -> None:
    from igan.annotation import study

    opened = study.open(arguments.study)
    try:
        write(opened.records(), opened.options, arguments.output)
    finally:
        opened.close()


def write(records: Sequence[tuple[Answer, Circumstances]], options: Mapping[str, Any], output: Path | None) -> None:
    """Writes answers to a file and the study's options beside it, or to standard output and standard error.

    Raises UserError for another kind of file, and one that cannot be written.
    """
    if output is None:
        sys.stdout.write(csv_text(_rows(records)))
        print(printable(f"options: {json.dumps(options, ensure_ascii=False)}"), file=sys.stderr)
        return
    if output.suffix not in SUFFIXES:
        raise UserError(f"--output={output}: expected a file that ends with {' or '.join(SUFFIXES)}")
    rows = (answer._asdict() | besides._asdict() for answer, besides in records)
    lines = (printable(json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    text = csv_text(_rows(records)) if output.suffix == ".csv" else "".join(lines)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8", newline="")
        write_options(output.with_suffix(".options.json"), options)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}: give another --output=FILE") from error
    print(f"{len(records):,} answers in {output}", file=sys.stderr)


def _rows(records: Sequence[tuple[Answer, Circumstances]]) -> Iterator[Row]:
    yield Answer._fields + Circumstances._fields
    for answer, besides in records:
        yield [int(value) if isinstance(value, bool) else value for value in (*answer, *besides)]
