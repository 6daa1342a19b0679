"""Each question has one answer, whatever browsers do."""

import re

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igan.annotation import store, study
from igan.annotation.store import Timing


def test_a_study_from_start_to_end_without_scripts(make, browse):
    browser = browse(make(feedback="with", checks=1))
    client = browser.begin()
    seen = []
    while name := browser.question():
        assert client.get(f"/image/{name}/a").headers["content-type"] == "image/png"
        reply = client.post("/answer", data={"question": name, "said": "real"})
        assert reply.status_code == 303
        page = client.get(reply.headers["location"])
        if reply.headers["location"].startswith("/answered/"):
            assert "Right: it is real." in page.text or "Wrong: it is generated." in page.text
        seen.append(name)
    assert len(set(seen)) == 9
    page = client.get("/end")
    answers = study.open(browser.server.study.path).answers()
    right = sum(each.real for each in answers if not each.check)
    assert f"{right} of 8</strong> answers were right" in page.text
    assert client.get("/question").headers["location"] == "/end"


@pytest.mark.parametrize("feedback", ["with", "without"])
def test_people_are_told_or_not(make, browse, feedback):
    browser = browse(make(feedback=feedback))
    browser.begin()
    while name := browser.question():
        reply = browser.answer(name, "generated").json()
        assert (reply["verdict"] is not None) == (feedback == "with")


def test_without_feedback_right_and_wrong_answers_look_the_same(make, browse):
    """To the byte, but for the ids of the next question."""
    browser = browse(make(feedback="without", questions=30))
    browser.begin()
    bodies = {True: set(), False: set()}
    while name := browser.question():
        truth = browser.truth(name)
        reply = browser.answer(name, "real")
        if following := reply.json()["next"]:
            body = reply.text.replace(following["question"], "ID")
            body = re.sub(r'"position":\d+', "N", re.sub(r"Image \d+ of", "M", body))
            headers = sorted((key, value) for key, value in reply.headers.items() if key != "content-length")
            bodies[truth].add((body, tuple(headers)))
    assert len(bodies[True]) == 1 and bodies[True] == bodies[False]


def test_the_same_answer_again_is_stored_once_and_another_is_refused(make, browse):
    browser = browse(make(feedback="with"))
    browser.begin()
    name = browser.question()
    first, again = browser.answer(name, "real"), browser.answer(name, "real")
    assert (first.status_code, again.status_code) == (200, 200) and first.json() == again.json()
    other = browser.answer(name, "generated")
    assert other.status_code == 409 and other.json()["verdict"] == first.json()["verdict"]
    without_script = browser.client.post("/answer", data={"question": name, "said": "generated"})
    assert without_script.status_code == 409 and "first one counts" in without_script.text
    answers = study.open(browser.server.study.path).answers()
    assert [each.said_real for each in answers] == [True]


def test_two_tabs_and_the_back_button_lead_to_the_same_question(make, browse):
    browser = browse(make())
    browser.begin()
    name = browser.question()
    assert browser.question() == name  # Another tab, or a reload.
    browser.answer(name, "real")
    second = browser.question()
    assert second != name
    browser.answer(name, "real")  # From the other tab.
    assert browser.question() == second


def test_only_what_was_asked_can_be_answered(make, browse):
    browser = browse(make())
    browser.begin()
    rows = browser.server.reader.execute("SELECT id FROM question ORDER BY position").fetchall()
    assert browser.answer(rows[1][0], "real").status_code == 404  # Not asked yet.
    assert browser.client.get(f"/image/{rows[1][0]}/a").status_code == 404
    assert browser.client.get(f"/answered/{rows[0][0]}").status_code == 404
    assert browser.answer("A" * 22, "real").status_code == 404
    assert browser.answer(rows[0][0], "perhaps").status_code == 400
    stranger = browser.begin(browser.another())
    assert browser.answer(rows[0][0], "real", stranger).status_code == 404
    assert stranger.get(f"/image/{rows[0][0]}/a").status_code == 404
    assert study.open(browser.server.study.path).answers() == []
    assert browser.answer(rows[0][0], "real").status_code == 200


def test_the_start_form_makes_one_person_however_often_it_is_sent(make, browse):
    browser = browse(make())
    page = browser.client.get(f"/join/{browser.link}").text
    form = page.split('name="form" value="')[1].split('"')[0]
    replies = [browser.another().post(f"/join/{browser.link}", data={"form": form}) for _ in range(3)]
    assert len({reply.headers["set-cookie"] for reply in replies}) == 1
    assert len(study.open(browser.server.study.path).people()) == 1
    assert browser.another().post(f"/join/{browser.link}", data={"form": f"{form}0"}).status_code == 400
    assert browser.another().post("/join/another", data={"form": form}).status_code == 404


