"""Redirect mode against local stand-ins that hold each service's published contract. None is the real service."""

import re

import pytest

from igan.annotation import crowds, study
from igan.errors import UserError

CODES = "done=DONE1,screened_out=OUT2,no_consent=NO3"
# What the services publish (what a link has, where people go back to), and not what the package says they do.
CONTRACTS = {
    "prolific": (
        "PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}",
        "https://app.prolific.com/submissions/complete?cc=",
    ),
    "connect": (
        "participantId={{%PROLIFIC_PID%}}&assignmentId={{%SESSION_ID%}}&projectId=p",
        "https://connect.cloudresearch.com/participant/project/complete?code=",
    ),
    "respondent": (
        "respondent_profile_id={{%PROLIFIC_PID%}}&respondent_session_id={{%SESSION_ID%}}&respondent_project_id=p",
        "https://app.respondent.io/complete?cc=",
    ),
}
OUTCOMES = {"DONE1": "done", "OUT2": "screened_out", "NO3": "no_consent"}


class StandIn:
    """A service: fills the link in, and takes people back by a code."""

    def __init__(self, preset: str) -> None:
        self.crowd = crowds.make(preset, CODES)
        self.parameters, self.completion = CONTRACTS[preset]

    def query(self, person: str, session: str) -> str:
        """Returns what people's link has when they come from the service."""
        values = {"{{%PROLIFIC_PID%}}": person, "{{%SESSION_ID%}}": session, "{{%STUDY_ID%}}": "study"}
        text = self.parameters
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        return f"?{text}"

    def come_back(self, address: str) -> str:
        """Returns the outcome of a completion link."""
        assert address.startswith(self.completion), address
        return OUTCOMES[address.removeprefix(self.completion)]


def link(page) -> str:
    found = re.search(r'class="button main" rel="noreferrer" href="([^"]+)"', page.text)
    assert found, page.text
    return found[1].replace("&amp;", "&")


def test_every_preset_has_a_contract_and_the_link_that_is_given_to_the_service_is_its():
    assert set(crowds.PRESETS) == set(CONTRACTS)
    assert crowds.PRESETS["prolific"].link == CONTRACTS["prolific"][0]


@pytest.mark.parametrize("preset", CONTRACTS)
def test_a_person_comes_answers_and_goes_back_with_the_code(make, browse, preset):
    service = StandIn(preset)
    browser = browse(make(questions=3, crowd=service.crowd))
    client = browser.begin(query=service.query("person1", "session1"))
    while name := browser.question():
        browser.answer(name, "real")
    page = client.get("/end")
    assert service.come_back(link(page)) == "done" and "DONE1" in page.text
    # Seen again, should the service have missed it; and in another browser too.
    other = browser.begin(browser.another(), query=service.query("person1", "session1"))
    assert service.come_back(link(other.get("/end"))) == "done"
    assert len(study.open(browser.server.study.path).people()) == 1


@pytest.mark.parametrize("preset", CONTRACTS)
def test_those_who_do_not_consent_go_back_with_their_code(make, browse, preset):
    service = StandIn(preset)
    browser = browse(make(questions=3, crowd=service.crowd))
    page = browser.client.post(f"/decline/{browser.link}{service.query('p', 's')}", data={"x": ""})
    assert service.come_back(link(page)) == "no_consent"
    assert study.open(browser.server.study.path).people() == []


def test_those_who_fail_attention_checks_are_screened_out(make, browse):
    service = StandIn("prolific")
    browser = browse(make(questions=4, checks=2, crowd=service.crowd))
    client = browser.begin(query=service.query("p", "s"))
    while name := browser.question():
        browser.answer(name, "generated" if browser.truth(name) else "real")
    assert service.come_back(link(client.get("/end"))) == "screened_out"


def test_nobody_takes_part_twice(make, browse):
    service = StandIn("prolific")
    browser = browse(make(questions=3, crowd=service.crowd))
    browser.begin(query=service.query("person", "first"))
    client = browser.another()
    query = service.query("person", "second")
    form = re.search(r'name="form" value="([^"]+)"', client.get(f"/join/{browser.link}{query}").text)
    assert form
    reply = client.post(f"/join/{browser.link}{query}", data={"form": form[1]})
    assert reply.status_code == 409 and service.come_back(link(reply)) == "screened_out"
    assert len(study.open(browser.server.study.path).people()) == 1


