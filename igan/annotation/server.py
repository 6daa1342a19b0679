"""The server of a study: what people and its owner see, as one ASGI application over one writer."""

import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import apsw
import jinja2
from anyio import BrokenWorkerProcess
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from igan.annotation import crowds, joining_pages, owner_pages, participant_pages, pool, schema, security, store, study
from igan.annotation.security import Limiter
from igan.annotation.store import Known, Person
from igan.annotation.study import Study
from igan.annotation.writer import Writer
from igan.errors import RunError, UserError, one_line

PAGES = Path(__file__).parent / "pages"
STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "owner.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# What a request may meet without a mistake in the program: a study, or the process that makes its results, is gone.
FORESEEN = (apsw.Error, UserError, BrokenWorkerProcess)
WORDS = {
    400: ("This did not work", "The request was not understood."),
    403: ("This did not work", "The form was sent from another site."),
    404: ("There is nothing here", "The link is not complete, or it is not yours. Please use the link you were given."),
    410: ("Shown already", "This image was shown already."),
    429: ("Too fast", "So many requests in so short a time are not answered. Please wait a few seconds."),
    503: ("Not stored", "Nothing can be stored at the moment, and nothing was changed. Please try again in a minute."),
}
Result = TypeVar("Result")


class Size(NamedTuple):
    """Of the images of a study, in pixels of their own and as a page without scripts shows them."""

    width: int
    height: int

    @property
    def factor(self) -> int:
        return max(1, 288 // max(self.width, self.height))


class Server:
    """What the pages share. Created for one study; closed with the application."""

    def __init__(self, path: Path, owner_token: str, people_link: str, secure: bool = False) -> None:
        self.study: Study = study.open(path)
        self.options, self.key = self.study.settings, self.study.key
        self.owner_token, self.people_link, self.secure = owner_token, people_link, secure
        self.reader = schema.connect(path, read_only=True)
        self.writer = Writer(path)
        self.known: Known = store.read_known(self.reader, self.options, self.key)
        self.cookie = f"igan_{self.study.definition[:12]}"
        self.served: dict[str, float] = {}  # When the image of a current question was first fetched.
        self.examples = _examples(self.reader)
        height, width = pool.decode(self.examples["real"]).shape[:2]
        self.size = Size(width, height)
        self.static = {name: (PAGES / name).read_bytes() for name in STATIC}
        self.stores = True  # Whether the last attempt to write succeeded.
        self.by_person = Limiter(rate=20, burst=60)
        self.by_address = Limiter(rate=30, burst=400)
        self.by_guess = Limiter(rate=0.2, burst=10)  # Of the owner's token.
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(PAGES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
        )

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Returns a page from a template."""
        return HTMLResponse(
            self.templates.get_template(f"{name}.html.jinja").render(title=self.options.title, **values), status
        )

    def message(self, heading: str, *paragraphs: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Returns a page of a few words, perhaps with a code and a way on."""
        values = {"code": "", "back": "", "label": ""} | values
        return self.page("message", status, heading=heading, paragraphs=paragraphs, **values)

    def person(self, request: Request) -> Person | None:
        """Returns whose request this is.

        Raises HTTPException if there have been too many.
        """
        token = request.cookies.get(self.cookie, "")
        person = store.find(self.reader, token) if token else None
        address = request.client.host if request.client else ""
        if not (self.by_person.allows(person.id) if person else self.by_address.allows(address)):
            raise HTTPException(429, headers={"retry-after": "1"})
        return person

    def participant(self, request: Request) -> Person:
        """Returns whose request this is, or raises HTTPException 404 if it is nobody's."""
        if not (person := self.person(request)):
            raise HTTPException(404)
        return person

    async def write(self, job: Callable[[apsw.Connection], Result]) -> Result:
        """Returns what a job of the writer returns, or raises HTTPException 503 if it is not stored."""
        try:
            result = await self.writer.run(job)
        except RunError as error:
            if self.stores:  # Once, and not for each person who tries again.
                print(f"error: answers are refused: {one_line(error)}", file=sys.stderr, flush=True)
            self.stores = False
            raise HTTPException(503, headers={"retry-after": "1"}) from error
        if not self.stores:
            print("answers are stored again", file=sys.stderr, flush=True)
        self.stores = True
        return result

    def way_back(self, outcome: str) -> dict[str, Any]:
        """Returns the address, the code and the service of an outcome, for a page."""
        crowd = self.options.crowd
        if not crowd:
            return {"back": "", "code": self.options.completion_code if outcome == "done" else ""}
        back, code = crowds.way_back(crowd, outcome)
        return {"back": back, "code": code}

    def close(self) -> None:
        """Finishes what is being written. The file alone holds everything then: it may be copied without its log."""
        self.reader.close()
        self.study.close()
        self.writer.close()  # The last one brings the log into the file, which those that only read could not.


def make(
    path: Path, owner_token: str, hosts: Collection[str], people_link: str = "", secure: bool = False
) -> Starlette:
    """Returns the application of a study.

    Args:
      owner_token: opens the owner's pages.
      hosts: the values of the header Host that are answered, with ports.
      people_link: shown to the owner.
      secure: whether people come by HTTPS, so that cookies are sent by it only.

    Raises UserError for what is no study.
    """
    server = Server(path, owner_token, people_link, secure)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        server.close()

    async def problem(request: Request, error: Any) -> Response:
        status, headers = 503 if isinstance(error, FORESEEN) else 500, None
        if isinstance(error, UserError):  # Of a file that was moved away, say: the terminal is its owner's.
            print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
        if isinstance(error, HTTPException):
            status, headers = error.status_code, error.headers
        heading, text = WORDS.get(status, ("This did not work", "Please go back and try again."))
        back = "/question" if server.cookie in request.cookies and status not in (400, 404) else ""
        response = server.message(heading, text, status=status, back=back, label="Go on")
        # An error that nobody foresaw is answered outside of the guard, which adds these everywhere else.
        response.headers.update({**security.HEADERS, **(headers or {})})
        return response

    def route(path: str, handler: Callable[[Server, Request], Awaitable[Response]], method: str) -> Route:
        async def endpoint(request: Request) -> Response:
            return await handler(server, request)

        return Route(path, endpoint, methods=[method])

    pages = (*joining_pages.ROUTES, *participant_pages.ROUTES, *owner_pages.ROUTES, ("/static/{name}", _static, "GET"))
    routes = [route(*each) for each in pages]
    handlers = MappingProxyType(dict.fromkeys((HTTPException, *FORESEEN, 500), problem))
    application = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    application.state.server = server
    application.add_middleware(security.Guard, hosts=hosts)
    return application


def new_token() -> str:
    """Returns a token for the owner."""
    return secrets.token_urlsafe(24)


async def _static(server: Server, request: Request) -> Response:
    name = request.path_params["name"]
    if name not in server.static:
        raise HTTPException(404)
    return Response(server.static[name], media_type=STATIC[name])


def _examples(connection: apsw.Connection) -> Mapping[str, bytes]:
    query = """SELECT source.real, png FROM item JOIN source ON source.id = item.source JOIN image ON hash = item.image
        WHERE example"""
    return {("real" if real else "generated"): png for real, png in connection.execute(query)}
