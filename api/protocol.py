"""HTTP/1.1 as uvicorn speaks it, but for two things.

What is no request gets a problem document, like everything refused, and time to read it: a connection that is closed
while the client still sends is reset, and takes the answer with it. And nobody holds a connection for long who says
nothing: uvicorn waits for ever for a request that began, and for the first one.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.middleware import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from api.problems import MEDIA_TYPE, REQUEST_ID_HEADER, HeadersTooLarge, NotHttp, Problem, TargetTooLong, document


class Protocol(H11Protocol):
    """One connection. Ends without an answer when a request does not go on."""

    head_seconds = 30.0
    """From the connection, or from its first byte, until a request's head has to be there."""
    silence_seconds = 60.0
    """Longest pause within a body."""
    linger_seconds = 2.0
    """After a head was refused, until the connection is closed; what still comes in that time is thrown away."""

    _refused = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, and not for ever."""
        super().connection_made(transport)
        self._limit(self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for what is still to come of the same request."""
        if self._refused:
            return
        super().data_received(data)
        if self._refused:
            return
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
        in_head = self.conn.our_state is h11.IDLE
        identity = f"req_{secrets.token_hex(12)}"
        problem = self._problem(in_head=in_head)
        body = document(problem, instance="", request_id=identity).model_dump_json().encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (REQUEST_ID_HEADER.lower().encode(), identity.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        reason = HTTPStatus(problem.status).phrase.encode()
        for event in (
            h11.Response(status_code=problem.status, headers=headers, reason=reason),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        if in_head:
            self._refused = True
            self.transport.write_eof()
            self._limit(self.linger_seconds)
        else:  # the app still waits for this body, and has to learn that there is none
            self.transport.close()

    def _problem(self, *, in_head: bool) -> Problem:
        """What is wrong, by the error of h11's that uvicorn is just handling."""
        if not in_head or getattr(sys.exception(), "error_status_hint", None) != HeadersTooLarge.status:
            return NotHttp()
        if b"\n" in self.conn.trailing_data[0]:
            return HeadersTooLarge(f"The headers of a request have at most {MAX_HEADER_BYTES} bytes.")
        return TargetTooLong(f"Path and query have at most {MAX_TARGET_BYTES} bytes.")
