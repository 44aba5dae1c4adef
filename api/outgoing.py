"""A POST to a URL that somebody else chose: to an address that was checked, bounded in time, following nothing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping

from jobs import addresses, urls
from jobs.errors import HostUnknownError, UrlRefusedError
from jobs.urls import Target


class OutgoingError(Exception):
    """There was no answer; the message says why, in words for the log of deliveries."""


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, private: bool) -> int:
    """Send ``body``; return the status. The answer's body is not read, and a redirect is an answer like any other.

    Args:
        url: checked anew, name and addresses: it may mean something else by now.
        body: sent as it is.
        headers: sent besides Host and Content-Length.
        seconds: bound of connecting, sending and waiting together.
        private: whether addresses of this machine and of private networks may be used, and http without TLS.

    Raises:
        OutgoingError: the address is refused, or there was no answer in time.
    """
    deadline = time.monotonic() + seconds
    try:
        target = urls.parse(url, private=private, plain=private)
        found = addresses.resolved(target.host, target.port, private=private)
    except (UrlRefusedError, HostUnknownError) as error:
        raise OutgoingError(str(error)) from None
    try:
        with _connected(found, target.port, deadline) as plain:
            return _exchange(plain, target, body, headers, deadline)
    except TimeoutError:
        raise OutgoingError(f"no answer within {seconds:g} s") from None
    except ssl.SSLError as error:
        raise OutgoingError(f"TLS: {error.reason or 'the connection broke off'}") from None
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline:
            raise OutgoingError(f"no answer within {seconds:g} s") from None
        raise OutgoingError(f"no answer: {type(error).__name__}") from None


def _connected(found: list[str], port: int, deadline: float) -> socket.socket:
    """A connection to the first of these addresses that answers."""
    failure: OSError = TimeoutError()
    for address in found:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), timeout=left)
        except OSError as error:
            failure = error
    raise failure


def _exchange(plain: socket.socket, target: Target, body: bytes, headers: Mapping[str, str], deadline: float) -> int:
    # A receiver that sends a byte now and then never meets a socket's own timeout: at the deadline the line is cut.
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (plain,))
    watchdog.daemon = True
    watchdog.start()
    connection = http.client.HTTPConnection(target.host, target.port)
    try:
        if target.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(plain, server_hostname=target.host)
        else:
            connection.sock = plain
        connection.request("POST", target.path, body, {**headers, "Host": target.authority, "Connection": "close"})
        return connection.getresponse().status
    finally:
        watchdog.cancel()
        connection.close()


def _cut(plain: socket.socket) -> None:
    with contextlib.suppress(OSError):
        plain.shutdown(socket.SHUT_RDWR)
