"""Deletes a participant, who has asked for it, with all answers.

python -m igan.annotation delete cifar10.db 740d9e0fa9fb7f2d
"""

import argparse
from pathlib import Path

from igan.annotation import study
from igan.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("study", type=Path, help="the file of a study")
    parser.add_argument("person", help="the number that the person was shown")


def run(arguments: argparse.Namespace) -> None:
    """Deletes.

    Raises UserError if there is no such person.
    """
    opened = study.open(arguments.study)
    try:
        if not opened.forget(arguments.person):
            raise UserError(f"{arguments.study} has nobody with the number {arguments.person}: copy it as it was shown")
    finally:
        opened.close()
    print(f"deleted: {arguments.person}")
