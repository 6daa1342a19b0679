"""What every request goes through: exact host names, no posts from other sites, small forms, limits, fixed headers."""

import asyncio
import hashlib
import hmac
import time
import urllib.parse
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

LARGEST_FORM, MOST_FIELDS = 4096, 20
SLOWEST = 10.0  # Seconds for a request to arrive whole.
POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
# The page of results is one self-contained document, with its style and pictures inside and no script.
POLICY_OF_RESULTS = POLICY.replace("img-src 'self'", "img-src 'self' data:").replace(
    "style-src 'self'", "style-src 'unsafe-inline'"
).replace("script-src 'self'; ", "").replace("connect-src 'self'; ", "")  # fmt: skip
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "cache-control": "no-store",
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        # Not no-referrer, with which browsers send forms with `Origin: null`.
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-robots-tag": "noindex, nofollow",
    }
)
SAFE = ("GET", "HEAD")


class Guard:
    """ASGI middleware: refuses what no browser of a participant sends, and adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app, self.hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given),
                ]
            await send(message)

        status, text = self._refuse(scope)
        if status:
            await _plain(status, text)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> tuple[int, str]:
        names = [name for name, _ in scope["headers"]]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        if names.count(b"host") != 1 or host not in self.hosts:  # DNS rebinding, or a mistyped proxy.
            return 400, "This name is not one that the study is served under."
        if scope["method"] in SAFE:
            return 0, ""
        if scope["method"] != "POST":
            return 405, "Only GET and POST."
        if not same_origin(headers, host):
            return 403, "This form was sent from another site."
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return 415, "Only forms."
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:9]) > LARGEST_FORM:
            return 413, "This form is too large."
        return 0, ""


def same_origin(headers: Mapping[str, str], host: str) -> bool:
    """Whether a post comes from a page of this server, as browsers say; what is no browser may leave both headers out.

    >>> same_origin({"sec-fetch-site": "cross-site"}, "a.test"), same_origin({"origin": "https://a.test"}, "a.test")
    (False, True)
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    if (origin := headers.get("origin")) is not None:
        return urllib.parse.urlsplit(origin).netloc.lower() == host
    return True


async def form(request: Request) -> dict[str, str]:
    """Returns a posted form's fields, the last of each name.

    Raises HTTPException for one that is too large, too slow, or broken off.
    """
    body = b""
    try:
        async with asyncio.timeout(SLOWEST):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_FORM:  # Without a length, in chunks.
                    raise HTTPException(413)
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None
    try:
        return dict(urllib.parse.parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:  # UnicodeDecodeError too.
        raise HTTPException(400) from None


class Limiter:
    """So many requests a second, and some more at once, for each of many keys."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._buckets: dict[Any, tuple[float, float]] = {}

    def allows(self, key: Any) -> bool:
        """Whether a request may be answered now; counts it.

        >>> limiter = Limiter(rate=1, burst=2, clock=lambda: 0.0)
        >>> [limiter.allows("me") for _ in range(3)]
        [True, True, False]
        """
        now = self._clock()
        if len(self._buckets) > 10_000:  # Those that are full again say nothing.
            self._buckets = {
                each: (left, at)
                for each, (left, at) in self._buckets.items()
                if left + (now - at) * self.rate < self.burst
            }
        left, at = self._buckets.get(key, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.rate)
        self._buckets[key] = (left - 1 if left >= 1 else left, now)
        return left >= 1


def signed(key: bytes, text: str) -> str:
    """Returns a text with a signature that only this study can make."""
    return f"{text}.{hmac.new(key, f'form {text}'.encode(), hashlib.sha256).hexdigest()[:32]}"


def is_signed(key: bytes, text: str) -> bool:
    """Whether `signed` has made this text."""
    return hmac.compare_digest(signed(key, text.rpartition(".")[0]).encode(), text.encode())


class Patience(H11Protocol):
    """The server's protocol, which hangs up on those who take longer than `SLOWEST` to send a request's head."""

    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._hurry = self.loop.call_later(SLOWEST, transport.abort)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        if (before is None or before.response_complete) and self._hurry is None:
            self._hurry = self.loop.call_later(SLOWEST, self.transport.abort)
        super().data_received(data)
        if self.cycle is not before:
            self._calm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None


def _plain(status: int, text: str) -> ASGIApp:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(text, status)
