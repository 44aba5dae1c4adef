"""Rate limits: per key, per address, of failures; with the broker and without it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.address import network_of
from api.app import create_app
from jobs.settings import Settings
from tests.api.conftest import RecordingDoorbell, key_with

Start = Callable[..., TestClient]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an API with these settings; several share their data."""
    with ExitStack() as stack:

        def started(client: tuple[str, int] = ("203.0.113.7", 1), **changes: Any) -> TestClient:
            values = {"data_dir": tmp_path / "data", "broker_url": "redis://127.0.0.1:1/0", "reaper_seconds": 600}
            settings = Settings(**{**values, **changes})  # type: ignore[arg-type]
            app = create_app(settings, doorbell=RecordingDoorbell())
            made = TestClient(app, base_url="http://localhost", raise_server_exceptions=False, client=client)
            stack.enter_context(made)
            made.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
            return made

        yield started


def _statuses(client: TestClient, count: int, path: str = "/v1/keys", **options: Any) -> list[int]:
    return [client.get(path, **options).status_code for _ in range(count)]


@pytest.fixture(params=["broker", "no broker"])
def broker(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"broker_url": request.getfixturevalue("valkey_url")} if request.param == "broker" else {}


def test_a_key_that_asks_too_often_is_told_to_wait(start: Start, broker: dict[str, str]) -> None:
    client = start(rate_limit_key="5/hour", **broker)
    other = key_with(client.app.state.context.store, "read")  # type: ignore[attr-defined]
    assert _statuses(client, 5) == [200] * 5
    refused = client.post("/v1/jobs", json={"dataset": "digits"})
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert refused.headers["ratelimit-policy"] == '"key";q=5;w=3600'
    assert refused.headers["ratelimit"].startswith('"key";r=0;t=')
    assert _statuses(client, 1, "/v1/jobs", headers=other) == [200]


def test_an_address_that_asks_too_often_is_told_to_wait(start: Start, broker: dict[str, str]) -> None:
    client = start(rate_limit_address="3/hour", **broker)
    assert _statuses(client, 4, "/docs") == [200, 200, 200, 429]
    assert _statuses(client, 3, "/healthz") == [200] * 3


def test_all_processes_count_together_and_services_apart(start: Start, valkey_url: str, tmp_path: Path) -> None:
    changes = {"broker_url": valkey_url, "rate_limit_key": "4/hour"}
    first, second = start(**changes), start(**changes)
    assert _statuses(first, 2) + _statuses(second, 3) == [200, 200, 200, 200, 429]
    other = start(**{**changes, "data_dir": tmp_path / "other", "rate_limit_address": "4/hour"})
    assert _statuses(other, 2) == [200, 200]


def test_a_limit_ends(start: Start) -> None:
    client = start(rate_limit_key="1/second")
    for wanted in (429, 200):
        deadline = time.monotonic() + 20
        while _statuses(client, 1) != [wanted]:
            assert time.monotonic() < deadline


def test_wrong_keys_are_limited_and_keep_nobody_out(start: Start) -> None:
    client = start(rate_limit_failures="3/hour")
    wrong = {"Authorization": "Bearer fqt_" + "0" * 46}
    assert _statuses(client, 5, headers=wrong) == [401, 401, 401, 429, 429]
    assert _statuses(client, 2) == [200, 200]
    client.headers.pop("Authorization")
    assert _statuses(client, 5) == [401] * 5  # without any key nothing is tried


def test_off_is_off(start: Start) -> None:
    client = start(rate_limit_key="off", rate_limit_address="off", rate_limit_failures="off")
    assert client.app.state.context.limiter._items == {  # type: ignore[attr-defined]
        "key": None,
        "address": None,
        "failures": None,
    }
    assert _statuses(client, 2) == [200, 200]


@pytest.mark.parametrize("value", ["", "many", "0/minute", "5", "5/fortnight", "-1/second", "5 per minute; 1/s"])
def test_limits_that_cannot_be(value: str) -> None:
    with pytest.raises(ValueError, match="rate_limit_key"):
        Settings(rate_limit_key=value)


def test_a_broker_that_hangs_delays_little_and_once(start: Start) -> None:
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = start(broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0", rate_limit_key="3/hour")
        begin = time.monotonic()
        assert _statuses(client, 4) == [200, 200, 200, 429]
        assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("peer", "trusted", "forwarded", "address"),
    [
        ("203.0.113.7", "", "198.51.100.1", "203.0.113.7"),  # nobody's word is believed
        ("203.0.113.7", "10.0.0.0/8", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.2", "10.0.0.0/8", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.2", "10.0.0.0/8", "1.1.1.1, 198.51.100.1, 10.0.0.3", "198.51.100.1"),  # what stands first is a lie
        ("10.0.0.2", "10.0.0.2", "1.1.1.1, 198.51.100.1, 10.0.0.3", "10.0.0.3"),
        ("10.0.0.2", "10.0.0.0/8", "nonsense", "10.0.0.2"),
        ("10.0.0.2", "10.0.0.0/8", "", "10.0.0.2"),
        ("::1", "::1", "2001:db8::5", "2001:db8::5"),
    ],
)
def test_whose_word_about_the_address_is_believed(
    start: Start, peer: str, trusted: str, forwarded: str, address: str
) -> None:
    client = start(client=(peer, 1), trusted_proxies=trusted)
    client.post("/v1/nothing", headers={"X-Forwarded-For": forwarded})
    client.app.state.context.ledger.flush()  # type: ignore[attr-defined]
    assert client.get("/v1/audit").json()["data"][0]["address"] == address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("testclient", "testclient"),
    ],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_proxies_are_networks() -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        Settings(trusted_proxies="10.0.0.0/8, proxy.local")
