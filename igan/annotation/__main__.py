"""The commands of a human evaluation: python -m igan.annotation COMMAND --help."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from igan.errors import exit_code

COMMANDS = ("serve", "audit", "delete")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser("python -m igan.annotation", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"igan.annotation.{name}")
        text = module.__doc__ or ""
        added = commands.add_parser(
            name, help=text.partition("\n")[0], description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(added)
        added.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    return exit_code(lambda: options.run(options), interrupted="stopped")


if __name__ == "__main__":
    sys.exit(main())
