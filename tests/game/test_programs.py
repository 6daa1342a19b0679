"""Programs that are compiled ahead, in another thread."""

import threading

import pytest

from igan.game.programs import Programs


def test_a_program_is_compiled_once_however_many_ask_for_it():
    began, go, count = threading.Event(), threading.Event(), []

    def compile(static: int) -> str:
        count.append(static)
        began.set()
        assert go.wait(60)
        return f"program {static}"

    programs = Programs(compile)
    programs.prepare(1)
    assert began.wait(60)  # It is under way, and this thread is free.
    programs.prepare(1)
    go.set()
    assert programs(1) == "program 1" == programs(1) and programs(2) == "program 2" and count == [1, 2]


def test_a_program_that_could_not_be_compiled_says_so_where_it_is_needed():
    def compile(static: int) -> str:
        raise RuntimeError("out of memory")

    programs = Programs(compile)
    programs.prepare(1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            programs(1)
