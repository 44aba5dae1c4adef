"""Which URLs may be connected to when somebody else names them: for webhooks and for downloads alike.

A URL is taken apart once, here, and what is connected to is made of these very parts, so that no second reading can
come to another host. What its name means is the matter of :mod:`jobs.addresses`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal
from urllib.parse import urlsplit

from jobs import addresses
from jobs.addresses import Address
from jobs.errors import UrlRefusedError

LONGEST_URL = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC_LABEL = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")
# Names that mean this machine or this network wherever they are asked for (RFC 6761, RFC 6762, RFC 8375, ICANN 2024).
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "home.arpa", "lan", "intranet", "corp", "home")


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
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for people to see: without the query, which may hold what gives access."""
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"


def parse(url: str, *, private: bool, ports: Collection[int] | None = None, plain: bool = True) -> Target:
    """Take a URL apart.

    Args:
        url: as somebody sent it.
        private: whether names and addresses of private networks, and this machine, may be connected to.
        ports: the ports that may be connected to; ``None``: any.
        plain: whether http, without TLS, will do.

    Raises:
        UrlRefusedError: nothing is connected to for it, whatever its name means.
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
    schemes: tuple[Literal["http", "https"], ...] = ("https", "http") if plain else ("https",)
    scheme = next((scheme for scheme in schemes if scheme == parts.scheme), None)
    if scheme is None:
        raise UrlRefusedError("a URL begins with " + " or ".join(f"{scheme}://" for scheme in schemes))
    if "@" in parts.netloc:
        raise UrlRefusedError("a URL must not name a user or a password")
    if "#" in url:
        raise UrlRefusedError("a URL must not have a fragment, which is sent to no server")
    host = _host(parts.hostname or "", private=private)
    port = _DEFAULT_PORTS[scheme] if port is None else port
    if ports is not None and port not in ports:
        allowed = ", ".join(map(str, sorted(ports)))
        raise UrlRefusedError(f"port {port} is not connected to; allowed are {allowed}")
    if port == 0:
        raise UrlRefusedError("port 0 is none")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(scheme, host, port, path)
    if target.address is not None:
        addresses.check(target.address, private=private)
    return target


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
        raise UrlRefusedError("the host is a name of this machine or network; only public ones are connected to")
    return name
