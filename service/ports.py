"""Ports of the loopback interface."""

from __future__ import annotations

import socket

from service.errors import StartError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def check_host(host: str) -> None:
    """Make sure that a server can listen at this address of the machine.

    Raises:
        StartError: it is no address, or another machine's.
    """
    try:
        any_free(host)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}: {error.strerror or error}",
            remedy="name an address of this machine with --host or FQT_HOST, e.g. 127.0.0.1",
        ) from error


def any_free(host: str = "127.0.0.1") -> int:
    """A port that is free now, chosen by the kernel."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def choose(host: str, wanted: int | None, preferred: int) -> int:
    """The port to listen on: ``wanted`` if given, else ``preferred`` if it is free, else any free one.

    Raises:
        StartError: ``wanted`` is taken.
    """
    if wanted:
        if not is_free(host, wanted):
            raise StartError(
                f"port {wanted} of {host} is taken",
                remedy="choose another with --port, or leave it out to find a free one",
            )
        return wanted
    if wanted is None and is_free(host, preferred):
        return preferred
    return any_free(host)
