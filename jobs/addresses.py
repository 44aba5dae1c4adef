"""Which addresses the service may connect to when somebody else names the host.

Resolve once, check every address, connect to one of those that were checked and to nothing else: a name that is
resolved a second time may answer otherwise (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator

from jobs.errors import AddressRefusedError

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

# What carries an IPv4 address within an IPv6 one reaches that one: translated (RFC 6052, RFC 8215) or written as such.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/96"))


def check(host: str, port: int, allow_private: bool) -> list[str]:
    """Resolve a host; return its addresses, all of which may be connected to, in the resolver's order.

    Args:
        host: a name, or an address in any spelling that the system knows; an IPv6 one without brackets.
        port: the port that will be connected to.
        allow_private: whether addresses of this machine and of private networks may be used.

    Raises:
        AddressRefusedError: it does not resolve, or one of its addresses may not be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        raise AddressRefusedError(f"the host {host[:100]!r} cannot be resolved") from None
    return _checked(host, found, allow_private)


def check_literal(host: str, allow_private: bool) -> None:
    """Refuse a host that is an address in any spelling and may not be used. Asks no name server: a name passes.

    Raises:
        AddressRefusedError: see :func:`check`.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        if host.rstrip(".").lower() == "localhost" and not allow_private:
            raise AddressRefusedError(f"the host {host[:100]!r} is this machine") from None
        return
    _checked(host, found, allow_private)


def _checked(host: str, found: Iterable[tuple[object, ...]], allow_private: bool) -> list[str]:
    addresses: list[str] = []
    for *_, place in found:
        assert isinstance(place, tuple)
        text = str(place[0])
        if (reason := refusal(ipaddress.ip_address(text), allow_private)) is not None:
            shown = text if text == host else f"{host[:100]} ({text})"
            raise AddressRefusedError(f"the address {shown} may not be used: it is {reason}")
        if text not in addresses:
            addresses.append(text)
    if not addresses:
        raise AddressRefusedError(f"the host {host[:100]!r} has no address")
    return addresses


def refusal(address: Ip, allow_private: bool) -> str | None:
    """Why an address may not be connected to; ``None``: it may."""
    reasons = (_reason(each, allow_private) for each in _meant(address))
    return next((reason for reason in reasons if reason is not None), None)


def _meant(address: Ip) -> Iterator[Ip]:
    """The address, and those that it stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if any(address in network for network in _TRANSLATED):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            return
    yield address


def _reason(address: Ip, allow_private: bool) -> str | None:
    # Nobody's receiver is at a link-local address, but a cloud's metadata service is, whatever else may be reached.
    never = {
        "unspecified": address.is_unspecified,
        "multicast": address.is_multicast,
        "link-local": address.is_link_local or getattr(address, "is_site_local", False),
        "reserved": address.is_reserved and not address.is_loopback,
    }
    if (reason := next((name for name, holds in never.items() if holds), None)) is not None:
        return reason
    if address.is_global or allow_private:
        return None
    return "this machine" if address.is_loopback else "in a private network"
