"""A POST to a URL that somebody else chose: to an address that was checked, bounded in time, following nothing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from jobs import addresses
from jobs.errors import AddressRefusedError

_PORTS = {"https": 443, "http": 80}


class OutgoingError(Exception):
    """There was no answer; the message says why, in words for the log of deliveries."""


def parse(url: str, allow_private: bool) -> SplitResult:
    """The parts of a URL that may be posted to, as far as can be said without asking a name server.

    Raises:
        ValueError: it may not; the message says what may.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if any(ord(character) <= 0x20 or ord(character) >= 0x7F for character in url):
        raise ValueError("a URL has printable ASCII characters only: write others percent-encoded, or in punycode")
    if parts.scheme not in _PORTS or (parts.scheme == "http" and not allow_private):
        raise ValueError("must begin with https://" + (" or http://" if allow_private else ""))
    if not parts.hostname or port == 0:
        raise ValueError("names no host, or no port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if parts.fragment:
        raise ValueError("must not have a fragment")
    try:
        addresses.check_literal(parts.hostname, allow_private)
    except AddressRefusedError as error:
        raise ValueError(str(error)) from None
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, allow_private: bool) -> int:
    """Send ``body``; return the status. The answer's body is not read, and a redirect is an answer like any other.

    Args:
        url: checked anew, name and addresses: it may mean something else by now.
        body: sent as it is.
        headers: sent besides Host and Content-Length.
        seconds: bound of connecting, sending and waiting together.
        allow_private: whether addresses of this machine and of private networks may be used.

    Raises:
        OutgoingError: the address is refused, or there was no answer in time.
    """
    deadline = time.monotonic() + seconds
    try:
        parts = parse(url, allow_private)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        found = addresses.check(host, port, allow_private)
    except ValueError as error:  # an AddressRefusedError as well
        raise OutgoingError(str(error)) from None
    try:
        with _connected(found, port, deadline) as plain:
            return _exchange(plain, parts, body, headers, deadline)
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


def _exchange(
    plain: socket.socket, parts: SplitResult, body: bytes, headers: Mapping[str, str], deadline: float
) -> int:
    # A receiver that sends a byte now and then never meets a socket's own timeout: at the deadline the line is cut.
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (plain,))
    watchdog.daemon = True
    watchdog.start()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(plain, server_hostname=parts.hostname)
        else:
            connection.sock = plain
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {**headers, "Host": parts.netloc, "Connection": "close"})
        return connection.getresponse().status
    finally:
        watchdog.cancel()
        connection.close()


def _cut(plain: socket.socket) -> None:
    with contextlib.suppress(OSError):
        plain.shutdown(socket.SHUT_RDWR)
