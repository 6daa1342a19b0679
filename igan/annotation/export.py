"""A study's answers, a line each, attention checks included.

python -m igan.annotation export cifar10.db                         # CSV on standard output
python -m igan.annotation export cifar10.db --output=answers.csv
python -m igan.annotation export cifar10.db --output=answers.jsonl
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from igan.annotation.answers import Answer
from igan.annotation.files import Row, csv_text
from igan.errors import UserError
from igan.reporting.lenient_json import printable

SUFFIXES = (".csv", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="the file of a study")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .csv or .jsonl file; default: CSV, printed")


def run(arguments: argparse.Namespace) -> None:
    from igan.annotation import study

    write(study.open(arguments.study).answers(), arguments.output)


def write(answers: Sequence[Answer], output: Path | None) -> None:
    """Writes answers to a file, or to standard output.

    Raises UserError for another kind of file, and one that cannot be written.
    """
    if output is None:
        sys.stdout.write(csv_text(_rows(answers)))
        return
    if output.suffix not in SUFFIXES:
        raise UserError(f"--output={output}: expected a file that ends with {' or '.join(SUFFIXES)}")
    lines = (printable(json.dumps(answer._asdict(), ensure_ascii=False)) + "\n" for answer in answers)
    text = csv_text(_rows(answers)) if output.suffix == ".csv" else "".join(lines)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}: give another --output=FILE") from error
    print(f"{len(answers):,} answers in {output}", file=sys.stderr)


def _rows(answers: Sequence[Answer]) -> Iterator[Row]:
    yield Answer._fields
    for answer in answers:
        yield [int(value) if isinstance(value, bool) else value for value in answer]
