"""A receiver of webhooks that verifies what it gets, and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

Answer = Callable[[int], int]


class Receiver(ThreadingHTTPServer):
    """Listens on a loopback port that is its own. ``answer`` maps the number of a request, from 1, to a status."""

    daemon_threads = True

    def __init__(self, answer: Answer = lambda _number: 204) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?a=1"

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]

    def verified(self, secret: str) -> list[Any]:
        """The messages, each verified with the library."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.requests.append((headers | {"path": self.path}, body))
            number = len(self.server.requests)
        status = self.server.answer(number)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", self.server.url + "&redirected")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def receiving(answer: Answer = lambda _number: 204) -> Iterator[Receiver]:
    server = Receiver(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
