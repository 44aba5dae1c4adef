"""Every change that a key asks for is noted for the audit log, whatever came of it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.ledger import Ledger
from jobs.audit_log import Entry
from jobs.keys import Key

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNKNOWN = "unknown"


class AuditMiddleware:
    """Stands behind the check of the key: what is refused without a valid one is counted, and has no row."""

    def __init__(self, app: ASGIApp, ledger: Ledger) -> None:
        self.app = app
        self.ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and note it if it may change something."""
        key = scope.get("fqt.key")
        if scope["type"] != "http" or scope["method"] in _READS or not isinstance(key, Key):
            await self.app(scope, receive, send)
            return
        status, created = 500, ""

        async def send_seen(message: Message) -> None:
            nonlocal status, created
            if message["type"] == "http.response.start":
                status = message["status"]
                created = Headers(raw=message["headers"]).get("location", "").rsplit("/", 1)[-1]
            await send(message)

        try:
            await self.app(scope, receive, send_seen)
        except ClientDisconnect:
            status = 499  # as in the log of requests
            raise
        finally:
            named = next(iter(scope.get("path_params", {}).values()), "")
            route = getattr(scope.get("route"), "name", _UNKNOWN) if status != 405 else _UNKNOWN
            self.ledger.note(
                Entry(
                    action=route,
                    organisation_id=key.organisation_id,
                    key_id=key.id,
                    key_prefix=key.prefix,
                    method=scope["method"][:20],
                    resource_id=str(named or created) or None,
                    status=status,
                    request_id=scope.get("fqt.request_id"),
                    address=scope.get("fqt.address"),
                )
            )
