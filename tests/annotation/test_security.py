"""No way in, and nothing given away: the channels and threats one by one."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from urllib.parse import urlencode

import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igan.annotation import audit, crowds, pool, security, serve, server, study
from igan.annotation.options import Options
from igan.annotation.pool import Source
from igan.annotation.security import Limiter
from igan.errors import UserError
from igan.metrics import images

from .conftest import OWNER, Browser, sources

TRUTH = re.compile(r"\b(truth|real_first|is_real|fake|g0)\b")


def pages(browser, client):
    """Everything that a participant receives before the first answer."""
    name = browser.question()
    for path in ("/question", f"/image/{name}/a", "/static/page.js", "/static/page.css", f"/join/{browser.link}"):
        yield client.get(path)


def test_nothing_received_before_the_answer_says_which_is_real(make, browse):
    browser = browse(make(feedback="with"))
    client = browser.begin()
    hashes = [each for of_source in browser.server.study.hashes().values() for each in of_source]
    for reply in pages(browser, client):
        received = reply.content + repr(reply.headers).encode()
        assert not TRUTH.search(received.decode("latin-1"))
        assert not any(each.encode() in received for each in hashes)
    question = client.get("/question").text
    assert question.count('value="real"') == question.count('value="generated"') == 1  # The two buttons.


def test_a_reply_does_not_say_what_the_next_image_is(make, browse):
    browser = browse(make(feedback="with", questions=40))
    browser.begin()
    name, by_class = browser.question(), {True: set(), False: set()}
    while name:
        following = browser.answer(name, "real").json()["next"]
        if following:
            text = repr(following).replace(following["question"], "ID")
            by_class[browser.truth(following["question"])].add(re.sub(r"\d+", "N", text))
        name = following["question"] if following else ""
    assert by_class[True] == by_class[False] and len(by_class[True]) == 1


def test_images_of_both_classes_come_with_the_same_headers_and_lengths(make, browse):
    browser = browse(make(questions=30))
    client = browser.begin()
    found = {True: set(), False: set()}
    while name := browser.question():
        reply = client.get(f"/image/{name}/a")
        found[browser.truth(name)].add((tuple(sorted(reply.headers.items())), len(reply.content)))
        browser.answer(name, "real")
    assert found[True] == found[False] and len(found[True]) == 1
    headers = dict(next(iter(found[True]))[0])
    assert headers["cache-control"] == "no-store"
    assert not {"etag", "last-modified", "content-encoding", "server", "date"} & set(headers)


def test_two_people_never_share_an_id_and_ids_have_128_bits(make, browse):
    browser = browse(make())
    for _ in range(5):
        browser.begin(browser.another())
    names = [row[0] for row in browser.server.reader.execute("SELECT id FROM question")]
    assert len(set(names)) == 40 and all(len(name) == 22 for name in names)


def test_every_response_has_the_headers(make, browse):
    browser = browse(make())
    client = browser.begin()
    replies = [*pages(browser, client), client.get("/nothing"), client.get("/owner"), client.post("/answer")]
    replies += [client.get("/", headers={"host": "evil.test"}), client.put("/answer"), client.get("/image/../x/a")]
    for reply in replies:
        for name, value in security.HEADERS.items():
            assert reply.headers[name] == value
    assert "unsafe" not in security.POLICY and "frame-ancestors 'none'" in security.POLICY
    assert "script" not in security.POLICY_OF_RESULTS


def test_cookies_are_closed_to_scripts_and_other_sites(make, browse):
    browser = browse(make())
    client = browser.begin()
    assert client.cookies
    page = browser.another().get(f"/join/{browser.link}").text
    form = re.search(r'name="form" value="([^"]+)"', page)
    assert form
    cookie = browser.another().post(f"/join/{browser.link}", data={"form": form[1]}).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    owner = browser.another().post("/owner/login", data={"token": OWNER}).headers["set-cookie"]
    assert "HttpOnly" in owner and "SameSite=strict" in owner and "Path=/owner" in owner and OWNER not in owner


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "http://testserver.evil.test"},
    ],
)
def test_posts_from_other_sites_are_refused(make, browse, headers):
    browser = browse(make())
    client = browser.begin()
    data = {"question": browser.question(), "said": "real"}
    for path in ("/answer", "/withdraw", f"/join/{browser.link}", "/owner/login", "/owner/delete"):
        assert client.post(path, data=data, headers=headers).status_code == 403
    assert study.open(browser.server.study.path).answers() == []
    fine = {"sec-fetch-site": "same-origin", "origin": "http://testserver"}
    assert client.post("/answer", data=data, headers=fine).status_code == 303


@pytest.mark.parametrize("host", ["evil.test", "testserver:81", "testserver.", "", "127.0.0.1"])
def test_other_host_names_are_refused(make, browse, host):
    assert browse(make()).client.get("/owner", headers={"host": host}).status_code == 400


def test_large_and_odd_bodies_are_refused(make, browse):
    browser = browse(make())
    client = browser.begin()
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/answer", content=b"a" * 5000, headers=form).status_code == 413
    assert client.post("/answer", content=iter([b"a" * 3000, b"a" * 3000]), headers=form).status_code == 413
    assert client.post("/answer", content=b"\xff\xfe", headers=form).status_code == 400
    assert client.post("/answer", content=b"&".join([b"a=b"] * 50), headers=form).status_code == 400
    assert client.post("/answer", json={"question": "x"}).status_code == 415
    assert client.post("/answer", files={"question": b"x"}).status_code == 415
    assert client.delete("/answer").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../study.py", "/static/..%2fstudy.py", "/static/%2e%2e%2fstudy.py", "/image/..%2f..%2fetc%2fpasswd/a",
        "/image/%00/a", "/image/AAAAAAAAAAAAAAAAAAAAAA/c", "/static/base.html.jinja", "/example/x/real", "/study.db",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(make, browse, path):
    browser = browse(make())
    browser.begin()
    reply = browser.client.get(path)
    assert reply.status_code == 404 and b"import" not in reply.content and b"root:" not in reply.content


def test_texts_of_the_owner_and_of_links_are_only_text(make, browse):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}{% x %}"
    crowd = crowds.make("custom", "done=<b>", "https://s.test/?c={code}", "pid", "sid")
    path = make(title=evil, consent=f"{evil}\n\n{evil}", contact=evil, questions=1, crowd=crowd)
    browser = browse(path)
    query = "?pid=%3Cscript%3Ealert(1)%3C/script%3E&sid=%22%3E%3Cimg%20src=x%3E"
    client, owner = browser.client, browser.another()
    texts = [client.get(f"/join/{browser.link}{query}").text]
    browser.begin(query=query)
    texts.append(client.get("/question").text)
    browser.answer(browser.question(), "real")
    owner.post("/owner/login", data={"token": OWNER})
    texts += [client.get("/end").text, owner.get("/owner").text]
    for text in texts:
        assert "<script>alert" not in text and "<img src=x" not in text and "onerror=alert(1)>" not in text
        assert "<b>" not in text and "49" not in re.sub(r"\b[0-9a-f]{16,}\b", "", text)


def test_the_owner_s_pages_are_closed_without_the_token(make, browse):
    browser = browse(make())
    client = browser.begin()
    assert client.get("/owner/results").status_code == 404
    assert client.post("/owner/delete", data={"person": "0" * 16}).status_code == 404
    client.cookies.set("igan_owner", "0" * 64, path="/owner")
    assert client.get("/owner/results").status_code == 404
    guesses = [client.post("/owner/login", data={"token": str(n)}).status_code for n in range(12)]
    assert guesses[:10] == [403] * 10 and guesses[-1] == 429


def test_a_person_who_asks_too_often_waits_and_others_do_not(make, browse):
    browser = browse(make())
    browser.begin()
    browser.server.by_person = Limiter(rate=0.001, burst=3)
    codes = [browser.client.get("/question").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    other = browser.begin(browser.another())
    assert other.get("/question").status_code == 200


def test_a_limiter_gives_back_and_forgets():
    now = [0.0]
    limiter = Limiter(rate=2, burst=2, clock=lambda: now[0])
    assert [limiter.allows("a") for _ in range(3)] == [True, True, False]
    now[0] = 0.5
    assert [limiter.allows("a") for _ in range(2)] == [True, False]
    for number in range(10_002):
        limiter.allows(number)
    now[0] = 100.0
    limiter.allows("b")
    assert len(limiter._buckets) < 10


METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"])
PIECES = st.sampled_from(
    ["join", "LINK", "question", "answer", "image", "QUESTION", "a", "b", "end", "owner", "login", "results", "delete",
     "static", "page.js", "answered", "withdraw", "decline", "example", "real", "", "..", "%00", "%ff", "%E2%80%AE"]
)  # fmt: skip
TEXTS = st.text(max_size=40) | st.sampled_from(["QUESTION", "real", "left", "yes", "0" * 16, "-1", "1e999", "\x00"])
FIELDS = st.dictionaries(
    st.sampled_from(["question", "said", "milliseconds", "shown", "form", "token", "person", "sure"])
    | st.text(max_size=9),
    TEXTS,
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_whatever_breaks_the_server(fuzzed, data):
    """Routes, methods, forms, raw bodies and headers at random: never a status of 500 or above."""
    browser, client = fuzzed
    known = {"LINK": browser.link, "QUESTION": browser.question() or "x"}
    pieces = [known.get(piece, piece) for piece in data.draw(st.lists(PIECES, max_size=4))]
    path = "/" + "/".join(pieces).lstrip("/")
    query = data.draw(st.sampled_from(["", "?a=b", "?PROLIFIC_PID=%ff&=&&", "?" + "x" * 3000]))
    headers = data.draw(
        st.dictionaries(
            st.sampled_from(
                ["accept", "cookie", "content-type", "origin", "sec-fetch-site", "user-agent", "x-forwarded-for"]
            ),
            st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30)
            | st.sampled_from(["application/json", "application/x-www-form-urlencoded", "http://testserver"]),
            max_size=3,
        )
    )
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    fields = {name: known.get(value, value) for name, value in data.draw(FIELDS).items()}
    method = data.draw(METHODS)
    if data.draw(st.booleans()):
        encoded.setdefault("content-type", b"application/x-www-form-urlencoded")
        reply = client.request(method, path + query, content=urlencode(fields).encode(), headers=encoded)
    else:
        reply = client.request(method, path + query, content=data.draw(st.binary(max_size=60)), headers=encoded)
    assert reply.status_code < 500, (method, path, fields)


@pytest.fixture
def fuzzed(tmp_path):
    study.create(tmp_path / "s.db", Options(questions=50, pool=60), sources(60))
    browser = Browser(tmp_path / "s.db")
    browser.begin()
    for limiter in (browser.server.by_person, browser.server.by_address, browser.server.by_guess):
        limiter.rate = limiter.burst = 1e9
    yield browser, browser.client
    browser.server.close()


def test_slow_clients_are_hung_up_on_and_others_are_served(make, monkeypatch):
    monkeypatch.setattr(security, "SLOWEST", 0.6)
    path = make()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    application = server.make(path, OWNER, [f"127.0.0.1:{port}"])
    config = uvicorn.Config(application, http=security.Patience, log_config=None, access_log=False, ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
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
    running.should_exit = True
    thread.join(10)
    listening.close()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_the_audit_passes_a_study_and_warns_of_pixels(make):
    channels, shortcuts = audit.audit(make(), 60)
    assert {channel.feature for channel in channels} == {"time", "status", "headers", "bytes", "chunks", "image header"}
    audit.refuse(channels)
    by_name = {channel.feature: channel for channel in shortcuts}
    assert by_name["mean"].auc == 1.0 and by_name["mean"].leaks  # Generated ones are lighter here.
    assert "a program can tell" in audit.report(channels, shortcuts)


def test_the_audit_refuses_lengths_that_tell(make, monkeypatch):
    """As a PNG writer that compresses would have them."""
    original = pool.Image.Image.save

    def compressed(self, file, format, **options):
        original(self, file, format, **(options | {"compress_level": 6}))

    random = np.random.default_rng(0)
    flat = np.zeros((60, 8, 8, 3), np.uint8)
    flat[np.arange(60), 0, 0, 0] = np.arange(60)
    noisy = random.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    given_sources = [
        Source(name, name == "real", name, "", images.from_array(name, array))
        for name, array in (("real", flat), ("g0", noisy))
    ]
    monkeypatch.setattr(pool.Image.Image, "save", compressed)
    path = make("leaky.db", given=given_sources)
    channels, _ = audit.audit(path, 60)
    assert {channel.feature for channel in channels if channel.leaks} >= {"bytes", "chunks"}
    with pytest.raises(UserError, match=r"tells real from generated by .*bytes"):
        audit.refuse(channels)


def test_the_auc_is_the_textbook_one():
    """Of 3 x 2 pairs generated is larger in 4 and ties in one: 4.5 / 6."""
    channel = audit._channel("x", [1.0, 2.0, 3.0], [2.0, 4.0])
    assert channel.auc == pytest.approx(4.5 / 6) and channel.low <= channel.auc <= channel.high


def test_only_the_names_of_this_machine_are_answered_beyond_loopback():
    assert serve.allowed_hosts("127.0.0.1", 80, "") == ["127.0.0.1:80", "localhost:80", "[::1]:80"]
    everywhere = serve.allowed_hosts("0.0.0.0", 80, "https://study.test")
    assert f"{socket.gethostname()}:80" in everywhere and "study.test" in everywhere
    with pytest.raises(UserError, match="without a path"):
        serve.hosts_are_known("127.0.0.1", "https://study.test/path")


def test_a_broken_off_body_is_no_error_of_the_server():
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

    async def gone():
        return {"type": "http.disconnect"}

    with pytest.raises(HTTPException) as raised:
        asyncio.run(security.form(Request({"type": "http", "method": "POST", "headers": []}, gone)))
    assert raised.value.status_code == 400
