"""What participants see: one question after the other, and the end."""

import re
import time
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from igan.annotation import security, store
from igan.annotation.options import LONGEST_LIMIT
from igan.annotation.store import Outcome, Person, Question, Timing

if TYPE_CHECKING:
    from igan.annotation.server import Server

QUESTION = re.compile(r"[A-Za-z0-9_-]{22}")
LONGEST_ANSWER = 24 * 3600.0  # Seconds.
MOST_SHOWN = 2  # Times that a timed image is sent: once more than needed, for a connection that was lost.


async def home(server: "Server", request: Request) -> Response:
    """For those who have begun; others need the link."""
    server.participant(request)
    return RedirectResponse("/question", 303)


async def question(server: "Server", request: Request) -> Response:
    """The first question without an answer."""
    person = server.participant(request)
    current = store.current(server.reader, person.id)
    return _question_page(server, current) if current else RedirectResponse("/end", 303)


async def answered(server: "Server", request: Request) -> Response:
    """For browsers without scripts: whether an answer was right."""
    person = server.participant(request)
    found = store.asked(server.reader, person.id, _id(request.path_params["question"]))
    if not found or found.said is None:
        raise HTTPException(404)
    verdict = _verdict(server, person, found)
    return _question_page(server, found, verdict) if verdict else RedirectResponse("/question", 303)


async def image(server: "Server", request: Request) -> Response:
    """An image of a question that was asked: under an id of its own for each person, and never to be kept."""
    person, name, side = server.participant(request), _id(request.path_params["question"]), request.path_params["side"]
    found = store.asked(server.reader, person.id, name)
    png = store.picture(server.reader, person.id, name, side) if found else None
    if not found or png is None or side not in ("a", "b"):
        raise HTTPException(404)
    if found.said is None:
        if found.limit is not None and not await server.write(
            lambda connection: store.show(connection, name, side, MOST_SHOWN)
        ):
            raise HTTPException(410)
        server.served.setdefault(name, time.monotonic())
    return Response(png, media_type="image/png")


async def answer(server: "Server", request: Request) -> Response:
    """Stores an answer, and says what is next, to scripts as JSON."""
    person, fields = server.participant(request), await security.form(request)
    name, said = _id(fields.get("question", "")), fields.get("said", "")
    yes, no = _words(server)
    if said not in (yes, no):
        raise HTTPException(400)
    timing = _timing(server, name, fields)
    outcome = await server.write(
        lambda connection: store.answer(connection, server.known, person.id, name, said == yes, timing)
    )
    if outcome.question is None:
        raise HTTPException(404)
    server.served.pop(name, None)
    verdict = _verdict(server, person, outcome.question)
    if "application/json" in request.headers.get("accept", ""):
        return _reply(server, outcome, verdict)
    if outcome.status == "conflict":
        text = "This question has an answer already, from another tab perhaps. The first one counts."
        return server.message("Answered already", text, status=409, back="/question", label="Go on")
    return RedirectResponse(f"/answered/{name}" if verdict else "/question", 303)


async def end(server: "Server", request: Request) -> Response:
    """The person's own result, the way back to where they came from, and the number of their data."""
    person = server.participant(request)
    if store.current(server.reader, person.id):
        return RedirectResponse("/question", 303)
    right, judged, failed = store.result(server.reader, person.id)
    screened = server.options.checks > 0 and failed >= min(server.options.checks, server.options.checks_failed)
    crowd = server.options.crowd
    has_code = bool(crowd and "screened_out" in crowd.codes)
    return server.page(
        "end",
        right=right,
        judged=judged,
        failed=failed,
        screened=screened,
        person=person.id,
        service=crowd.name if crowd else "",
        contact=server.options.contact,
        **server.way_back("screened_out" if screened and has_code else "done"),
    )


async def stop(server: "Server", request: Request) -> Response:
    """For those who do not want to go on: the number of their data, and the form that deletes them."""
    person = server.participant(request)
    current = store.current(server.reader, person.id)
    if not current:
        return RedirectResponse("/end", 303)
    return server.page(
        "stop",
        answered=current.position,
        total=server.options.total,
        person=person.id,
        contact=server.options.contact,
    )


