"""What the documents name is there."""

import re
import runpy
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "launch/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", (TESTS.parent / "docs" / "pitfalls.md").read_text())


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_mistake_has_its_test(path, name):
    assert f"\ndef {name}(" in (TESTS / path).read_text()


def test_every_mistake_has_one():
    text = (TESTS.parent / "docs" / "pitfalls.md").read_text()
    rows = text.count("\n| ") - text.count("\n| technique | mistake |")
    assert rows == len(NAMED) > 50


def test_the_page_of_techniques_is_that_of_the_docstrings():
    page = runpy.run_path(str(TESTS.parent / "docs" / "techniques.py"))["page"]
    written = (TESTS.parent / "docs" / "techniques.md").read_text()
    assert written == page(), "run: python docs/techniques.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(page):
    links = re.findall(r"\]\(([^)#\s]+)|src=\"([^\"#]+)\"", page.read_text())
    paths = [first or second for first, second in links if not re.match(r"[a-z]+:", first or second)]
    assert [path for path in paths if not (page.parent / path).exists()] == []


def test_the_front_door_can_be_read_in_one_go():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
