"""The documented examples of the techniques: each runs, and every loss or penalty has one."""

import doctest
import importlib

import pytest

from igan.game import technique
from tests.techniques.suite import enable


def is_loss(name: str) -> bool:
    """Whether a technique is a loss of a player, or a penalty that its optimiser adds."""
    tested = technique.load(enable(name))[name]
    seams = ("discriminator_loss", "generator_loss", "discriminator_optimizer", "generator_optimizer", "lookahead")
    return any(getattr(tested, seam) is not None for seam in seams)


@pytest.mark.parametrize("name", technique.known())
def test_the_examples_run(name):
    module = importlib.import_module(f"igan.techniques.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0
    if is_loss(name):
        assert found.attempted > 0
        # With any optimiser of optax, not with igan's game alone.
        assert any("optax" in each.docstring for each in doctest.DocTestFinder().find(module))
