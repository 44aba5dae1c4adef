"""What every request passes first: an id, the host check, and the answer to what nobody expected."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection, Sequence

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.address import Network, client_address
from api.instruments import Instruments
from api.problems import (
    REQUEST_ID_HEADER,
    BadHeaders,
    HeadersTooLarge,
    HostNotAllowed,
    Internal,
    Problem,
    TargetTooLong,
    UnsupportedMediaType,
    respond,
)
from api.tracing import trace_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
# Pages carry their style and script with them and load nothing from elsewhere.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
MAX_HEADER_BYTES = 32 * 1024
MAX_TARGET_BYTES = 16 * 1024
# Two of these, and two programs on the way may each believe another one.
_CLOSE = {"Connection": "close"}  # where the next request begins is not certain
_ONCE = (b"content-type", b"content-length", b"idempotency-key", b"last-event-id", b"x-request-id")
log = structlog.get_logger("fqt.api")


class RequestMiddleware:
    """Outermost: names the request, measures it, logs it, and turns an unexpected exception into a problem.

    A client may send its own ``X-Request-ID`` (up to 100 letters, digits and ``._-``); otherwise one is made.
    """

    def __init__(self, app: ASGIApp, instruments: Instruments, proxies: Sequence[Network] = ()) -> None:
        self.app = app
        self.instruments = instruments
        self.proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        identity = sent if _REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(12)}"
        scope["fqt.request_id"] = identity
        scope["fqt.address"] = client_address(scope, self.proxies)
        begin = time.perf_counter()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = identity
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        bound = {"request_id": identity, **({"trace_id": found} if (found := trace_id()) is not None else {})}
        with structlog.contextvars.bound_contextvars(**bound):
            try:
                wrong = _wrong(scope)
                answer = self.app if wrong is None else respond(Request(scope), wrong)
                await answer(scope, receive, send_named)
            except ClientDisconnect:
                status = status or 499  # nginx's number for it; nobody is there to be told
            except Exception as error:
                log.exception("unexpected error", method=scope["method"], path=scope["path"])
                if status:
                    raise  # the answer has begun: only a broken connection can tell that it is not whole
                await respond(Request(scope), _expected(error))(scope, receive, send_named)
            finally:
                seconds = time.perf_counter() - begin
                route = getattr(scope.get("route"), "path_format", "none")
                self.instruments.request(scope["method"], route, status, seconds)
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round(seconds * 1000, 1),
                )


class HostMiddleware:
    """Answers only for its own host names, so that a web page elsewhere cannot reach it by rebinding a name."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self.app = app
        self.allowed = {name.lower() for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its Host header is allowed."""
        if scope["type"] == "http" and "*" not in self.allowed:
            hosts = Headers(scope=scope).getlist("host")
            match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
            if match is None or match["host"].lower() not in self.allowed:
                await respond(Request(scope), HostNotAllowed())(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _wrong(scope: Scope) -> Problem | None:
    """What is wrong with a request that no honest client sends, whatever it is about."""
    headers = scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        return HeadersTooLarge(f"The headers of a request have at most {MAX_HEADER_BYTES} bytes.", headers=_CLOSE)
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return TargetTooLong(f"Path and query have at most {MAX_TARGET_BYTES} bytes.", headers=_CLOSE)
    names = [name for name, _ in headers]
    if double := [name.decode() for name in _ONCE if names.count(name) > 1]:
        return BadHeaders(f"The header {double[0]} may be sent once.", headers=_CLOSE)
    if b"transfer-encoding" in names and b"content-length" in names:
        return BadHeaders("Transfer-Encoding and Content-Length exclude each other.", headers=_CLOSE)
    encoding = Headers(scope=scope).get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        return UnsupportedMediaType(f"Bodies are sent as they are, not with Content-Encoding: {encoding[:40]}.")
    return None


def _expected(error: Exception) -> Problem:
    """Return the problem that an escaped exception is told as: itself if it is one, else an internal error."""
    return error if isinstance(error, Problem) else Internal()
