"""A browser's session: an API key is entered once, and a cookie that holds no key stands for it from then on.

The cookie is ``<key id>.<expiry>.<mark and nonce>.<HMAC>``: the store's secret signs it, scripts cannot read it
(HttpOnly) and the browser sends it from our own pages only (SameSite=Strict). It is worth what the key is worth that
was entered, and every request looks that up: a revoked one ends its sessions at once, and a rotated one those of its
secret of before (the mark tells which that was) as soon as that opens no more. Since pages on other ports of the same
host count as the same site, requests that change something must also carry ``X-CSRF-Token``, which only a page that can
read our answers knows.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope as AsgiScope

from api.address import network_of
from api.context import AppContext
from api.problems import CsrfRejected, Invalid, Malformed, TooLarge, Unauthenticated, UnsupportedMediaType, responses
from api.routing import router
from api.schemas.sessions import NewSession, SessionObject
from jobs import keys
from jobs.keys import Key
from jobs.store import Store

PATH = "/v1/session"
CSRF_HEADER = "X-CSRF-Token"
LIFETIME_SECONDS = 14 * 86400

_SHAPE = re.compile(
    r"(?P<signed>(?P<key_id>key_[0-9A-Za-z]{26})\.(?P<expires>\d{1,12})\.(?P<mark>[0-9a-f]{16})[0-9a-f]{16})\.(?P<mac>[0-9a-f]{64})"
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

routes = router("session")


@dataclass(frozen=True)
class Session:
    """What a genuine cookie says. ``mark``: of the secret that was entered. ``expires``: seconds since 1970."""

    token: str
    key_id: str
    mark: str
    expires: int


def of_request(scope: AsgiScope, store: Store) -> Callable[[], Key] | None:
    """How to find the key of a request that has a session's cookie and no Authorization header; ``None`` for others.

    Raises:
        CsrfRejected: the request would change something, and lacks the session's token.
        Unauthenticated: the cookie is forged, damaged or too old.
    """
    headers = Headers(scope=scope)
    token = _cookie(headers, store.key_secret)
    if token is None or "authorization" in headers:
        return None
    session = _open(token, store.key_secret)
    if session is None:
        raise Unauthenticated("The session has ended: enter the API key again.")
    _check_token(scope["method"], headers, session, store.key_secret)
    return partial(_key, store, session)


@routes.post(
    "/session",
    status_code=201,
    responses=responses(Unauthenticated, Invalid, Malformed, TooLarge, UnsupportedMediaType),
)
async def open_session(new: NewSession, request: Request, response: Response, context: AppContext) -> SessionObject:
    """Open a browser's session with an API key: the answer sets a cookie, which stands for the key for two weeks.

    Requests that change something need the answer's `csrf_token` in the header `X-CSRF-Token` besides the cookie.
    Programs need no session: they send the key itself.
    """
    secret = context.store.key_secret
    plain = new.key.strip()
    key = await context.read(lambda connection: keys.verify(connection, secret, plain))
    if key is None:
        context.instruments.unauthenticated.inc()
        await context.limiter.hit("failures", network_of(request.scope["fqt.address"]))
        raise Unauthenticated("The API key is unknown, mistyped, revoked or expired.")
    session = _make(key.id, keys.mark(secret, plain), secret)
    _set_cookie(request, response, context, session.token, LIFETIME_SECONDS)
    return _shown(session, key, secret)


@routes.get("/session", responses=responses(Invalid))
async def get_session(request: Request, response: Response, context: AppContext) -> SessionObject:
    """Tell whether this browser has a session, and with which key. Without one the answer says so; it is no error."""
    response.headers["Cache-Control"] = "no-store"
    secret = context.store.key_secret
    session = _open(_cookie(request.headers, secret) or "", secret)
    key = (
        None if session is None else await context.read(partial(keys.usable, key_id=session.key_id, mark=session.mark))
    )
    return SessionObject() if session is None or key is None else _shown(session, key, secret)


@routes.delete("/session", status_code=204, responses=responses(CsrfRejected, Invalid))
async def close_session(request: Request, response: Response, context: AppContext) -> None:
    """End the browser's session: its cookie is taken away. Ending one that has ended is no error."""
    secret = context.store.key_secret
    session = _open(_cookie(request.headers, secret) or "", secret)
    if session is not None:
        _check_token(request.method, request.headers, session, secret)
    _set_cookie(request, response, context, "", 0)


def _key(store: Store, session: Session) -> Key:
    with store.read() as connection:
        key = keys.usable(connection, session.key_id, session.mark)
    if key is None:
        raise Unauthenticated("The API key of this session was revoked or changed: enter another one.")
    return key


def _make(key_id: str, mark: str, secret: bytes) -> Session:
    expires = int(time.time()) + LIFETIME_SECONDS
    signed = f"{key_id}.{expires}.{mark}{secrets.token_hex(8)}"
    return Session(f"{signed}.{_mac(secret, 'session', signed)}", key_id, mark, expires)


def _open(token: str, secret: bytes) -> Session | None:
    """Return what the cookie's value says, if we signed it and its time has not run out."""
    match = _SHAPE.fullmatch(token)
    if match is None or not hmac.compare_digest(_mac(secret, "session", match["signed"]), match["mac"]):
        return None
    expires = int(match["expires"])
    return Session(token, match["key_id"], match["mark"], expires) if time.time() < expires else None


def _check_token(method: str, headers: Headers, session: Session, secret: bytes) -> None:
    sent = headers.get(CSRF_HEADER, "")
    if method not in _SAFE and not hmac.compare_digest(sent.encode(), _mac(secret, "csrf", session.token).encode()):
        raise CsrfRejected


def _mac(secret: bytes, purpose: str, text: str) -> str:
    return hmac.new(secret, f"{purpose} {text}".encode(), hashlib.sha256).hexdigest()


def _cookie_name(secret: bytes) -> str:
    """Cookies know no ports: services on several ports of one host need several names."""
    return f"fqt_session_{_mac(secret, 'cookie', '')[:8]}"


def _cookie(headers: Headers, secret: bytes) -> str | None:
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(_cookie_name(secret))


def _set_cookie(request: Request, response: Response, context: AppContext, value: str, seconds: int) -> None:
    secure = "https" in {request.url.scheme, context.settings.public_url.partition(":")[0]}
    options: dict[str, Any] = {
        "max_age": seconds,
        "path": "/",
        "httponly": True,
        "samesite": "strict",
        "secure": secure,
    }
    response.set_cookie(_cookie_name(context.store.key_secret), value, **options)
    response.headers["Cache-Control"] = "no-store"


def _shown(session: Session, key: Key, secret: bytes) -> SessionObject:
    return SessionObject(
        active=True,
        key_id=key.id,
        key_name=key.name,
        scopes=key.scopes,
        csrf_token=_mac(secret, "csrf", session.token),
        expires_at=datetime.fromtimestamp(session.expires, UTC),
    )
