"""No way in, and nothing given away: the channels and threats one by one."""

import asyncio
import re
import socket

import pytest
from starlette.testclient import TestClient

from igan.annotation import crowds, security, serve, study
from igan.annotation.security import Limiter
from igan.errors import UserError

from .conftest import OWNER
from .test_given_away import pages


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


def test_an_error_that_nobody_foresaw_has_the_headers_too(make, browse, monkeypatch):
    """Its page is made outside of all that adds headers elsewhere."""
    browser = browse(make())
    browser.begin()

    def broken(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("igan.annotation.store.current", broken)
    client = TestClient(browser.application, raise_server_exceptions=False, cookies=browser.client.cookies)
    reply = client.get("/question")
    assert reply.status_code == 500 and "secret" not in reply.text and "text/html" in reply.headers["content-type"]
    assert {name: reply.headers[name] for name in security.HEADERS} == dict(security.HEADERS)


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
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7777*7777}}{% x %}"
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
        assert "<b>" not in text and str(7777 * 7777) not in text


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
