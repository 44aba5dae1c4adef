"""Data sets by URL, and webhooks: whatever a URL, a name server or a web server says, nobody connects to where they
should not.

A canary listens on loopback, on a port that is allowed, so that nothing but the address keeps it from being reached.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.outgoing import OutgoingError, post
from jobs import addresses
from tests.api.conftest import archive, png
from tests.api.hostile.canary import Canary, ok
from tests.api.hostile.conftest import MIB, Service

PUBLIC = "93.184.216.34"
SECRET = b"the answer's own words"


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.close()


@pytest.fixture(scope="module")
def remote() -> Iterator[Canary]:
    """What a public address leads to."""
    made = Canary()
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, canary: Canary, remote: Canary) -> Iterator[Service]:
    made = Service(
        tmp_path_factory.mktemp("urls") / "service",
        dataset_urls="public",
        dataset_url_ports=f"80,443,{canary.port}",
    )
    made.routes({PUBLIC: remote.port})
    yield made
    made.close()


# PORT is the canary's.
_REFUSED = [
    # schemes and shapes
    "ftp://127.0.0.1:PORT/a.zip",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/_GET",
    "jar:http://127.0.0.1:PORT/a.zip!/x",
    "//127.0.0.1:PORT/a.zip",
    "127.0.0.1:PORT/a.zip",
    "http:/127.0.0.1:PORT/",
    "http://",
    "http:///127.0.0.1:PORT",
    "http://[::1",
    "http://" + "a" * 1980 + ".example/",
    "http://" + "a" * 70 + ".example/",
    # users and passwords
    "http://public.example@127.0.0.1:PORT/",
    "http://public.example:80@127.0.0.1:PORT/",
    "http://user:password@public.example/",
    "http://@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT@public.example/",
    # where two readers would part
    "http://public.example\\@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\.public.example/",
    "http://127.0.0.1:PORT#@public.example/",
    "http://127.0.0.1:PORT?@public.example/",
    "http://public.example:80:PORT/",
    "http://127.0.0.1:PORT /",
    "http://127.0.0.1:PORT\t/",
    "http://127.0.0.1:PORT/\r\nHost: public.example",
    "http://%31%32%37.0.0.1:PORT/",
    "http://127.0.0.1%00.public.example:PORT/",
    # this machine, however written
    "http://127.0.0.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.8.9.10:PORT/",
    "http://0.0.0.0:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://0:PORT/",
    "http://127.0.0.01:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[::1%25lo]:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://a.localhost:PORT/",
    "http://localhost.localdomain:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://１２７.0.0.1:PORT/",
    "http://127。0。0。1:PORT/",
    "http://ⓛocalhost:PORT/",
    # networks that are not public, metadata services
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://metadata.google.internal/",
    "http://intranet/",
    "http://printer.local/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://224.0.0.1/",
    "http://[ff02::1]/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://198.18.0.1/",
    "http://203.0.113.5/",
    "http://[2001:db8::1]/",
    # ports, fragments
    "http://public.example:0/",
    "http://public.example:99999/",
    "http://public.example/#top",
]
_REFUSED_PORTS = ["http://public.example:22/", "http://public.example:6379/"]


@pytest.mark.parametrize("url", [*_REFUSED, *_REFUSED_PORTS], ids=itertools.count())
def test_a_url_that_leads_elsewhere_is_refused_before_anything_is_asked(
    service: Service, canary: Canary, url: str
) -> None:
    known = canary.connections
    problem = service.refused(lambda: service.import_url(url.replace("PORT", str(canary.port))), "url_refused")
    assert [error["field"] for error in problem["errors"]] == ["url"]
    assert service.network("resolve") == service.network("connect") == []
    assert canary.connections == known


def test_a_webhook_that_leads_elsewhere_is_refused_and_not_sent_to_either(
    service: Service, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same URLs with TLS, which webhooks want: at creation, and should one of them have got into the database."""
    known, asked = canary.connections, []
    monkeypatch.setattr(addresses, "system_resolver", lambda host, _port: asked.append(host) or [])
    for url in (each.replace("http:", "https:", 1).replace("PORT", str(canary.port)) for each in _REFUSED):
        answer = service.client.post("/v1/webhooks", json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, "url_refused"), url
        assert [error["field"] for error in answer.json()["errors"]] == ["url"]
        with pytest.raises(OutgoingError):
            post(url, b"{}", {}, seconds=1, private=False)
    answer = service.client.post("/v1/webhooks", json={"url": "http://public.example/"})
    assert (answer.status_code, answer.json()["code"]) == (422, "url_refused"), "without TLS"
    assert asked == []
    assert canary.connections == known


