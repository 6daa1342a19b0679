"""What a field of the config may be set to on the command line, where ml_collections leaves it to each type."""

from typing import Any

from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser


class Field(flags.ArgumentParser):
    """Reads a value as another parser does, and says in a person's words what it expected.

    >>> Field(flags.IntegerParser(), "a whole number").parse("7")
    7
    """

    def __init__(self, parser: flags.ArgumentParser, expected: str) -> None:
        self._parser, self._expected = parser, expected

    def parse(self, argument: Any) -> Any:
        """Returns the value; raises ValueError, which absl completes with the flag."""
        try:
            return self._parser.parse(argument)
        except (ValueError, TypeError) as error:
            raise ValueError(f"expected {self._expected}") from error

    def flag_type(self) -> str:
        """Returns what --help calls it."""
        return self._parser.flag_type()


def register() -> None:
    """Has every config flag that is parsed from now on read its fields so.

    Of several values for one field the last one wins: ml_collections would join lists, but only those that it reads
    with a `TupleParser` itself.

    >>> register()
    """
    for kind, parser, expected in (
        (bool, flags.BooleanParser(), "True or False"),
        (int, flags.IntegerParser(), "a whole number"),
        (float, flags.FloatParser(), "a number, like 0.5 or 3e-4"),
        (tuple, tuple_parser.TupleParser(), "values in brackets, like (8,) or ('a','b')"),
    ):
        config_flags.register_flag_parser_for_type(kind, Field(parser, expected))
