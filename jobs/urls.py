"""Which URLs may be fetched, and which addresses may be connected to in order to fetch them.

A URL is taken apart once, here, and what is connected to is made of these very parts, so that no second reading can
come to another host. Its name is resolved once by whoever fetches, every address is checked, and one of them is
connected to: what the name means a moment later has no say.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from jobs.errors import UrlRefusedError

Address: TypeAlias = IPv4Address | IPv6Address

LONGEST_URL = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC_LABEL = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")
# Names that mean this machine or this network wherever they are asked for (RFC 6761, RFC 6762, RFC 8375, ICANN 2024).
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "home.arpa", "lan", "intranet", "corp", "home")

# IPv6 addresses are given out in this block only (IANA); in it are forms that carry an IPv4 address, and tunnels.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_CARRIERS = (IPv6Network("2001::/23"), IPv6Network("2002::/16"), IPv6Network("3fff::/20"))
_PRIVATE_IPV6 = (IPv6Network("fc00::/7"), IPv6Network("::1/128"))
_PRIVATE_IPV4 = tuple(
    IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10")
)
# Metadata services of clouds (Azure's, Alibaba's) that look public, or are in a block that `private` opens; relays of
# 6to4; a block of protocols (Oracle's metadata service among them) that Python counts as public before 3.11.10.
_NEVER = tuple(
    IPv4Network(block) for block in ("168.63.129.16/32", "100.100.100.200/32", "192.88.99.0/24", "192.0.0.0/24")
)


@dataclass(frozen=True)
class Target:
    """A URL in parts. ``host`` is a name, or an address as text; ``path`` begins with a slash and has the query."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """The host if it is an address."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def filename(self) -> str:
        """The last part of the path, or the host."""
        return self.path.partition("?")[0].rsplit("/", 1)[-1] or self.host

    @property
    def shown(self) -> str:
        """The URL for people to see: without the query, which may hold what gives access."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path.partition('?')[0]}"


def parse(url: str, *, private: bool, ports: Collection[int]) -> Target:
    """Take a URL apart.

    Args:
        url: as somebody sent it.
        private: whether names and addresses of private networks, and this machine, may be fetched from.
        ports: the ports that may be connected to.

    Raises:
        UrlRefusedError: nothing is fetched from it, whatever its name means.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UrlRefusedError(
            f"a URL has at most {LONGEST_URL} characters, all of them printable ASCII, no space and no backslash; "
            "write other characters percent-encoded, and names of hosts in Punycode"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefusedError("this is no URL") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise UrlRefusedError("only http:// and https:// are fetched from")
    scheme: Literal["http", "https"] = "http" if parts.scheme == "http" else "https"
    if "@" in parts.netloc:
        raise UrlRefusedError("a URL must not name a user or a password")
    host = _host(parts.hostname or "", private=private)
    port = _DEFAULT_PORTS[scheme] if port is None else port
    if port not in ports:
        allowed = ", ".join(map(str, sorted(ports)))
        raise UrlRefusedError(f"port {port} is not fetched from; allowed are {allowed}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(scheme, host, port, path)
    if target.address is not None:
        check(target.address, private=private)
    return target


def check(address: Address, *, private: bool) -> None:
    """Whether an address may be connected to.

    Raises:
        UrlRefusedError: it may not.
    """
    if not _is_public(address) and not (private and _is_private(address)):
        raise UrlRefusedError(
            "its host is, or resolves to, an address that is not fetched from"
            + ("" if private else ": only public ones are")
        )


def _host(host: str, *, private: bool) -> str:
    """The host in lower case: a strict address, or a name that no resolver could take for an address."""
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise UrlRefusedError("the host is no IPv6 address") from None
        if address.scope_id is not None:
            raise UrlRefusedError("the host names a zone")
        return str(address)
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise UrlRefusedError("the host is no name: letters, digits and hyphens between dots, and no dot at the end")
    if _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        # What ends in a number is an address to many a resolver: decimal, octal, hexadecimal, or short.
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise UrlRefusedError("the host is no IPv4 address of four decimal numbers") from None
    name = host.lower()
    if not private and ("." not in name or any(f".{name}".endswith(f".{local}") for local in _LOCAL_NAMES)):
        raise UrlRefusedError("the host is a name of this machine or network; only public ones are fetched from")
    return name


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not _within(address, _NEVER)
    return address in _GLOBAL_IPV6 and address.is_global and not _within(address, _CARRIERS)


def _is_private(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return _within(address, _PRIVATE_IPV4) and not _within(address, _NEVER)
    # Amazon's metadata service has addresses in this block of local ones.
    return _within(address, _PRIVATE_IPV6) and not _within(address, (IPv6Network("fd00:ec2::/32"),))


def _within(address: Address, networks: Collection[IPv4Network] | Collection[IPv6Network]) -> bool:
    return any(address in network for network in networks)
