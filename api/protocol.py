"""HTTP/1.1 as uvicorn speaks it, but for two things.

What is no request gets a problem document, like everything refused. And nobody holds a connection for long who says
nothing: uvicorn waits for ever for a request that began, and for the first one.
"""

from __future__ import annotations

import asyncio
import secrets

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.problems import MEDIA_TYPE, REQUEST_ID_HEADER, NotHttp, document


class Protocol(H11Protocol):
    """One connection. Ends without an answer when a request does not go on."""

    head_seconds = 30.0
    """From the connection, or from its first byte, until a request's head has to be there."""
    silence_seconds = 60.0
    """Longest pause within a body."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, and not for ever."""
        super().connection_made(transport)
        self._limit(self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for what is still to come of the same request."""
        super().data_received(data)
        within_head = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if self.conn.their_state is h11.SEND_BODY:
            self._limit(self.silence_seconds)
        elif not within_head:
            self._limit(None)
        elif self._timer is None:  # a byte now and then does not prolong it
            self._limit(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._limit(None)
        super().connection_lost(exc)

    def _limit(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.flow.read_paused:  # it is the service that does not read on
            self._limit(self.silence_seconds)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which are for nobody
        """Answer to bytes that no request can be read from, and close: what comes after them has no known beginning."""
        identity = f"req_{secrets.token_hex(12)}"
        problem = NotHttp()
        body = document(problem, instance="", request_id=identity).model_dump_json().encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (REQUEST_ID_HEADER.lower().encode(), identity.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=problem.status, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
