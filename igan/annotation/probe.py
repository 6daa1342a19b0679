"""What a browser gets before an answer, of both classes: asked of the server's application in this process."""

import asyncio
import json
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from igan.annotation import schema, server, store
from igan.annotation.study import Study

HOST = "audit"
FEWEST_TIMES = 100  # Of each class; images of a small study are fetched several times.
PEOPLE, MOST_QUESTIONS = 4, 30  # How many take part as people do, and how far each of them goes.


class Response(NamedTuple):
    """What a browser gets."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    seconds: float


class Text(NamedTuple):
    """A page or a reply without what belongs to this one question: its id and its number."""

    group: str  # Texts of a group must be the same; "" but for attention checks, which say what to answer.
    content: str


class Asked(NamedTuple):
    """What is sent before answers; each is (of real images, of generated ones), of pairs as the left one is."""

    images: tuple[list[Response], list[Response]]  # Of pairs each image by itself.
    pages: tuple[list[Text], list[Text]]
    replies: tuple[list[Text], list[Text]]  # What the reply to an answer says of the question that comes next.


def images(path: Path, opened: Study, most: int) -> tuple[list[Response], list[Response]]:
    """Returns responses for real and generated images, in random order of requests.

    Args:
      path: a copy of the study, which is changed: a person has answered questions about each image.
      most: images of each class.
    """
    with _Visit(path, opened) as visit:
        token = store.token_of(opened.key, "audit")
        with schema.writing(visit.connection):
            person = visit.begin(token)
            visit.connection.execute("DELETE FROM question WHERE person = ?", (person,))
            rows = _ask_all(visit, person, most)

        async def all_of_them() -> tuple[list[Response], list[Response]]:
            found: tuple[list[Response], list[Response]] = ([], [])
            for name, real in rows:
                found[not real].append(await visit.get(f"/image/{name}/a", token))
            return found

        return asyncio.run(all_of_them())


def questions(path: Path, opened: Study) -> Asked:
    """Returns what some people get who take part as people do, without looking.

    Args:
      path: a copy of the study, which is changed.
    """
    found = Asked(([], []), ([], []), ([], []))
    with _Visit(path, opened) as visit:
        for number in range(PEOPLE):
            token = store.token_of(opened.key, f"audit {number}")
            with schema.writing(visit.connection):
                person = visit.begin(token)
            asyncio.run(_take_part(visit, person, token, found))
    return found


class _Visit:
    """The application of a copy, and a connection to its file."""

    def __init__(self, path: Path, opened: Study) -> None:
        self.application = server.make(path, server.new_token(), [HOST])
        self.running = self.application.state.server
        self.running.by_person.rate = self.running.by_person.burst = 1e12
        self.connection = schema.connect(path)
        self.known = store.read_known(self.connection, opened.settings, opened.key)

    def __enter__(self) -> "_Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.running.close()

    def begin(self, token: str) -> str:
        person = store.begin(self.connection, self.known, token, outside=None)
        assert person is not None
        return person.id

    async def get(self, path: str, token: str) -> Response:
        return await _send(self.application, "GET", path, f"{self.running.cookie}={token}")

    async def post(self, path: str, token: str, **fields: str) -> Response:
        body = urllib.parse.urlencode(fields).encode()
        return await _send(self.application, "POST", path, f"{self.running.cookie}={token}", body)


def _ask_all(visit: _Visit, person: str, most: int) -> list[tuple[str, bool]]:
    """Makes questions about each image, all answered, so that each may be fetched; returns their ids and classes."""
    known, generator = visit.known, np.random.default_rng()
    generated = [item for items in known.generated.values() for item in items]
    drawn = []
    for items, real in ((known.real, True), (generated, False)):
        chosen = [(int(item), real) for item in generator.permutation(items)[:most]]
        drawn += chosen * -(-min(FEWEST_TIMES, most) // len(chosen))
    rows = []
    for place, number in enumerate(generator.permutation(len(drawn))):
        item, real = drawn[number]
        name = secrets.token_urlsafe(16)
        row = (name, person, place, item, None, None, None, None)
        visit.connection.execute("INSERT INTO question VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        visit.connection.execute("INSERT INTO answer VALUES (?, 1, 1.0, 'audit', 0.0, NULL)", (name,))
        rows.append((name, real))
    return rows


async def _take_part(visit: _Visit, person: str, token: str, found: Asked) -> None:
    two, generator = visit.known.options.two, np.random.default_rng()
    yes = ("left", "right") if two else ("real", "generated")
    for _ in range(MOST_QUESTIONS):
        current = store.current(visit.connection, person)
        if current is None:
            return
        real = _is_real(visit, current.id)
        page = await visit.get("/question", token)
        found.pages[not real].append(_text(page, current))
        for side in "ab" if two else "a":
            shown_real = real if side == "a" else not real
            found.images[not shown_real].append(await visit.get(f"/image/{current.id}/{side}", token))
        said = yes[int(generator.integers(2))]
        reply = await visit.post("/answer", token, question=current.id, said=said)
        following = store.current(visit.connection, person)
        if following is not None:
            # The verdict is of the answer before, which is stored: it may say what that was.
            rest = {name: value for name, value in json.loads(reply.body).items() if name != "verdict"}
            kept = reply._replace(body=json.dumps(rest).encode())
            found.replies[not _is_real(visit, following.id)].append(_text(kept, following))


def _is_real(visit: _Visit, question: str) -> bool:
    """Returns whether the image of a question, or the left one of two, is real: also of attention checks."""
    query = """SELECT source.real, real_first FROM question JOIN item ON item.id = item
        JOIN source ON source.id = source WHERE question.id = ?"""
    real, real_first = store.one(visit.connection, query, question)
    return bool(real if real_first is None else real_first)


def _text(response: Response, question: store.Question) -> Text:
    """Returns a response without the id and the number of its question, and the time limit of a staircase."""
    headers = [(name, value) for name, value in response.headers if name != b"content-length"]
    content = f"{response.status} {headers} {response.body.decode()}".replace(question.id, "ID")
    content = re.sub(rf"\b(Image|Pair) {question.position + 1} of\b", "NUMBER", content)
    content = re.sub(rf'("position": |value="){question.position}\b', "NUMBER", content)
    content = re.sub(r'("limit": |data-limit=")[0-9.]+', "LIMIT", content)
    return Text("" if question.expected is None else f"check {question.expected}", content)


async def _send(application: Callable, method: str, path: str, cookie: str, body: bytes = b"") -> Response:
    """Sends a request to an application, as scripts do."""
    messages: list[dict[str, Any]] = []
    headers = [(b"host", HOST.encode()), (b"cookie", cookie.encode())]
    if method == "POST":
        kind = (b"content-type", b"application/x-www-form-urlencoded")
        headers += [kind, (b"content-length", b"%d" % len(body)), (b"accept", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": (HOST, 80), "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    begun = time.perf_counter()
    await application(scope, receive, send)
    seconds = time.perf_counter() - begun
    content = b"".join(message.get("body", b"") for message in messages[1:])
    return Response(messages[0]["status"], messages[0]["headers"], content, seconds)
