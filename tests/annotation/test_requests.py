"""Whatever is sent, in whatever order and however slowly, the server stays and answers."""

import contextlib
import socket
import time
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igan.annotation import security, store, study
from igan.annotation.options import Options

from .conftest import OWNER, Browser, Running, sources

METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"])
# Every route, and values for what is in braces. That none is forgotten is tested below.
ROUTES = {
    "/": "GET", "/question": "GET", "/answered/{question}": "GET", "/image/{question}/{side}": "GET", "/answer": "POST",
    "/end": "GET", "/stop": "GET", "/withdraw": "POST", "/join/{link}": "GET", "/decline/{link}": "POST",
    "/example/{link}/{kind}": "GET", "/owner": "GET", "/owner/login": "POST", "/owner/delete": "POST",
    "/owner/results": "GET", "/static/{name}": "GET",
}  # fmt: skip
ODD = ("", "..", "%00", "%ff", "%E2%80%AE", "x" * 22, "a" * 3000)
PIECES = {"side": ("a", "b", "c"), "kind": ("real", "generated"), "name": ("page.js", "page.css", "..%2fstudy.py")}
TEXTS = st.text(max_size=40) | st.sampled_from(
    ["QUESTION", "OTHER", "FORM", "PERSON", "real", "generated", "yes", OWNER, "0" * 16, "-1", "1200", "1e999", "\x00"]
)
FIELDS = st.dictionaries(
    st.sampled_from(["question", "said", "milliseconds", "shown", "form", "token", "person", "sure"])
    | st.text(max_size=9),
    TEXTS,
    max_size=5,
)
HEADERS = st.dictionaries(
    st.sampled_from(["accept", "content-type", "origin", "sec-fetch-site", "user-agent", "x-forwarded-for"]),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30)
    | st.sampled_from(["application/json", "application/x-www-form-urlencoded", "http://testserver"]),
    max_size=3,
)


class Participant:
    """Somebody in the middle of a study who is logged in as its owner too, and comes again after withdrawing."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.before = browser, ""
        self.client = browser.another()
        assert self.client.post("/owner/login", data={"token": OWNER}).status_code == 303
        self.known: dict[str, str] = {}

    def ready(self) -> None:
        """Begins where there is no current question, and answers one."""
        while not (name := self.browser.question(self.client)):
            self.browser.begin(self.client)
            self.before = self.browser.question(self.client)
            self.browser.answer(self.before, "real", self.client)
        person = store.one(self.browser.server.reader, "SELECT person FROM question WHERE id = ?", name)[0]
        form = security.signed(self.browser.server.key, "x")
        self.known = {"QUESTION": name, "OTHER": self.before, "FORM": form, "PERSON": person}

    def path(self, route: str, **chosen: str) -> str:
        return route.format_map({"link": self.browser.link, "question": self.known["QUESTION"]} | chosen)


async def _drawn(*_) -> str:
    return "<p>drawn elsewhere</p>"


@pytest.fixture(scope="module")
def participant(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzzed") / "s.db"
    study.create(path, Options(questions=50, pool=60, feedback="with"), sources(60))
    browser = Browser(path)
    for limiter in (browser.server.by_person, browser.server.by_address, browser.server.by_guess):
        limiter.rate = limiter.burst = 1e9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igan.annotation.owner_pages.to_process.run_sync", _drawn)  # A process each would take seconds.
        yield Participant(browser)
    browser.server.close()


def test_every_route_is_known_and_reached(participant):
    """Else what follows would be about pages that are not there."""
    routes = participant.browser.application.routes
    assert {route.path for route in routes} == set(ROUTES)
    participant.ready()
    chosen = {"side": "a", "kind": "real", "name": "page.js"}
    for route, method in ROUTES.items():
        if method == "GET":
            name = participant.known["OTHER" if "answered" in route else "QUESTION"]
            reply = participant.client.get(participant.path(route, **chosen, question=name))
            assert reply.status_code in (200, 303), (route, reply.status_code)
    for route, fields in (
        ("/answer", {"question": participant.known["QUESTION"], "said": "real"}),
        ("/join/{link}", {"form": participant.known["FORM"]}),
        ("/decline/{link}", {"x": ""}),
        ("/owner/delete", {"person": "0" * 16}),
        ("/owner/login", {"token": OWNER}),
        ("/withdraw", {"sure": "yes"}),
    ):
        reply = participant.client.post(participant.path(route, **chosen), data=fields)
        assert reply.status_code in (200, 303), (route, reply.status_code)


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_whatever_breaks_the_server(participant, route, data):
    """Real routes with real ids; methods, forms, raw bodies and headers at random: never a status of 500 or above."""
    participant.ready()
    known = participant.known
    chosen = {name: data.draw(st.sampled_from(values + ODD)) for name, values in PIECES.items()}
    chosen["question"] = data.draw(st.sampled_from((known["QUESTION"], known["OTHER"], *ODD)))
    chosen["link"] = data.draw(st.sampled_from((participant.browser.link, participant.browser.link, *ODD)))
    path = participant.path(route, **chosen)
    path += data.draw(st.sampled_from(["", "/", "?a=b", "?PROLIFIC_PID=%ff&=&&", "?" + "x" * 3000]))
    method = data.draw(st.sampled_from([ROUTES[route]] * 3) | METHODS)
    encoded = {name: value.encode("latin-1") for name, value in data.draw(HEADERS).items()}
    body = data.draw(st.binary(max_size=60))
    if data.draw(st.booleans()):
        encoded.setdefault("content-type", b"application/x-www-form-urlencoded")
        body = urlencode({name: known.get(value, value) for name, value in data.draw(FIELDS).items()}).encode()
    reply = participant.client.request(method, path, content=body, headers=encoded)
    assert reply.status_code < 500, (method, path, body)


def test_slow_clients_are_hung_up_on_and_others_are_served(make, monkeypatch):
    monkeypatch.setattr(security, "SLOWEST", 0.6)
    running = Running(make())
    port = running.listening.getsockname()[1]
    head = f"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))

        slow = [connect() for _ in range(50)]
        for number, each in enumerate(slow):
            each.sendall((head if number % 2 else "").encode())  # And never the end of it.
        body, fast = connect(), connect()
        form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 50\r\n\r\ntoken"
        body.sendall(f"POST /owner/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{form}".encode())
        for _ in range(3):  # Keeps the connection, and is asked for no hurry between requests.
            fast.sendall(f"{head}\r\n".encode())
            received = b""
            while b"</svg>" not in received:
                received += fast.recv(65536)
            assert received.startswith(b"HTTP/1.1 200")
            time.sleep(0.7)
        assert all(_is_closed(each) for each in slow)
        assert body.recv(65536).startswith(b"HTTP/1.1 408")
    running.stop()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True
