"""What may be connected to, whatever a name server answers. Spellings in URLs: tests/api/hostile/test_urls.py."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from jobs import addresses, urls
from jobs.errors import HostUnknownError, UrlRefusedError

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "::1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "fc00::1", "fd00::1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fe80::1%lo", "fec0::1", "224.0.0.1", "ff02::1", "255.255.255.255",
    "240.0.0.1",
    # metadata services of clouds, wherever their addresses are
    "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
    # documentation, measurements
    "192.0.2.1", "198.18.0.1", "203.0.113.5", "2001:db8::1", "3fff::1",
    # IPv4 within IPv6: mapped, compatible, NAT64 of what is not public, of a network's own prefix, 6to4, Teredo
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::192.168.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110", "64:ff9b:1::7f00:1",
    "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::", "2002:808:808::", "2001:0:7f00:1::", "2001:0:808:808::",
]  # fmt: skip
PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"]


def answer(*found: str) -> addresses.Resolver:
    return lambda _host, _port: found


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("address", [*PRIVATE, *NEVER, *PUBLIC])
def test_addresses_as_literals_and_as_a_name_servers_answer(address: str, private: bool) -> None:
    allowed = address in PUBLIC or (private and address in PRIVATE)

    def answers() -> list[str]:
        return addresses.resolved("a.example", 443, private=private, resolve=answer("93.184.215.14", address))

    if allowed:
        addresses.check(ip_address(address), private=private)
        assert addresses.resolved(address, 443, private=private) == [address]
        assert answers() == ["93.184.215.14", address]
        return
    for refused in (
        lambda: addresses.check(ip_address(address), private=private),
        lambda: addresses.resolved(address, 443, private=private),
        answers,
    ):
        with pytest.raises(UrlRefusedError) as told:
            refused()
        assert address not in str(told.value), "a name server's answer is told to nobody"


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "-", "\udcff", "no.such.host.invalid", "a\x00b"])
def test_what_does_not_resolve_is_told_as_such(host: str) -> None:
    with pytest.raises(HostUnknownError):
        addresses.resolved(host, 443, private=True)
    with pytest.raises(HostUnknownError):
        addresses.resolved(host, 443, private=True, resolve=answer())


def test_the_system_is_asked_once_and_equal_answers_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getaddrinfo(host: str, port: int, **_: Any) -> Any:
        asked.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in ("8.8.8.8", "8.8.4.4", "8.8.8.8")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert addresses.resolved("two.example", 443, private=False) == ["8.8.8.8", "8.8.4.4"]
    assert asked == [("two.example", 443)]


def test_urls_with_and_without_private_networks_tls_and_ports() -> None:
    with pytest.raises(UrlRefusedError, match=r"https://$"):
        urls.parse("http://a.example/", private=False, plain=False)
    for url in ("https://metadata.google.internal/", "https://printer/", "https://a.localhost/", "https://10.0.0.1/"):
        with pytest.raises(UrlRefusedError):
            urls.parse(url, private=False)
        assert urls.parse(url, private=True).port == 443
    for url in ("https://a.example:444/", "https://a.example:0/"):
        with pytest.raises(UrlRefusedError, match="port"):
            urls.parse(url, private=True, ports=[443])
    with pytest.raises(UrlRefusedError, match="port 0"):
        urls.parse("https://a.example:0/", private=True)
    target = urls.parse("HTTP://[FD00::1]:8080?a=1", private=True, ports=None)
    assert (target.scheme, target.host, target.port, target.path) == ("http", "fd00::1", 8080, "/?a=1")
    assert (target.authority, target.shown) == ("[fd00::1]:8080", "http://[fd00::1]:8080/")
    assert urls.parse("https://a.example:443", private=False).authority == "a.example"
