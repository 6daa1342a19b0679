"""From people's answers over HTTP to the table: nothing is lost, doubled or turned on the way."""

import csv
import json
import re

import numpy as np
import pytest

pytest.importorskip("igan.annotation.study", reason="needs the server")

from igan.annotation import __main__, results, study
from tests.annotation.people import logistic

PEOPLE, QUESTIONS, CHECKS = 20, 12, 2


def take(browser, random, share, careless):
    """One person takes a study, right with probabilities by position; returns how often."""
    client = browser.begin(browser.another())
    right = position = 0
    while question := browser.question(client):
        truth = browser.truth(question)
        row = browser.server.reader.execute("SELECT expected FROM question WHERE id = ?", (question,)).fetchone()
        is_check = row[0] is not None
        is_right = not careless if is_check else bool(random.random() < share[position])
        right += is_right and not is_check
        position += not is_check
        words = re.findall(r'name="said" value="([^"]+)"', client.get("/question").text)
        said = words[0] if truth else words[1]
        other = words[1] if truth else words[0]
        reply = browser.answer(question, said if is_right else other, client)
        assert reply.status_code == 200, reply.text
    return right


@pytest.mark.parametrize("mode", ["single", "side_by_side"])
def test_a_study_of_twenty_people(make, browse, capsys, tmp_path, mode):
    path = make(mode=mode, generators=2, questions=QUESTIONS, checks=CHECKS, feedback="half", people=PEOPLE)
    browser = browse(path)
    random = np.random.default_rng(0)
    skills, slopes = random.normal(1.4, 0.8, PEOPLE), random.normal(0.0, 1.0, PEOPLE)  # They learn, or tire.
    trend = np.linspace(-0.5, 0.5, QUESTIONS)
    shares = logistic(skills[:, None] + slopes[:, None] * trend)
    right = [take(browser, random, share, careless=place == 7) for place, share in enumerate(shares)]
    assert len(set(right)) > 3  # Of one skill they could be exchanged without anybody noticing.
    assert __main__.main(["results", str(path), "--json", f"--output={tmp_path / 'out'}"]) == 0
    found = json.loads(capsys.readouterr().out)
    kept = [count / QUESTIONS for place, count in enumerate(right) if place != 7]
    assert found["accuracy"] == pytest.approx(np.mean(kept))
    assert len(found["excluded"]) == 1 and found["excluded"][0]["reason"] == "failed attention checks"
    assert found["answers"] == (PEOPLE - 1) * QUESTIONS and found["checks"] == {"answered": 40, "failed": 2}
    assert found["options"]["mode"] == mode and found["options"]["sources"]
    with (tmp_path / "out" / "people.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["answers"]) for row in rows] == [QUESTIONS] * PEOPLE
    assert [float(row["accuracy"]) for row in rows[:-1]] == pytest.approx(kept)  # Each their own.
    opened = study.open(path)
    assert "The most deceptive generated images" in results.page(opened)
    opened.close()
    assert __main__.main(["export", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + PEOPLE * (QUESTIONS + CHECKS)
    assert __main__.main(["plan", f"--like={path}"]) == 0
