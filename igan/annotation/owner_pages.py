"""What the owner of a study sees, with the token that was printed when the server started."""

import datetime
import hashlib
import hmac
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_process
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from igan.annotation import priority, security, store, study, tables

if TYPE_CHECKING:
    from igan.annotation.server import Server

COOKIE = "igan_owner"


async def home(server: "Server", request: Request) -> Response:
    """How the study goes: counts and people, no results."""
    if not _is_owner(server, request):
        return server.page("login", wrong=False)
    return await _home(server)


async def login(server: "Server", request: Request) -> Response:
    """Takes the token for a cookie."""
    address = request.client.host if request.client else ""
    if not server.by_guess.allows(address):
        raise HTTPException(429, headers={"retry-after": "5"})
    fields = await security.form(request)
    if not hmac.compare_digest(fields.get("token", "").encode(), server.owner_token.encode()):
        return server.page("login", 403, wrong=True)
    response = RedirectResponse("/owner", 303)
    response.set_cookie(COOKIE, _cookie(server), path="/owner", secure=server.secure, httponly=True, samesite="strict")
    return response


async def delete(server: "Server", request: Request) -> Response:
    """Deletes a person who has asked for it."""
    _require(server, request)
    person = (await security.form(request)).get("person", "").strip()
    known = bool(re.fullmatch(r"[0-9a-f]{16}", person))
    there = known and await server.write(lambda connection: store.forget(connection, person))
    return await _home(server, f"Deleted: {person}." if there else "There is no person with this number.")


async def results(server: "Server", request: Request) -> Response:
    """The results so far, as one self-contained page."""
    _require(server, request)
    # In a process of its own: a thread would take turns with the answering of people, who wait half a second then.
    text = await to_process.run_sync(results_page, server.study.path)
    return HTMLResponse(text, headers={"content-security-policy": security.POLICY_OF_RESULTS})


def results_page(path: Path) -> str:
    """Returns the page of a study's results; people who answer meanwhile go first."""
    from igan.annotation import results as of_study  # With all that draws, which the server does without.

    priority.stand_back()
    opened = study.open(path)
    try:
        return of_study.page(opened)
    finally:
        opened.close()


ROUTES = (
    ("/owner", home, "GET"),
    ("/owner/login", login, "POST"),
    ("/owner/delete", delete, "POST"),
    ("/owner/results", results, "GET"),
)


async def _home(server: "Server", said: str = "") -> Response:
    def read() -> tuple[list[dict[str, Any]], dict[str, int], dict[str, Any]]:
        opened = study.open(server.study.path)
        try:
            return opened.people(), opened.tallies(), opened.options
        finally:
            opened.close()

    # Over all people: with many it takes a while, for which those who answer need not wait.
    people, tallies, options = await run_in_threadpool(read)
    total = server.options.total
    for each in people:
        when = datetime.datetime.fromtimestamp(each["begun"], datetime.UTC)
        each["when"] = f"{when:%Y-%m-%d %H:%M}"
    return server.page(
        "owner",
        people_link=server.people_link,
        people=people,
        finished=sum(each["answers"] >= total for each in people),
        answers=sum(each["answers"] for each in people),
        with_feedback=sum(each["feedback"] for each in people),
        planned=server.options.people,
        total=total,
        tallies=tallies,
        options=tables.options_rows(options),
        now=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S}",
        said=said,
    )


def _cookie(server: "Server") -> str:
    return hmac.new(server.owner_token.encode(), b"owner's cookie", hashlib.sha256).hexdigest()


def _is_owner(server: "Server", request: Request) -> bool:
    return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), _cookie(server).encode())


def _require(server: "Server", request: Request) -> None:
    if not _is_owner(server, request):
        raise HTTPException(404)
