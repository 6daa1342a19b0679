"""How people leave a study: at its end, on the way, with their answers; and what its owner sees of them."""

import asyncio
import shutil
import threading

import pytest

from igan.annotation import study

from .conftest import OWNER


def test_people_withdraw_themselves(make, browse):
    browser = browse(make(questions=1))
    client = browser.begin()
    browser.answer(browser.question(), "real")
    assert client.post("/withdraw", data={"sure": "no"}).status_code == 400
    assert client.post("/withdraw", data={"sure": "yes"}).status_code == 200
    opened = study.open(browser.server.study.path)
    assert opened.people() == [] and opened.answers() == [] and opened.tallies()["deleted"] == 1
    assert client.get("/end").status_code == 404


def test_people_stop_on_the_way_and_take_their_answers_with_them(make, browse):
    """As the consent says: at any moment, without scripts, and without asking anybody."""
    browser = browse(make())
    client = browser.begin()
    browser.answer(browser.question(), "real")
    person = study.open(browser.server.study.path).people()[0]["id"]
    assert 'href="/stop"' in client.get("/question").text
    page = client.get("/stop").text
    assert person in page and "1 of 8" in page and 'action="/withdraw"' in page and 'href="/question"' in page
    assert browser.question()  # Having looked changes nothing.
    assert client.post("/withdraw", data={"sure": "yes"}).status_code == 200
    assert study.open(browser.server.study.path).people() == [] and client.get("/stop").status_code == 404
    finished = browser.begin(browser.another())
    while name := browser.question(finished):
        browser.answer(name, "real", finished)
    assert finished.get("/stop").headers["location"] == "/end"


def test_a_code_is_shown_at_the_end_without_any_service(make, browse):
    browser = browse(make(questions=1, completion_code="TEACUP<4>2"))
    client = browser.begin()
    assert "TEACUP" not in client.get("/question").text + client.get("/stop").text
    browser.answer(browser.question(), "real")
    assert 'completion code: <strong class="code">TEACUP&lt;4&gt;2<' in client.get("/end").text
    declined = browser.another().post(f"/decline/{browser.link}", data={"x": ""})
    assert "TEACUP" not in declined.text


def test_no_trace_of_the_deleted_is_left_once_the_server_has_ended(make, browse):
    path = make()
    browser = browse(path)
    for _ in range(20):
        browser.begin(browser.another())
    client = browser.begin()
    person = study.open(path).people()[-1]["id"]
    client.post("/withdraw", data={"sure": "yes"})
    browser.server.close()
    assert person.encode() not in path.read_bytes()
    assert len(study.open(path).people()) == 20


def test_once_the_server_has_ended_the_file_alone_has_all_answers(make, browse, tmp_path):
    """Who copies it then need not know of the log beside it."""
    path = make()
    browser = browse(path)
    browser.begin()
    browser.answer(browser.question(), "real")
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size
    browser.server.close()
    assert not log.exists()
    assert len(study.open(shutil.copy(path, tmp_path / "copy.db")).answers()) == 1


def test_those_who_decline_leave_a_count_only(make, browse):
    browser = browse(make())
    assert browser.client.post(f"/decline/{browser.link}").status_code == 415  # What is no form is nobody's.
    form = {"content-type": "application/x-www-form-urlencoded"}  # As browsers send the empty one of the page.
    page = browser.client.post(f"/decline/{browser.link}", content=b"", headers=form)
    assert page.status_code == 200 and "nothing about you is stored" in page.text
    opened = study.open(browser.server.study.path)
    assert opened.tallies()["declined"] == 1 and opened.people() == []


def test_the_owner_sees_counts_and_deletes(make, browse, monkeypatch):
    browser = browse(make(questions=1, people=20))
    browser.begin()
    browser.answer(browser.question(), "real")
    owner = browser.another()
    assert "Token" in owner.get("/owner").text and "began" not in owner.get("/owner").text
    assert owner.post("/owner/login", data={"token": "wrong"}).status_code == 403
    assert owner.post("/owner/login", data={"token": OWNER}).status_code == 303
    person = study.open(browser.server.study.path).people()[0]["id"]
    assert person in owner.get("/owner").text
    # Made in another process: here it would hold up those who answer.
    with monkeypatch.context() as here:
        here.delattr("igan.annotation.results.page")
        assert "<title>" in owner.get("/owner/results").text
    assert "no person with this number" in owner.post("/owner/delete", data={"person": "0" * 16}).text
    assert f"Deleted: {person}" in owner.post("/owner/delete", data={"person": person}).text
    assert study.open(browser.server.study.path).people() == []


def test_the_owner_s_page_does_not_make_people_wait(make, browse, monkeypatch):
    """What it reads of all answers is read beside the answering of people."""
    browser = browse(make())
    threads = []
    original = study.Study.people

    def people(self):
        threads.append(threading.current_thread())
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return original(self)

    monkeypatch.setattr(study.Study, "people", people)
    owner = browser.another()
    owner.post("/owner/login", data={"token": OWNER})
    assert owner.get("/owner").status_code == owner.post("/owner/delete", data={"person": "x"}).status_code == 200
    assert len(threads) == 2


def test_a_study_that_is_gone_is_one_line_for_its_owner(make, browse, capfd):
    path = make()
    browser = browse(path)
    browser.client.post("/owner/login", data={"token": OWNER})
    path.rename(path.with_name("elsewhere.db"))
    for page in ("/owner", "/owner/results"):
        reply = browser.client.get(page)
        assert reply.status_code == 503 and "try again" in reply.text
        assert capfd.readouterr().err.startswith(f"error: there is no study {path}")
