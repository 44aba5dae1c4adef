"""Downloads one file over HTTP from an address that was checked, and from no other.

The name is resolved once; one forbidden address among its own refuses them all. The connection goes to one of these
very addresses, while the Host header and TLS name what the URL names. Redirects are not followed. Nothing of an answer
is ever told but its status.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import addresses
from jobs.addresses import Resolver
from jobs.errors import HostUnknownError
from jobs.urls import Target

_PIECE = 1 << 16
_LONGEST_HEAD = 1 << 18
_SILENCE_SECONDS = 20.0
_CONNECT_SECONDS = 10.0


class DownloadError(Exception):
    """Nothing was downloaded. ``code`` is for programs."""

    def __init__(self, message: str, code: str = "download_failed") -> None:
        super().__init__(message)
        self.code = code


class _Metered(io.RawIOBase):
    """A connection's incoming bytes, of which at most ``room`` may come; ``None``: any number."""

    def __init__(self, raw: io.RawIOBase, room: int) -> None:
        super().__init__()
        self._raw = raw
        self.room: int | None = room

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """As of any raw stream."""
        count = self._raw.readinto(buffer)
        if self.room is not None:
            self.room -= count or 0
            if self.room < 0:
                raise http.client.HTTPException
        return int(count or 0)

    def close(self) -> None:
        """Close the connection's stream too."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Takes bounded bytes until the body begins: interim answers and headers may go on for ever."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.meter = _Metered(self.fp.detach(), _LONGEST_HEAD)
        self.fp = io.BufferedReader(self.meter)


def download(
    target: Target,
    path: Path,
    *,
    private: bool,
    max_bytes: int,
    sha256: str | None = None,
    resolve: Resolver | None = None,
) -> None:
    """Download ``target`` into a new file.

    Args:
        target: what :func:`jobs.urls.parse` allowed.
        path: the file to make.
        private: see :func:`jobs.addresses.check`.
        max_bytes: more are not taken.
        sha256: the digest (hex) that the bytes must have; ``None``: any.
        resolve: see :func:`jobs.addresses.resolved`.

    Raises:
        UrlRefusedError: an address of the host may not be connected to. Nothing was connected to.
        DownloadError: it does not answer, or not with the file.
    """
    try:
        found = addresses.resolved(target.host, target.port, private=private, resolve=resolve)
    except HostUnknownError as error:
        raise DownloadError(str(error)) from None
    connection = _connection(target, found)
    try:
        connection.request("GET", target.path, headers={"Accept-Encoding": "identity", "User-Agent": "fqt"})
        response = connection.getresponse()
        assert isinstance(response, _Response)
        response.meter.room = None
        if 300 <= response.status < 400:
            raise DownloadError(
                f"the server answered with a redirect ({response.status}), and none is followed: name where it leads to"
            )
        if response.status != 200:
            raise DownloadError(f"the server answered with status {response.status}")
        digest = _take(response, path, max_bytes)
    except (http.client.HTTPException, ValueError):  # their words quote the server
        raise DownloadError("the server's answer is not HTTP, or is not whole") from None
    except TimeoutError:
        raise DownloadError(f"the server said nothing for {_SILENCE_SECONDS:g} seconds") from None
    except OSError as error:
        raise DownloadError(f"the connection broke: {_reason(error)}") from None
    finally:
        connection.close()
    if sha256 is not None and digest != sha256:
        raise DownloadError(f"the file has SHA-256 {digest}, not the one that was expected", "digest_mismatch")


def _connection(target: Target, found: Sequence[str]) -> http.client.HTTPConnection:
    """A connection to the first address that takes one; named in its requests is the URL's own host."""
    failed = ""
    for address in found:
        try:
            link = socket.create_connection((address, target.port), _CONNECT_SECONDS)
        except OSError as error:
            failed = f"its host cannot be reached: {_reason(error)}"
            continue
        link.settimeout(_SILENCE_SECONDS)
        if target.scheme == "http":
            connection = http.client.HTTPConnection(target.host, target.port)
        else:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(target.host, target.port, context=context)
            try:
                link = context.wrap_socket(link, server_hostname=target.host)
            except OSError as error:
                link.close()
                raise DownloadError(f"TLS with its host failed: {_reason(error)}") from None
        connection.response_class = _Response
        connection.sock = link  # so that it makes none of its own
        return connection
    raise DownloadError(failed)


def _take(response: http.client.HTTPResponse, path: Path, max_bytes: int) -> str:
    """Write the body to the file as it comes; return its SHA-256."""
    too_large = DownloadError(f"the file is larger than the {max_bytes} bytes that are accepted")
    declared = response.length
    if declared is not None and declared > max_bytes:
        raise too_large
    digest, size = hashlib.sha256(), 0
    with path.open("xb", buffering=0) as file:
        while piece := response.read1(_PIECE):
            size += len(piece)
            if size > max_bytes:
                raise too_large
            digest.update(piece)
            _write(file, piece)
    if declared is not None and size != declared:
        raise DownloadError(f"the connection ended after {size} of {declared} bytes")
    return digest.hexdigest()


def _write(file: io.FileIO, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise DownloadError(f"the worker cannot keep the file: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or type(error).__name__
