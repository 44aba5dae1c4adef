"""HTTP/1.1 as uvicorn speaks it, but for what is no request: that gets a problem document, like everything refused."""

from __future__ import annotations

import secrets

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.problems import MEDIA_TYPE, REQUEST_ID_HEADER, NotHttp, document


class Protocol(H11Protocol):
    """One connection."""

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