_ANSWERS = {
    "loopback": [["127.0.0.1"]],
    "one forbidden among public ones": [[PUBLIC, "127.0.0.1"]],
    "IPv6 loopback": [["::1"]],
    "IPv4 in IPv6": [["::ffff:127.0.0.1"]],
    "NAT64": [["64:ff9b::7f00:1"]],
    "6to4": [["2002:7f00:1::"]],
    "link-local with a zone": [["fe80::1%lo"]],
    "metadata": [["169.254.169.254"]],
}


@pytest.mark.parametrize("case", _ANSWERS)
def test_a_name_that_resolves_to_what_is_not_public_is_refused_without_a_connection(
    service: Service, canary: Canary, remote: Canary, case: str
) -> None:
    known = canary.connections, remote.connections
    service.names({"public.example": _ANSWERS[case]})
    service.refused(lambda: service.import_url(f"http://public.example:{canary.port}/a.zip"), "url_refused")
    assert service.network("resolve") == ["public.example"]
    assert service.network("connect") == []
    assert (canary.connections, remote.connections) == known


def test_a_webhook_whose_name_resolves_to_what_is_not_public_is_not_sent(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = canary.connections
    for (answer,) in _ANSWERS.values():
        monkeypatch.setattr(addresses, "system_resolver", lambda _host, _port, answer=answer: answer)
        with pytest.raises(OutgoingError, match="only public ones"):
            post(f"https://public.example:{canary.port}/", b"{}", {}, seconds=1, private=False)
    assert canary.connections == known


def test_a_name_that_means_something_else_a_moment_later_is_asked_once(
    service: Service, canary: Canary, remote: Canary
) -> None:
    known, theirs = canary.connections, remote.connections
    service.names({"public.example": [[PUBLIC], ["127.0.0.1"]]})
    remote.answer = lambda _request: [ok(b"", status="503 Busy")]
    service.refused(lambda: service.import_url(f"http://public.example:{canary.port}/a.zip"), "download_failed")
    assert service.network("resolve") == ["public.example"]
    assert service.network("connect") == [PUBLIC]
    assert (canary.connections, remote.connections) == (known, theirs + 1)


@pytest.mark.parametrize("status", ["302 Found", "308 Permanent"])
def test_no_redirect_is_followed(service: Service, canary: Canary, remote: Canary, status: str) -> None:
    known = canary.connections
    place = f"http://127.0.0.1:{canary.port}/secret-place"
    service.names({"public.example": [[PUBLIC]]})
    remote.answer = lambda _request: [ok(SECRET, f"Location: {place}", f"Refresh: 0; url={place}", status=status)]
    problem = service.refused(lambda: service.import_url("http://public.example/a.zip"), "download_failed")
    assert "redirect" in problem["detail"]
    assert "secret-place" not in str(problem)
    assert canary.connections == known


def _drip() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(1000):
        time.sleep(0.02)
        yield b"x"


def _endless(piece: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Iterator[bytes]:
    yield head
    for _ in range(40 * MIB // len(piece)):
        yield piece


_SERVERS = {
    "an error with words": lambda: [ok(SECRET, "X-Secret: " + SECRET.decode(), status="500 " + SECRET.decode())],
    "nothing there": lambda: [ok(SECRET, status="404 Not Found")],
    "half a file": lambda: [ok(SECRET, length=1000)],
    "no HTTP": lambda: [b"SSH-2.0-" + SECRET + b"\r\n"],
    "no answer": lambda: [b""],
    "broken chunks": lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + SECRET],
    "endless headers": lambda: _endless(b"X: " + b"a" * 4093 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
    "an endless line": lambda: _endless(b"a" * 65536, b"HTTP/1.1 200 OK\r\nX: "),
    "endless bytes": lambda: _endless(bytes(1 << 20)),
    "a declared size": lambda: [ok(b"x", length=1 << 40)],
    "continue for ever": lambda: _endless(b"HTTP/1.1 100 Continue\r\n\r\n", b""),
}


@pytest.mark.parametrize("case", _SERVERS)
def test_a_server_that_misbehaves_is_not_waited_for_and_not_quoted(service: Service, remote: Canary, case: str) -> None:
    service.names({"public.example": [[PUBLIC]]})
    remote.answer = lambda _request: _SERVERS[case]()
    problem = service.refused(lambda: service.import_url("http://public.example/a.zip?key=sesame"), "download_failed")
    assert SECRET.decode() not in str(problem)
    assert "sesame" not in str(problem)


def test_a_server_that_drips_is_given_up_on(tmp_path: Path, remote: Canary) -> None:
    service = Service(tmp_path / "slow", dataset_urls="public", dataset_url_seconds=0.7)
    service.names({"public.example": [[PUBLIC]]})
    service.routes({PUBLIC: remote.port})
    remote.answer = lambda _request: _drip()
    problem = service.refused(lambda: service.import_url("http://public.example/a.zip"), "download_failed")
    assert "longer than 0.7 seconds" in problem["detail"]
    service.close()


_CONTENTS = {
    "a web page": ok(b"<!doctype html><p>" + SECRET),
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + SECRET,
    "an archive that climbs": ok(archive({"../evil/1.png": png(1), "b/2.png": png(2)})),
}


@pytest.mark.parametrize("case", _CONTENTS)
def test_what_was_downloaded_is_judged_like_an_upload(service: Service, remote: Canary, case: str) -> None:
    service.names({"public.example": [[PUBLIC]]})
    remote.answer = lambda _request: [_CONTENTS[case]]
    problem = service.refused(lambda: service.import_url("http://public.example/a.zip"), "dataset_rejected")
    assert SECRET.decode() not in str(problem)


def test_other_bytes_than_were_expected_are_refused(service: Service, remote: Canary) -> None:
    service.names({"public.example": [[PUBLIC]]})
    remote.answer = lambda _request: [ok(archive())]
    service.refused(lambda: service.import_url("http://public.example/a.zip", sha256="0" * 64), "download_failed")


def test_a_name_that_is_nobodys_is_told(service: Service) -> None:
    service.names({})
    service.refused(lambda: service.import_url("http://public.example/a.zip"), "download_failed")


def test_tls_names_the_host_of_the_url_and_wants_its_certificate(service: Service, remote: Canary) -> None:
    service.names({"public.example": [[PUBLIC]]})
    remote.answer = lambda _request: [b"no TLS at all"]
    service.refused(lambda: service.import_url("https://public.example/a.zip"), "download_failed")
    assert b"public.example" in remote.requests[-1], "the server name indication"
    assert service.network("connect") == [PUBLIC]


def test_downloads_are_off_by_default(tmp_path: Path, canary: Canary) -> None:
    known = canary.connections
    off = Service(tmp_path / "off")
    off.refused(lambda: off.import_url(f"http://127.0.0.1:{canary.port}/"), "downloads_off")
    off.close()
    assert canary.connections == known


def test_the_canary_sings_where_private_networks_are_allowed(tmp_path: Path, canary: Canary) -> None:
    """The other side of all the above: the same way leads to it, once, when it may."""
    content = archive()
    canary.answer = lambda _request: [ok(content)]
    known = canary.connections
    service = Service(tmp_path / "private", dataset_urls="private", dataset_url_ports=f"80,{canary.port}")
    service.names({"files.example": [["127.0.0.1"]]})
    response = service.import_url(f"http://files.example:{canary.port}/sets/pets.tar.gz?key=sesame")
    assert response.status_code == 201, response.text
    row = response.json()
    assert (row["name"], row["state"], row["size"]) == ("pets", "ready", len(content))
    assert row["origin"] == {
        "kind": "url",
        "url": f"http://files.example:{canary.port}/sets/pets.tar.gz",
        "folder": None,
    }
    assert "sesame" not in response.text
    assert canary.connections == known + 1
    lines = canary.requests[-1].decode().split("\r\n")
    assert lines[0] == "GET /sets/pets.tar.gz?key=sesame HTTP/1.1"
    assert f"Host: files.example:{canary.port}" in lines
    again = service.import_url(f"http://127.0.0.1:{canary.port}/", sha256=row["sha256"]).json()
    assert (again["state"], again["same_as"]) == ("ready", row["id"])
    for address in ("169.254.169.254", "[::ffff:127.0.0.1]", "[fd00:ec2::254]", "168.63.129.16", "0.0.0.0"):
        assert service.import_url(f"http://{address}/").json()["code"] == "url_refused", address
    service.close()
