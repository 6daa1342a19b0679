"""The version names the commit, and git is never missed."""

import re
import subprocess
import sys
from pathlib import Path

import igan
from igan import film, report, version
from igan.run import workdir
from tests.command import PATIENCE, REPOSITORY


def test_the_commit_of_a_checkout_is_part_of_the_version(tmp_path: Path) -> None:
    assert version.commit(tmp_path) == ""

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "one")
    assert re.fullmatch(r"\+g[0-9a-f]{7,}", version.commit(tmp_path))
    (tmp_path / "file").write_text("two")
    assert version.commit(tmp_path).endswith(".changed")


def test_without_git_there_is_the_number(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / ".git").mkdir()
    assert version.commit(tmp_path) == ""  # Of no use to git.
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version.commit(REPOSITORY) == ""


def test_everything_says_the_same(capsys) -> None:
    found = igan.__version__
    assert found.startswith(version.NUMBER) and found == version.version() == workdir.versions()["igan"]
    assert not hasattr(igan, "nothing_of_the_kind")
    for command in (film, report):
        try:
            command.main(["--version"])
        except SystemExit as end:
            assert end.code == 0
        assert capsys.readouterr().out == f"igan {found}\n"


def test_main_says_it_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "igan.main", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"igan {igan.__version__}\n", "")
