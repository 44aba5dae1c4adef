"""Which addresses the service may connect to when somebody else names the host: for webhooks and for downloads alike.

Resolve once, check every address, connect to one of those that were checked and to nothing else: a name that is
resolved a second time may answer otherwise (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from jobs.errors import HostUnknownError, UrlRefusedError

Address: TypeAlias = IPv4Address | IPv6Address
Resolver: TypeAlias = Callable[[str, int], Sequence[str]]

# IPv6 addresses are given out in this block only (IANA); in it are tunnels, some of which carry an IPv4 address.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_TUNNELS = (IPv6Network("2001::/23"), IPv6Network("2002::/16"), IPv6Network("3fff::/20"))
# How a network without IPv4 reaches what has nothing else (RFC 6052). Other addresses that carry one are nobody's.
_TRANSLATED = IPv6Network("64:ff9b::/96")
_PRIVATE_IPV6 = (IPv6Network("fc00::/7"), IPv6Network("::1/128"))
_PRIVATE_IPV4 = tuple(
    IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10")
)
# Metadata services of clouds (Azure's, Alibaba's) that look public, or are in a block that `private` opens; relays of
# 6to4; a block of protocols (Oracle's metadata service among them) that Python counts as public before 3.11.10.
_NEVER_IPV4 = tuple(
    IPv4Network(block) for block in ("168.63.129.16/32", "100.100.100.200/32", "192.88.99.0/24", "192.0.0.0/24")
)
_NEVER_IPV6 = (IPv6Network("fd00:ec2::/32"),)  # Amazon's, in the block of private ones


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as this machine resolves it; raises OSError or UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolved(host: str, port: int, *, private: bool, resolve: Resolver | None = None) -> list[str]:
    """Resolve a host once; return its addresses, all of which may be connected to, in the resolver's order.

    Args:
        host: a name, or an address as :func:`jobs.urls.parse` writes it, which is not asked for.
        port: the port that will be connected to.
        private: see :func:`check`.
        resolve: name and port to addresses; ``None``: :func:`system_resolver`.

    Raises:
        HostUnknownError: it does not resolve.
        UrlRefusedError: one of its addresses may not be connected to.
    """
    try:
        found = [str(ip_address(host))]
    except ValueError:
        try:
            found = list((resolve or system_resolver)(host, port))
        except (OSError, UnicodeError):
            found = []
    if not found:
        raise HostUnknownError
    for address in found:
        check(ip_address(address), private=private)
    return found


def check(address: Address, *, private: bool) -> None:
    """Whether an address may be connected to.

    Args:
        address: any.
        private: whether those of private networks, and of this machine, may be.

    Raises:
        UrlRefusedError: it may not. Says nothing of what a name resolves to.
    """
    if not _is_public(address) and not (private and _is_private(address)):
        raise UrlRefusedError(
            "its host is, or resolves to, an address that is not connected to"
            + ("" if private else ": only public ones are")
        )


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not _within(address, _NEVER_IPV4)
    if address in _TRANSLATED:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_IPV6 and address.is_global and not _within(address, _TUNNELS)


def _is_private(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return _within(address, _PRIVATE_IPV4) and not _within(address, _NEVER_IPV4)
    return _within(address, _PRIVATE_IPV6) and not _within(address, _NEVER_IPV6)


def _within(address: Address, networks: Collection[IPv4Network] | Collection[IPv6Network]) -> bool:
    return any(address in network for network in networks)
