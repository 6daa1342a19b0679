"""Human evaluation: people say which images are real.

    python -m igan.annotation COMMAND ...        python -m igan.annotation COMMAND --help

Exit codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from igan.annotation import priority
from igan.errors import RunError, UserError, did_you_mean, exit_code, one_line

COMMANDS = {  # Each is a module of this package with `add_arguments(parser)` and `run(arguments)`.
    "serve": "put up a study: it prints the link for people and the link for its owner",
    "results": "what a study says: accuracy with its interval, tests, tables, a page",
    "plan": "how many people and answers an interval of some width needs",
    "audit": "whether anything but its pixels tells a real image from a generated one",
    "export": "a study's answers, a line each",
    "delete": "deletes a participant, who has asked for it, with all answers",
}
READING = ("results", "export")  # Which people may be answering meanwhile.
INSTALL = "pip install 'igan[annotation]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())
        print(f"{__doc__}\ncommands:\n{listed}", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if arguments is None and words[0] in READING:  # A process of its own.
        priority.stand_back()
    return exit_code(lambda: _run(words[0], words[1:]), interrupted="stopped")


def _run(command: str, arguments: Sequence[str]) -> None:
    if command not in COMMANDS:
        raise UserError(f"no command '{command}'.{did_you_mean(command, COMMANDS)}")
    module = _module(command)
    parser = argparse.ArgumentParser(
        f"python -m igan.annotation {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        module.run(parser.parse_args(arguments))
    except _database_errors() as error:
        raise RunError(
            f"a study cannot be read or written ({one_line(error)}): free space on its disk, or copy it to another one;"
            " what it holds stays valid"
        ) from error


def _database_errors() -> tuple[type[Exception], ...]:
    try:
        import apsw
    except ImportError:  # `plan` does without.
        return ()
    return (apsw.Error,)


def _module(command: str) -> ModuleType:
    try:
        return importlib.import_module(f"igan.annotation.{command}")
    except ModuleNotFoundError as error:
        if (error.name or "igan").startswith("igan"):
            raise
        raise UserError(f"{command} needs the package {error.name}: {INSTALL}") from error


if __name__ == "__main__":
    sys.exit(main())
