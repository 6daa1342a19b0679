"""The version of igan, with the commit where there is one: what makes a number traceable."""

import argparse
import functools
import subprocess
from pathlib import Path
from typing import Any

NUMBER = "0.1.0"  # Also that of the package, see setup.cfg.


@functools.cache
def version() -> str:
    """Returns the number, with the commit of the checkout that igan runs from, "0.1.0+g80ccb54", if it does.

    It ends with ".changed" where a file is not what the commit says. Also called `igan.__version__`.

    >>> version().startswith(NUMBER)
    True
    """
    return NUMBER + commit(Path(__file__).parents[1])


def commit(folder: Path) -> str:
    """Returns the commit of a checkout as the end of a version, "+g80ccb54", or "" where there is none.

    With ".changed", if the tree is not what the commit says.

    >>> commit(Path("/nowhere"))
    ''
    """
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--exclude=*", "--abbrev=7", "--dirty=.changed"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # Without git, say.
        return ""
    return f"+g{found.stdout.strip()}"


class ShowVersion(argparse.Action):
    """`parser.add_argument("--version", action=ShowVersion)`: git is asked only when somebody asks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, nargs=0, help="print the version and the commit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"igan {version()}")
        parser.exit()
