"""What may be connected to, in every spelling that leads there; name servers that answer what an attacker wants."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from jobs import addresses
from jobs.errors import AddressRefusedError

PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "127.255.255.254", "::1",
    "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "10.0.0.1", "172.16.5.4",
    "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::192.168.0.1", "192.0.2.1",
    "198.18.0.1", "2001:db8::1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "0", "::", "169.254.169.254", "0xa9fea9fe", "2852039166", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fe80::1", "224.0.0.1", "ff02::1", "::127.0.0.1",
    "255.255.255.255", "240.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", [*PRIVATE, *NEVER])
def test_addresses_within_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        addresses.check(host, 443, allow_private=False)
    with pytest.raises(AddressRefusedError):
        addresses.check_literal(host, allow_private=False)


@pytest.mark.parametrize("host", NEVER)
def test_some_are_refused_even_where_private_networks_are_allowed(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        addresses.check(host, 443, allow_private=True)


@pytest.mark.parametrize("host", PRIVATE)
def test_private_networks_can_be_allowed(host: str) -> None:
    assert addresses.check(host, 443, allow_private=True)


@pytest.mark.parametrize("host", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses_pass(host: str) -> None:
    assert addresses.check(host, 443, allow_private=False) == [host]
    addresses.check_literal(host, allow_private=False)


@pytest.mark.parametrize("host", ["", "a" * 300, "a..b", "-", "\udcff", "no.such.host.invalid", "a\x00b"])
def test_what_does_not_resolve_is_refused(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        addresses.check(host, 443, allow_private=True)


def test_a_name_with_one_address_within_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*addresses: str) -> Any:
        return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer("93.184.215.14", "93.184.215.15", "93.184.215.14"))
    assert addresses.check("two.example", 443, allow_private=False) == ["93.184.215.14", "93.184.215.15"]
    monkeypatch.setattr(socket, "getaddrinfo", answer("93.184.215.14", "10.0.0.1"))
    with pytest.raises(AddressRefusedError, match=r"two.example \(10.0.0.1\).*private"):
        addresses.check("two.example", 443, allow_private=False)


def test_names_are_not_looked_up_where_only_literals_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses.check_literal("metadata.google.internal", allow_private=False)
    for name in ("localhost", "LocalHost."):
        with pytest.raises(AddressRefusedError):
            addresses.check_literal(name, allow_private=False)
    addresses.check_literal("localhost", allow_private=True)
