"""The two ways a run ends badly that are not bugs, and the words that help."""

import difflib
import numbers
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

# Comparisons with NaN are false, and what float32 cannot hold is infinite, or zero.
FLOAT32_TINY, FLOAT32_MAX = 1.2e-38, 3.4e38


class UserError(Exception):
    """Something the person at the keyboard can put right. One line: what was wrong, what was expected, what to type.

    `igan.main` prints it without a traceback and exits with code 2.
    """


class RunError(Exception):
    """A run that could not go on: disk full, NaN, a lost device. One line; what is on disk stays valid; exit code 1."""


def require_number(field: str, value: Any, expected: str, holds: Callable[[Any], bool], usual: float) -> None:
    """Raises UserError unless the value of a field of the config is a number of which a condition holds.

    Args:
      field: after `config.`.
      expected: the condition in words.
      usual: what to type instead.

    >>> require_number("techniques.lecam.decay", 0.99, "a number below 1", lambda number: number < 1, usual=0.99)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not holds(value):
        raise UserError(f"{field} is {value}, expected {expected}: set --config.{field}={usual}")


def exit_code(
    command: Callable[[], object], interrupted: str = "interrupted", flags: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Runs a command and returns its exit code: 0, or another with one line on stderr instead of a traceback.

    Args:
      command: does the work. UserError is 2, RunError and what the system refuses 1, Ctrl-C 130, and
        another signal that raised KeyboardInterrupt (`igan.run.signals.raised`) 128 and its number; a reader that has
        had enough of what is printed (`| head`) is no error.
      interrupted: what to say after a signal.
      flags: the command's own names for flags of `igan.main`, in which the hints of errors are written.

    >>> exit_code(lambda: None)
    0
    """
    try:
        command()
        sys.stdout.flush()
    except (UserError, RunError) as error:
        return tell(type(error)(in_flags(str(error), flags)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Or Python complains when it flushes at exit.
    except OSError as error:
        return tell(RunError(one_line(error)))
    except KeyboardInterrupt as stopped:
        number = stopped.args[0] if stopped.args else signal.SIGINT
        print(f"{signal.Signals(number).name}: {interrupted}", file=sys.stderr)
        return 128 + number
    return 0


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """Returns a message with the flags of `igan.main` called as a command calls its own.

    >>> in_flags("correct --config.data.dir", {"--config.data.dir": "--data_dir"})
    'correct --data_dir'
    """
    return re.sub(r"--config(\.\w+)+", lambda match: flags.get(match[0], match[0]), message)


def tell(error: UserError | RunError) -> int:
    """Prints an error as one line on stderr and returns its exit code.

    >>> tell(UserError("epochs is 0"))
    2
    """
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2 if isinstance(error, UserError) else 1


def one_line(error: BaseException) -> str:
    """Returns what another library's error says in one line of about 200 characters, to be part of one of ours.

    >>> one_line(ValueError("not\\na number"))
    'not a number'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown name.

    >>> did_you_mean("feature_machting", ["feature_matching", "minimax"])
    " Did you mean 'feature_matching'? Known: feature_matching, minimax."
    """
    known = sorted(known)
    return f"{suggestion(name, known)} Known: {', '.join(known)}."


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns the known name that an unknown one was probably meant to be, or nothing, for an error message.

    >>> suggestion("epoch", ["epochs", "seed"])
    " Did you mean 'epochs'?"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
