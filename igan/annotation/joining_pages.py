"""What people see before they take part: the instruction, two examples, and what they consent to."""

import secrets
import urllib.parse
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from igan.annotation import crowds, security, store

if TYPE_CHECKING:
    from igan.annotation.server import Server

COOKIE_LASTS = 30 * 24 * 3600  # Seconds.


async def start(server: "Server", request: Request) -> Response:
    """The instruction, two examples, and what people consent to."""
    person = server.person(request)
    _check_link(server, request)
    if person:
        return RedirectResponse("/question", 303)
    crowd = server.options.crowd
    if crowd and not crowds.ids(crowd, request.query_params):
        return server.message("The link is not complete", f"Please open it from {crowd.name} again.", status=400)
    share, options = server.options.real_share, server.options
    told = (
        f"Each image is real with a probability of {100 * share:g} %, whatever came before."
        if options.tell_share
        else ""
    )
    paragraphs = [each.strip() for each in options.consent.split("\n\n") if each.strip()]
    return server.page(
        "start",
        total=options.total,
        two=options.two,
        link=server.study.link,
        width=server.size.width * server.size.factor,
        height=server.size.height * server.size.factor,
        share=told,
        timed=options.limit is not None or options.staircase,
        checks=options.checks,
        consent=paragraphs,
        contact=options.contact,
        query=f"?{urllib.parse.urlencode(request.query_params.multi_items())}" if crowd else "",
        form=security.signed(server.key, secrets.token_urlsafe(16)),
    )


async def example(server: "Server", request: Request) -> Response:
    """One of the two images whose class everybody is told."""
    _check_link(server, request)
    kind = request.path_params["kind"]
    if kind not in server.examples:
        raise HTTPException(404)
    return Response(server.examples[kind], media_type="image/png")


async def begin(server: "Server", request: Request) -> Response:
    """Consent: makes a participant, once for each form, or for each session of a crowdsourcing service."""
    has_begun = server.person(request) is not None
    _check_link(server, request)
    if has_begun:
        return RedirectResponse("/question", 303)
    fields, crowd, outside = await security.form(request), server.options.crowd, None
    begun_with = fields.get("form", "")
    if not security.is_signed(server.key, begun_with):
        raise HTTPException(400)
    if crowd:
        if not (ids := crowds.ids(crowd, request.query_params)):
            raise HTTPException(400)
        outside = crowds.hidden(server.key, "person", ids[0]), crowds.hidden(server.key, "session", ids[1])
        begun_with = f"session {ids[0]} {ids[1]}"
    token = store.token_of(server.key, begun_with)
    device = "phone" if "mobi" in request.headers.get("user-agent", "").lower() else "desktop"
    person = await server.write(lambda connection: store.begin(connection, server.known, token, device, outside))
    if not person:
        name = crowd.name if crowd else ""
        back: dict[str, Any] = server.way_back("screened_out") | {"label": f"Back to {name}"}
        text = "You have taken part in this study before. Nobody can take part twice."
        return server.message("Thank you", text, status=409, **back)
    response = RedirectResponse("/question", 303)
    response.set_cookie(
        server.cookie, token, max_age=COOKIE_LASTS, path="/", secure=server.secure, httponly=True, samesite="lax"
    )
    return response


async def decline(server: "Server", request: Request) -> Response:
    """No consent: only counted."""
    server.person(request)
    _check_link(server, request)
    await server.write(lambda connection: store.count(connection, "declined"))
    crowd = server.options.crowd
    back: dict[str, Any] = server.way_back("no_consent") | {"label": f"Back to {crowd.name}" if crowd else ""}
    return server.message("Thank you", "You do not take part, and nothing about you is stored.", **back)


ROUTES = (
    ("/join/{link}", start, "GET"),
    ("/join/{link}", begin, "POST"),
    ("/decline/{link}", decline, "POST"),
    ("/example/{link}/{kind}", example, "GET"),
)


def _check_link(server: "Server", request: Request) -> None:
    if not secrets.compare_digest(request.path_params["link"].encode(), server.study.link.encode()):
        raise HTTPException(404)
