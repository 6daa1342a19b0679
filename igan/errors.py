"""The two ways a run ends badly that are not bugs, and the words that help."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the person at the keyboard can put right. One line: what was wrong, what was expected, what to type.

    `igan.main` prints it without a traceback and exits with code 2.
    """


class RunError(Exception):
    """A run that could not go on: disk full, NaN, a lost device. One line; what is on disk stays valid; exit code 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown name.

    >>> did_you_mean("feature_machting", ["feature_matching", "minimax"])
    " Did you mean 'feature_matching'? Known: feature_matching, minimax."
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    suggestion = f" Did you mean '{close[0]}'?" if close else ""
    return f"{suggestion} Known: {', '.join(known)}."
