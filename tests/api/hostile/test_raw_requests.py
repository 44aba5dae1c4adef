"""Bytes on a socket that are no request, or two in one."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.protocol import Protocol
from api.server import Server, configuration
from jobs.settings import Settings
from tests.api.conftest import RecordingDoorbell
from tests.api.hostile.refusal import PATIENCE_SECONDS, told


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """The API as it is served: its port and a key."""
    folder: Path = tmp_path_factory.mktemp("raw") / "data"
    settings = Settings(data_dir=folder, reaper_seconds=600)
    app = create_app(settings, doorbell=RecordingDoorbell())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app, configuration(app, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield listener.getsockname()[1], settings.key_path.read_text().strip()
        server.should_exit = True
        thread.join(10)


def _exchange(port: int, sent: bytes) -> list[tuple[int, dict[str, str], Any]]:
    """Send these bytes; return status, headers and body of each answer until the connection is closed."""
    begin = time.monotonic()
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(sent)
        while piece := connection.recv(1 << 16):
            received += piece
    assert time.monotonic() - begin < PATIENCE_SECONDS
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        answers.append((int(status.split()[1]), headers, json.loads(rest[:length] or b"null")))
        received = rest[length:]
    return answers


_JSON = b"Content-Type: application/json\r\n"
_PAUSE_SECONDS = 0.02
_DRIPPING = {
    "nothing at all": [b""],
    "half a head": [b"GET /v1/jobs HTTP/1.1\r\nHost: lo"],
    "a head byte by byte": [b"GET /v1/jobs HTTP/1.1\r\nX-A: ", *[b"a"] * 1000],
    "half a body": [b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n", _JSON + b"\r\n{"],
    "half a second request": [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", *[b""] * 50, b"GET "],
}


@pytest.mark.parametrize("case", _DRIPPING)
def test_who_does_not_go_on_is_not_waited_for(
    listening: tuple[int, str], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "head_seconds", 0.4)
    monkeypatch.setattr(Protocol, "silence_seconds", 0.4)
    begin = time.monotonic()
    connection = socket.create_connection(("127.0.0.1", listening[0]), timeout=PATIENCE_SECONDS)
    with connection, suppress(ConnectionError):
        for piece in _DRIPPING[case]:
            connection.sendall(piece)
            time.sleep(_PAUSE_SECONDS)
        while connection.recv(1 << 16):
            pass
    assert 0.3 < time.monotonic() - begin < PATIENCE_SECONDS


def test_who_goes_on_slowly_is_waited_for(listening: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_seconds", 1.0)
    monkeypatch.setattr(Protocol, "silence_seconds", 1.0)
    body = b'{"key": "none"}'
    head = (
        b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", listening[0]), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(head)
        for byte in body:
            time.sleep(0.1)
            connection.sendall(bytes([byte]))
        assert _status(connection) == 401
        time.sleep(1.2)  # between requests it is uvicorn's to wait
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert _status(connection) == 200


def _status(connection: socket.socket) -> int:
    """Read one answer, and all of it, which may come in pieces."""
    answer = HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


_START = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_AFTER = b"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"

_REQUESTS: dict[str, tuple[bytes, int]] = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no host": (b"GET /v1/jobs HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    "a host in the target": (
        b"GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        401,
    ),
    "a folded header": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n\x0b c\r\n\r\n", 400),
    "a space in a name": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A : b\r\n\r\n", 400),
    "NUL in a value": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: b\x00c\r\n\r\n", 400),
    "a bare CR in a value": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: b\rX-B: c\r\n\r\n", 400),
    "two lengths": (_START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + _AFTER, 400),
    "a negative length": (_START + b"Content-Length: -2\r\n\r\n{}" + _AFTER, 400),
    "a length in words": (_START + b"Content-Length: 0x2\r\n\r\n{}" + _AFTER, 400),
    "a length and chunks": (_START + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _AFTER, 400),
    "an unknown encoding": (_START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _AFTER, 400),
    "chunked twice": (_START + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + _AFTER, 400),
    "a header of 40 kB": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    "a header of 1 MB": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
    "a path of 40 kB": (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    "a path of 1 MB": (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    "a method of 20 kB": (b"X" * 20_000 + b" /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 401),
    "an upgrade": (
        b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
        401,
    ),
}


@pytest.mark.parametrize(("sent", "status"), _REQUESTS.values(), ids=_REQUESTS)
def test_each_is_refused_and_nothing_behind_it_is_answered(
    listening: tuple[int, str], sent: bytes, status: int
) -> None:
    """What is hidden behind a body whose end is a matter of opinion is never taken for a request."""
    port, key = listening
    answers = _exchange(port, sent.replace(b"{key}", key.encode()))
    assert answers
    for answer in answers:
        told(*answer, [status])


def test_a_body_whose_end_is_certain_is_followed_by_the_next_request(listening: tuple[int, str]) -> None:
    """Or the test above would show nothing."""
    port, key = listening
    found = _exchange(port, _START + b"Content-Length: 2\r\n\r\n{}" + _AFTER.replace(b"{key}", key.encode()))
    assert [status for status, _, _ in found] == [401, 200]


def test_a_chunk_that_is_no_number(listening: tuple[int, str]) -> None:
    port, key = listening
    head = _START + f"Authorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    found = _exchange(port, head + b"fffffffffffffffffffffffffffff\r\n{}\r\n0\r\n\r\n")
    assert len(found) <= 1
    for answer in found:
        told(*answer, [400])
