"""Servers on loopback that note who connects, and answer as they are told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable

Answer = Callable[[bytes], Iterable[bytes]]


class Canary:
    """Notes each connection and what it sends first; ``answer`` gives the pieces that go back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.answer: Answer = lambda _request: [ok(b"canary")]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def connections(self) -> int:
        """Connections so far. A moment's wait, so that one that was just made counts."""
        time.sleep(0.01)
        return len(self.requests)

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            place = len(self.requests)
            self.requests.append(b"")
            threading.Thread(target=self._talk, args=(link, place), daemon=True).start()

    def _talk(self, link: socket.socket, place: int) -> None:
        with link:
            try:
                self.requests[place] = link.recv(65536)
                for piece in self.answer(self.requests[place]):
                    link.sendall(piece)
            except OSError:
                pass


def ok(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole answer; ``length`` declares another size than it has."""
    declared = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {declared}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