def test_seconds_come_from_the_browser_unless_the_server_knows_better(make, browse, monkeypatch):
    browser = browse(make())
    client = browser.begin()
    now = [100.0]
    monkeypatch.setattr("igan.annotation.participant_pages.time.monotonic", lambda: now[0])

    def one(milliseconds: str | None) -> float:
        name = browser.question()
        client.get(f"/image/{name}/a")
        now[0] += 2.0
        browser.answer(name, "real", **({"milliseconds": milliseconds} if milliseconds else {}))
        return study.open(browser.server.study.path).answers()[-1].seconds

    assert one("1234") == 1.234
    assert one(None) == 2.0
    assert one("999999") == 2.0  # Longer than the image has been there.
    assert one("-5") == 2.0 and one("1e3") == 2.0 and one("nan") == 2.0


def test_a_timed_image_is_sent_twice_at_most_before_the_answer(make, browse):
    browser = browse(make(limit=0.5))
    client = browser.begin()
    name = browser.question()
    assert [client.get(f"/image/{name}/a").status_code for _ in range(3)] == [200, 200, 410]
    browser.answer(name, "real", milliseconds="900", shown="498")
    row = browser.server.reader.execute("SELECT shown FROM answer").fetchone()
    assert row == (0.498,) and study.open(browser.server.study.path).answers()[0].limit == 0.5


def test_each_image_of_a_timed_pair_is_sent_twice_at_most_also_by_a_server_that_was_started_again(make, browse):
    path = make(limit=0.5, mode="side_by_side")
    browser = browse(path)
    client = browser.begin()
    name = browser.question()
    assert [client.get(f"/image/{name}/a").status_code for _ in range(3)] == [200, 200, 410]
    assert client.get(f"/image/{name}/b").status_code == 200
    browser.server.close()
    again = browse(path)
    again.client.cookies = client.cookies
    assert [again.client.get(f"/image/{name}/{side}").status_code for side in "abb"] == [410, 200, 410]
    again.answer(name, "left")
    assert again.client.get(f"/image/{name}/a").status_code == 200  # Beside what is said of the answer.


def test_a_full_disk_is_said_and_nothing_is_half_stored(make, browse, monkeypatch):
    browser = browse(make())
    browser.begin()
    name = browser.question()
    original = store.answer

    def full(connection, *arguments):
        original(connection, *arguments)
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(store, "answer", full)
    reply = browser.answer(name, "real")
    assert reply.status_code == 503 and "Nothing can be stored" in reply.text
    monkeypatch.undo()
    assert study.open(browser.server.study.path).answers() == []
    assert browser.question() == name and browser.answer(name, "real").status_code == 200


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=30))
def test_any_order_of_requests_leaves_one_answer_a_question_and_the_first_counts(tmp_path_factory, steps):
    """A model: persons answer, repeat, contradict, and answer what they were not asked."""
    from igan.annotation import schema
    from igan.annotation.options import Options

    from .conftest import sources

    path = tmp_path_factory.mktemp("model") / "s.db"
    study.create(path, Options(questions=5, pool=10), sources(10))
    connection, opened = schema.connect(path), study.open(path)
    known = store.read_known(connection, opened.settings, opened.key)
    people = [store.begin(connection, known, str(number)) for number in range(3)]
    query = "SELECT id FROM question WHERE person = ? ORDER BY position"
    decks = [[row[0] for row in connection.execute(query, (person.id,))] for person in people]
    model: dict[tuple[int, int], bool] = {}
    for who, place, said in steps:
        reached = sum(each == who for each, _ in model)
        name = decks[who][place] if place < 5 else decks[(who + 1) % 3][0]
        outcome = store.answer(connection, known, people[who].id, name, said, Timing(1.0))
        if place == 5 or place > reached:
            assert outcome.status == "unknown"
        elif place == reached:
            assert outcome.status == "stored"
            model[who, place] = said
        else:
            assert outcome.status == ("repeated" if model[who, place] == said else "conflict")
    names = {person.id: number for number, person in enumerate(people)}
    stored = {(names[each.person], each.position): each.said_real for each in opened.answers()}
    assert stored == model
    connection.close()
    opened.close()
