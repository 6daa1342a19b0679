"""Files that are whole or not there."""

import os

import pytest

from igan import files


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen, reach = tmp_path / "summary.json", [], os.fsync
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(path.read_bytes()), reach(descriptor)))
    files.replace(path, b"new")
    assert seen == [b"old"] and path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_reach_the_disk_leaves_the_old(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError("Input/output error")

    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.replace(path, b"new")
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"old"
