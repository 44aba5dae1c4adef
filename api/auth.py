"""Who may do what: every path needs an API key unless it is on the public list, and every operation names its scope.

The check stands in front of all routes, so that a new route is closed before anyone thinks of it; the scope is the
route's own dependency, which also writes it into the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api import outage, page, session
from api.address import network_of
from api.context import Context
from api.problems import Forbidden, Problem, Unauthenticated, respond
from jobs import keys
from jobs.keys import Key
from jobs.tables import DEFAULT_ORGANISATION

PUBLIC_PATHS = frozenset({"/docs", "/openapi.json", "/healthz", "/readyz", session.PATH}) | page.PATHS

_scheme = HTTPBearer(
    scheme_name="api_key",
    bearerFormat="fqt_…",
    description="An API key of this service. Scopes: `read`, `write` (includes read), `admin` (includes all).",
    auto_error=False,
)


class AuthMiddleware:
    """Finds the key of each request; without a valid one only the public paths answer."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 401."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self.app(scope, receive, send)
            return
        try:
            key = await self._key(scope)
            await self.context.limiter.hit("key", key.id)
        except Problem as problem:
            await respond(Request(scope), problem)(scope, receive, send)
            return
        except outage.AWAY as error:  # before any route, whose errors the handlers see
            await outage.answer(Request(scope), error)(scope, receive, send)
            return
        self.context.ledger.used(key.id)
        scope["fqt.key"] = key
        scope["fqt.key_again"] = partial(self._found, scope)
        await self.app(scope, receive, send)

    async def _key(self, scope: Scope) -> Key:
        """The key of a request, or of the browser's session that it belongs to.

        Raises:
            Unauthenticated: there is no valid one.
            RateLimited: the same, once too often from this address. Valid keys from there are not kept out.
        """
        try:
            return await self._found(scope)
        except Unauthenticated:
            self.context.instruments.unauthenticated.inc()
            headers = Headers(scope=scope)
            if "authorization" in headers or "cookie" in headers:
                await self.context.limiter.hit("failures", network_of(scope["fqt.address"]))
            raise

    async def _found(self, scope: Scope) -> Key:
        of_session = session.of_request(scope, self.context.store)
        if of_session is not None:
            return await self.context.in_thread(of_session)
        plain = _bearer(Headers(scope=scope))
        if (known := self.context.keys.known(plain)) is not None:
            return known
        key = await self.context.in_thread(lambda: self.context.keys.verify(plain))
        if key is None:
            raise Unauthenticated("The API key is unknown, mistyped, revoked or expired.")
        return key


def _bearer(headers: Headers) -> str:
    values = headers.getlist("authorization")
    if not values:
        raise Unauthenticated
    scheme, _, plain = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated('The Authorization header must read "Bearer fqt_…", once.')
    return plain.strip()


async def still_opens(request: Request) -> bool:
    """Whether the key that a request came with, or its session, still opens anything: for answers that last."""
    try:
        await request.scope["fqt.key_again"]()
    except Unauthenticated:
        return False
    return True


def _needs(scope: keys.Scope) -> Callable[..., Awaitable[Key]]:
    """Return the dependency of routes that need ``scope``."""

    documented = Security(_scheme, scopes=[scope])

    async def key_with_scope(request: Request, _documented: Any = documented) -> Key:
        key = request.scope.get("fqt.key")
        if not isinstance(key, Key):  # a public path with a scope would be a mistake of this program
            raise Unauthenticated
        if not key.allows(scope):
            raise Forbidden(f"This needs a key with the scope {scope!r}; the key {key.prefix}… has {key.scopes}.")
        return key

    key_with_scope.__name__ = f"needs_{scope}"
    return key_with_scope


async def _operates(key: Annotated[Key, Depends(_needs("read"))]) -> Key:
    """What is of the whole service, over all organisations, is for the first one: that of who runs it."""
    if key.organisation_id != DEFAULT_ORGANISATION:
        raise Forbidden("This is about the whole service; it needs a key of the organisation that runs it.")
    return key


ReadKey = Annotated[Key, Depends(_needs("read"))]
WriteKey = Annotated[Key, Depends(_needs("write"))]
AdminKey = Annotated[Key, Depends(_needs("admin"))]
OperatorKey = Annotated[Key, Depends(_operates)]