async def withdraw(server: "Server", request: Request) -> Response:
    """Deletes everything about the person who asks."""
    person, fields = server.participant(request), await security.form(request)
    if fields.get("sure") != "yes":
        raise HTTPException(400)
    finished = store.current(server.reader, person.id) is None
    await server.write(lambda connection: store.forget(connection, person.id))
    # Who has finished was shown the way back before, with its code.
    back: dict[str, Any] = {} if finished else server.way_back("no_consent")
    crowd = server.options.crowd
    label = f"Back to {crowd.name}" if crowd else ""
    response = server.message("Deleted", "All your answers were deleted.", **back, label=label)
    response.delete_cookie(server.cookie, path="/", secure=server.secure, httponly=True, samesite="lax")
    return response


ROUTES = (
    ("/", home, "GET"),
    ("/question", question, "GET"),
    ("/answered/{question}", answered, "GET"),
    ("/image/{question}/{side}", image, "GET"),
    ("/answer", answer, "POST"),
    ("/end", end, "GET"),
    ("/stop", stop, "GET"),
    ("/withdraw", withdraw, "POST"),
)


def _id(text: str) -> str:
    if not QUESTION.fullmatch(text):
        raise HTTPException(404)
    return text


def _words(server: "Server") -> tuple[str, str]:
    """Returns what is said for yes, as the store has it, and for no."""
    return ("left", "right") if server.options.two else ("real", "generated")


def _timing(server: "Server", name: str, fields: dict[str, str]) -> Timing:
    """Returns how long the answer took: by the browser's clock, unless the server's, which ends later, says less."""
    served = server.served.get(name)
    measured = None if served is None else time.monotonic() - served
    shown = _seconds(fields.get("shown"), 2 * LONGEST_LIMIT)
    said = _seconds(fields.get("milliseconds"), LONGEST_ANSWER)
    if said is not None and (measured is None or said <= measured + 0.5):
        return Timing(said, "browser", shown)
    return Timing(measured, "server", shown)


def _seconds(text: str | None, most: float) -> float | None:
    if not text or not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > 1000 * most:
        return None
    return int(text) / 1000


def _verdict(server: "Server", person: Person, found: Question) -> dict[str, Any] | None:
    """Returns what a person is told after an answer; nothing without feedback, and after attention checks."""
    if not person.feedback or found.expected is not None or found.said is None:
        return None
    truth, right = _words(server)[not found.truth], found.truth == found.said
    what = f"the {truth} one is real" if server.options.two else f"it is {truth}"
    return {"right": right, "text": f"{'✓ Right' if right else '✗ Wrong'}: {what}."}


def _what(server: "Server", found: Question) -> dict[str, Any]:
    """Returns what a page needs to know of a question."""
    two = server.options.two
    kind = "Pair" if two else "Image"
    name = f"{kind} {found.position + 1} of {server.options.total}"
    return {
        "images": [f"/image/{found.id}/{side}" for side in ("ab" if two else "a")],
        "alts": [f"{name}, {side}" for side in ("left", "right")] if two else [name],
    }


def _question_page(server: "Server", found: Question, verdict: dict[str, Any] | None = None) -> Response:
    size, (yes, no) = server.size, _words(server)
    two = server.options.two
    factor = max(1, size.factor // (1 + two))
    return server.page(
        "question",
        question=found,
        verdict=verdict,
        mode=server.options.mode,
        two=two,
        total=server.options.total,
        timed=found.limit is not None and not verdict,
        asked_for="" if found.expected is None else yes if found.expected else no,
        width=size.width * factor,
        height=size.height * factor,
        pixels=size,
        **_what(server, found),
    )


def _reply(server: "Server", outcome: Outcome, verdict: dict[str, Any] | None) -> Response:
    following, (yes, no) = outcome.current, _words(server)
    question = following and {
        "question": following.id,
        "position": following.position,
        "limit": following.limit,
        "check": None if following.expected is None else yes if following.expected else no,
        **_what(server, following),
    }
    conflict = outcome.status == "conflict"
    return JSONResponse({"conflict": conflict, "verdict": verdict, "next": question}, 409 if conflict else 200)
