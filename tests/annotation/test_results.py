"""The commands over a study in memory: tables, JSON, CSV, Markdown and a page of its own."""

import csv
import hashlib
import html.parser
import io
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from igan.annotation import __main__, assemble, export, results
from igan.annotation.answers import Attendance, Circumstances
from igan.errors import UserError
from tests.annotation.people import answer, study

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)> {{7*7}} | `a` $x$'
NAMES = {"accuracy", "interval", "wilson", "by_generator", "by_feedback", "dprime", "alpha", "excluded"}


class Study:
    """As `igan.annotation.study.open` returns it."""

    def __init__(self, answers, **options):
        self._answers = answers
        self.options = {"title": "MNIST", "questions": 40, "feedback": "half", "checks_failed": 2} | options

    def answers(self):
        return self._answers

    def attendance(self):
        return Attendance(len({each.person for each in self._answers}) + 1, 1, 3, 2, 1.0, 61.0)

    def image(self, hash):
        grey = hashlib.sha256(hash.encode()).digest()[0]
        buffer = io.BytesIO()
        Image.fromarray(np.full((28, 28), grey, np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def small():
    answers = study(np.random.default_rng(0), people=12, generators=("dcgan", "pack"), checks=2, careless=("p3",))
    return Study(answers, people=20)


def show(the_study, **arguments):
    options = {"study": "x.db", "output": None, "json": False, "everybody": False, "mixed": False} | arguments
    results.show(the_study, SimpleNamespace(**options))


def printed_json(capsys):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_json_has_the_names_that_others_rely_on(small, capsys):
    show(Study(small.answers(), limit=float("nan")), json=True)
    assert printed_json(capsys)["options"]["limit"] is None
    show(small, json=True)
    found = printed_json(capsys)
    assert set(found) >= NAMES
    assert found["interval"][0] < found["accuracy"] < found["interval"][1]
    assert found["wilson"][1] - found["wilson"][0] < found["interval"][1] - found["interval"][0]
    assert set(found["by_generator"]) == {"dcgan", "pack", "real"}
    assert set(found["by_feedback"]) == {"with", "without", "effect"}
    assert [each["person"] for each in found["excluded"]] == ["p3"]
    assert 0 < found["dprime"] < 4 and -1 < found["alpha"] < 1
    assert found["options"] == small.options
    came = {"began": 13, "never_answered": 1, "declined": 3, "deleted": 2}
    assert found["people"] == came | {"answered": 12, "kept": 11, "planned": 20}
    assert found["span"] == ["1970-01-01T00:00:01+00:00", "1970-01-01T00:01:01+00:00"]


def test_the_flag_undoes_exclusions(small, capsys):
    show(small, json=True, everybody=True)
    assert printed_json(capsys)["excluded"] == []
    show(small, everybody=True)
    assert "Nobody is left out" in capsys.readouterr().err


def test_one_person_has_no_interval_and_says_so(capsys):
    one = Study([answer(position=place, image=str(place)) for place in range(40)])
    show(one, json=True)
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["accuracy"], found["interval"]) == (1.0, None)
    assert "takes two people" in captured.err


def test_the_terminal_shows_the_result_and_the_papers(small, capsys):
    show(small)
    captured = capsys.readouterr()
    for words in ("52.4 %", "78.7 %", "71.4 %", "mean over people", "as if they were independent (Wilson)"):
        assert words in captured.out
    assert "11 of 20 planned people" in captured.err


def test_files(small, tmp_path, capsys):
    show(small, output=tmp_path / "out", json=True)
    captured = capsys.readouterr()
    folder = tmp_path / "out"
    assert json.loads(captured.out) == json.loads((folder / "results.json").read_text())
    assert json.loads((folder / "options.json").read_text()) == small.options
    people = rows_of(folder / "people.csv")
    assert [row["person"] for row in people if row["excluded"]] == ["p3"]
    assert len(people) == 12
    images = rows_of(folder / "images.csv")
    assert sum(int(row["answers"]) for row in images) == 11 * 40
    found = {(row["quantity"], row["group"]): row for row in rows_of(folder / "results.csv")}
    assert float(found["accuracy", "all people"]["mean"]) == json.loads(captured.out)["accuracy"]
    markdown = (folder / "report.md").read_text()
    linked = set(re.findall(r"\]\(pictures/([^)]+)\)", markdown))
    assert linked == {file.name for file in (folder / "pictures").iterdir()} and len(linked) > 20


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_page_needs_no_network_and_runs_nothing(tmp_path):
    answers = study(np.random.default_rng(1), people=4, generators=(HOSTILE,))
    show(Study([each._replace(person=HOSTILE + each.person) for each in answers], title=HOSTILE, consent=HOSTILE),
         output=tmp_path)  # fmt: skip
    text = (tmp_path / "index.html").read_text()
    seen = Tags(text).seen
    assert not {"script", "iframe", "link", "object", "form"} & {tag for tag, _ in seen}
    assert not any(name.startswith("on") for _, attributes in seen for name in attributes)
    sources = [value for _, attributes in seen for name, value in attributes.items() if name in ("src", "href")]
    assert sources and all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert "{{7*7}}" in text and "49 |" not in text
    assert "<script>" not in (tmp_path / "report.md").read_text()


def test_galleries_hold_what_deceives_and_what_is_obvious():
    answers = [answer(f"p{n}", 0, "deceives", "dcgan", n > 0) for n in range(10)]
    answers += [answer(f"p{n}", 1, "obvious", "dcgan", n == 0) for n in range(10)]
    answers += [answer(f"p{n}", 2, "real1", "real", n < 4) for n in range(10)]
    answers += [answer("p0", 3, "once"), answer("p0", 3, "once too", said_real=True)]
    _, made = results.report(Study(answers, questions=3))
    galleries = {gallery.title: gallery for section in made.sections for gallery in section.galleries}
    captions = {title: [each.caption for each in gallery.pictures] for title, gallery in galleries.items()}
    assert captions["The most deceptive generated images"][0] == "dcgan: taken for real by 9 of 10"
    assert captions["The most obvious generated images"][0] == "dcgan: called generated by 9 of 10"
    assert captions["Real images most often called generated"] == ["called generated by 6 of 10"]


def test_images_are_enlarged_by_whole_pixels():
    pixels = np.random.default_rng(2).integers(256, size=(28, 28), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    larger = np.asarray(Image.open(io.BytesIO(assemble.enlarged(buffer.getvalue()))))
    np.testing.assert_array_equal(larger, np.kron(pixels, np.ones((5, 5), np.uint8)))


def test_suspicious_people_are_named_and_stay(capsys):
    answers = study(np.random.default_rng(3), people=4)
    hasty = [each._replace(person="hasty", seconds=0.1) for each in answers if each.person == "p0"]
    same = [each._replace(person="same", said_real=True) for each in answers if each.person == "p1"]
    summary, made = results.report(Study([*answers, *hasty, *same]))
    assert len(summary.people) == 6
    assert any("under 300 ms" in each and "hasty" in each for each in made.warnings)
    assert any("same answer" in each.lower() and ": same." in each for each in made.warnings)


def test_side_by_side_is_converted_before_it_stands_beside_the_paper():
    answers = [answer(f"p{n}", k, f"i{k}", "dcgan", k < 4 + n % 3, feedback=False) for n in range(6) for k in range(40)]
    _, made = results.report(Study(answers, mode="side_by_side"))
    rows = {row[0]: row[1] for section in made.sections for table in section.tables for row in table.rows}
    assert rows["mean over people (the result)"] == "87.5 %"
    assert rows["this study"] == "79.2 %"


def test_nobody_has_answered():
    assert "0 of 0 who answered" in results.page(Study([]))
    with pytest.raises(UserError, match="nobody has answered"):
        show(Study([answer(check=True, real=True)]))


def test_an_output_that_is_a_file(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"):
        show(small, output=tmp_path / "file" / "out")


def test_the_mixed_model_recovers_what_people_and_images_differ_by(capsys):
    pytest.importorskip("statsmodels")
    random = np.random.default_rng(4)
    answers = study(random, people=40, questions=40, centre=1.0, spread=0.8, hardness=0.8, images=60)
    show(Study(answers), json=True, mixed=True)
    found = printed_json(capsys)["mixed"]
    assert found["people"] == pytest.approx(0.8, abs=0.25)
    assert found["images"] == pytest.approx(0.8, abs=0.25)
    assert found["accuracy"] == pytest.approx(1 / (1 + np.exp(-1)), abs=0.08)


def test_the_mixed_model_without_its_package(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.genmod.bayes_mixed_glm", None)
    with pytest.raises(UserError, match="pip install statsmodels"):
        show(small, mixed=True)


def test_export(tmp_path, capsys):
    answers = [answer("=1+1", 3, "i", "dcgan", True, False, 1.25), answer("p", check=True, real=True)]
    besides = [Circumstances("browser", 0.5, 1e9, "phone", "j"), Circumstances("server", None, 2e9, "desktop", None)]
    records, options = list(zip(answers, besides, strict=True)), {"title": "Größe", "limit": None}
    export.write(records, options, None)
    captured = capsys.readouterr()
    rows = list(csv.reader(io.StringIO(captured.out)))
    assert rows[0] == [*answers[0]._fields, "clock", "shown", "received", "device", "real_image"]
    assert rows[1] == [
        "'=1+1", "3", "i", "dcgan", "0", "1", "0", "1.25", "", "0", "browser", "0.5", "1000000000.0", "phone", "j",
    ]  # fmt: skip
    assert json.loads(captured.err.removeprefix("options: ")) == options
    for name in ("answers.jsonl", "answers.csv"):
        export.write(records, options, tmp_path / "new" / name)
        assert json.loads((tmp_path / "new" / "answers.options.json").read_text("utf-8")) == options
        (tmp_path / "new" / "answers.options.json").unlink()
    lines = (tmp_path / "new" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [each._asdict() | more._asdict() for each, more in records]
    with pytest.raises(UserError, match=r"\.csv or \.jsonl"):
        export.write(records, options, tmp_path / "answers.xlsx")


def test_the_command_line_refuses_in_one_line(capsys):
    assert __main__.main(["result"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "Did you mean 'results'?" in captured.err
    assert __main__.main([]) == 2
    assert __main__.main(["--help"]) == 0
    assert "results" in capsys.readouterr().out


def test_a_missing_package_is_named_with_its_cure(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "igan.annotation.agreement", raising=False)
    for name in ("results", "summary", "assemble", "files", "charts", "tables"):
        monkeypatch.delitem(sys.modules, f"igan.annotation.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    assert __main__.main(["results", "x.db"]) == 2
    assert "igan[annotation]" in capsys.readouterr().err