@pytest.mark.parametrize("session", ["same", "another"])
def test_who_withdraws_cannot_take_part_again(make, browse, session):
    """The code was shown already; a second participation would be paid twice, and the data of one who is known."""
    service, path = StandIn("prolific"), make(questions=1, crowd=crowds.make("prolific", CODES))
    browser = browse(path)
    client = browser.begin(query=service.query("person", "same"))
    browser.answer(browser.question(), "real")
    assert service.come_back(link(client.get("/end"))) == "done"
    person = study.open(path).people()[0]["id"]
    assert client.post("/withdraw", data={"sure": "yes"}).status_code == 200
    other, query = browser.another(), service.query("person", session)
    form = re.search(r'name="form" value="([^"]+)"', other.get(f"/join/{browser.link}{query}").text)
    assert form
    reply = other.post(f"/join/{browser.link}{query}", data={"form": form[1]})
    assert reply.status_code == 409 and service.come_back(link(reply)) == "screened_out"
    assert study.open(path).people() == []
    browser.begin(browser.another(), query=service.query("somebody else", "other"))
    browser.server.close()
    kept = study.schema.connect(path).execute("SELECT length(outside) FROM used").fetchall()
    assert kept == [(32,), (32,)] and person.encode() not in path.read_bytes()


def test_who_stops_on_the_way_goes_back_as_one_who_does_not_consent(make, browse):
    service = StandIn("prolific")
    browser = browse(make(questions=3, crowd=service.crowd))
    client = browser.begin(query=service.query("p", "s"))
    browser.answer(browser.question(), "real")
    assert service.come_back(link(client.post("/withdraw", data={"sure": "yes"}))) == "no_consent"


def test_where_one_id_serves_for_both_a_person_is_a_session(make, browse):
    crowd = crowds.make("custom", "done=X", "https://panel.test/back?code={code}&x=1", "uid")
    browser = browse(make(questions=1, crowd=crowd))
    client = browser.begin(query="?uid=me")
    browser.answer(browser.question(), "real")
    assert link(client.get("/end")) == "https://panel.test/back?code=X&x=1"


def test_a_preset_s_names_can_be_replaced_in_the_link_too(make, browse):
    crowd = crowds.make("prolific", CODES, person="pid", session="sid")
    assert crowd.link == "pid={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&sid={{%SESSION_ID%}}"
    browser = browse(make(crowd=crowd))
    filled = (
        crowd.link.replace("{{%PROLIFIC_PID%}}", "p").replace("{{%STUDY_ID%}}", "s").replace("{{%SESSION_ID%}}", "x")
    )
    browser.begin(query=f"?{filled}")
    assert len(study.open(browser.server.study.path).people()) == 1


@pytest.mark.parametrize(
    "query",
    ["", "?PROLIFIC_PID=x", "?PROLIFIC_PID=&SESSION_ID=s",
     "?PROLIFIC_PID={{%PROLIFIC_PID%}}&SESSION_ID={{%SESSION_ID%}}",
     f"?PROLIFIC_PID={'x' * 300}&SESSION_ID=s", "?PROLIFIC_PID=a%00b&SESSION_ID=s"],
)  # fmt: skip
def test_a_link_without_proper_ids_is_refused_before_anything_is_stored(make, browse, query):
    browser = browse(make(crowd=StandIn("prolific").crowd))
    assert browser.client.get(f"/join/{browser.link}{query}").status_code == 400
    assert study.open(browser.server.study.path).people() == []


def test_ids_of_the_service_are_nowhere_in_the_file(make, browse):
    path = make(crowd=StandIn("prolific").crowd)
    browser = browse(path)
    browser.begin(query=StandIn("prolific").query("5f3a-outside-person", "9c1b-outside-session"))
    browser.server.close()
    stored = path.read_bytes()
    assert b"outside-person" not in stored and b"outside-session" not in stored
    row = study.schema.connect(path).execute("SELECT length(outside_person), length(outside_session) FROM person")
    assert row.fetchone() == (32, 32)


def test_the_way_back_is_the_study_s_and_not_the_link_s(make, browse):
    service = StandIn("prolific")
    browser = browse(make(questions=1, crowd=service.crowd))
    query = service.query("p", "s") + "&completion=https://evil.test&cc=evil&completionUrl=https://evil.test"
    client = browser.begin(query=query)
    browser.answer(browser.question(), "real")
    assert "evil" not in client.get("/end").text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prolfic", "done=X"), "Did you mean 'prolific'"),
        (("prolific", ""), "--codes=done=CODE"),
        (("prolific", "finished=X"), "OUTCOME=CODE"),
        (("custom", "done=X", "http://panel.test/{code}", "uid"), "expected https://"),
        (("custom", "done=X", "javascript://panel.test/{code}", "uid"), "expected https://"),
        (("custom", "done=X", "https://panel.test/", "uid"), "expected https://"),
        (("custom", "done=X", "https://panel.test/{code}"), "--crowd_person=NAME"),
    ],
)
def test_what_cannot_work_is_said_at_once(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        crowds.make(*arguments)


def test_codes_are_escaped_in_the_way_back():
    crowd = crowds.make("custom", "done=a b&c", "https://panel.test/?c={code}", "uid")
    assert crowds.way_back(crowd, "done") == ("https://panel.test/?c=a%20b%26c", "a b&c")
    assert crowds.way_back(crowd, "no_consent") == ("", "")
