"""The report of a run shows and links the studies of its images; results of a study that was made of a run."""

import sys

import httpx2
import jax
import pytest

from igan import report
from igan.annotation import sources, study
from tests.reporting.synthetic import make_run

from .conftest import OWNER, Running
from .test_study import answer_all


@pytest.fixture
def run(tmp_path):
    """A work directory with a study in it that one person has taken."""
    return make_run(tmp_path / "runs" / "digits", dataset="mnist", errors=[99], labels=100)


def write(tmp_path, capsys):
    """Reports all runs; returns the Markdown, the page, and what was said on stderr."""
    assert report.main([str(tmp_path / "runs"), f"--output={tmp_path / 'out'}"]) == 0
    texts = [(tmp_path / "out" / name).read_text() for name in ("report.md", "index.html")]
    return *texts, capsys.readouterr().err


def test_the_study_in_a_run_s_directory_is_shown_and_linked(tmp_path, run, make, capsys):
    make("runs/digits/study.db", questions=8)
    for token in ("one", "other"):
        wrong = token == "other"
        answer_all(
            run / "study.db", token, lambda question, wrong=wrong: question.truth != (wrong and question.position < 4)
        )
    (run / "unrelated.db").write_bytes(b"\0" * 100)
    markdown, page, said = write(tmp_path, capsys)
    row = next(line for line in markdown.splitlines() if line.startswith("| Real or generated?"))
    assert [cell.strip() for cell in row.strip("|").split("|")][1:5] == ["g0", "2", "16", "75.0 %"]
    assert "- [Real or generated?: all results](studies/digits_study.html)" in markdown
    assert '<a href="studies/digits_study.html">' in page and said == ""
    results = (tmp_path / "out" / "studies" / "digits_study.html").read_text()
    assert "Beside the paper" in results and "75.0 %" in results
    (run / "study.db").unlink()
    markdown, _, _ = write(tmp_path, capsys)
    assert "Human evaluation" not in markdown and not list((tmp_path / "out" / "studies").iterdir())


def test_a_study_elsewhere_is_found_by_what_serving_it_wrote_and_no_longer_when_it_is_gone(tmp_path, run, make, capsys):
    path = make("elsewhere.db")
    source = {"name": "g0", "real": False, "address": str(run)}
    for _ in range(2):
        sources.record_study(path, [source, source | {"real": True, "address": str(tmp_path)}])
    assert sources.find_studies(run) == [path]
    assert "elsewhere.html" in write(tmp_path, capsys)[0]
    (tmp_path / "moved").mkdir()
    for each in (path, tmp_path / "runs"):
        each.rename(tmp_path / "moved" / each.name)
    assert sources.find_studies(tmp_path / "moved" / "runs" / "digits") == [tmp_path / "moved" / "elsewhere.db"]
    (tmp_path / "moved" / "elsewhere.db").unlink()
    assert sources.find_studies(tmp_path / "moved" / "runs" / "digits") == []


def test_what_cannot_be_read_is_a_warning(tmp_path, run, make, capsys):
    path = make("runs/digits/study.db")
    connection = study.schema.connect(path)
    connection.execute("DELETE FROM item WHERE id = (SELECT max(id) FROM item)")
    connection.close()
    (run / sources.RECORD).write_text("[1, no JSON")
    markdown, _, said = write(tmp_path, capsys)
    assert "study.db left out" in said and "changed after it was made" in said and "Human evaluation" not in markdown


def test_without_the_extra_the_report_says_what_it_leaves_out(tmp_path, run, make, capsys, monkeypatch):
    make("runs/digits/study.db")
    monkeypatch.setitem(sys.modules, "igan.annotation.of_runs", None)
    monkeypatch.delattr("igan.annotation.of_runs", raising=False)
    markdown, _, said = write(tmp_path, capsys)
    assert "igan[annotation]" in said and "studies/" not in markdown


def test_results_are_made_without_a_warning_where_jax_has_run(make, monkeypatch, recwarn):
    """A study made of a run has sampled it in this process; JAX warns of every fork that Python knows of."""
    assert jax.devices()
    raised = []
    monkeypatch.setattr("sys.unraisablehook", raised.append)  # What a handler of forks raises ends there.
    running = Running(make())
    with httpx2.Client(base_url=running.base, timeout=60) as client:
        client.post("/owner/login", data={"token": OWNER})
        assert "Accuracy" in client.get("/owner/results").text
    running.stop()
    assert not raised and not recwarn.list
