"""Who is at the other end: the peer's address, or what a trusted proxy says of it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

Network = IPv4Network | IPv6Network
_FORWARDED = "x-forwarded-for"
_IPV6_HOST_BITS = 64  # one customer's network: its addresses are not told apart
_LONGEST = 64


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address of the client.

    ``X-Forwarded-For`` is read from its end, hop by hop, as long as the hop that wrote it is a trusted proxy; what
    stands before that anybody may have written.
    """
    found = str((scope.get("client") or ("unknown", 0))[0])
    hops = [hop.strip() for value in Headers(scope=scope).getlist(_FORWARDED) for hop in value.split(",")]
    while hops and _within(found, trusted):
        hop = hops.pop()
        if not _is_address(hop):
            break
        found = hop
    return found[:_LONGEST]


def network_of(address: str) -> str:
    """What is counted together: an IPv4 address by itself, IPv6 addresses by their network."""
    if not _is_address(address):
        return address
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS, 128 - _IPV6_HOST_BITS)))
    return str(found)


def _within(address: str, networks: Sequence[Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
