"""Webhooks end to end: a real receiver, which verifies signatures with the scheme's own library."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from standardwebhooks import Webhook, WebhookVerificationError

from api.app import create_app
from api.deliverer import Deliverer
from api.outgoing import OutgoingError, post
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import Attempt, RecordingDoorbell, key_with, submit
from tests.api.process import ROOT
from tests.receiver import Receiver, receiving


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", reaper_seconds=0.1, webhook_private=True)


@pytest.fixture
def app(settings: Settings, doorbell: RecordingDoorbell, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An app that sends nothing by itself: each test has a deliverer of its own."""
    monkeypatch.setattr(Deliverer, "run", lambda self, stop: None)
    return create_app(settings, doorbell=doorbell)


@contextmanager
def delivering(store: Store, **how: Any) -> Iterator[None]:
    stop = threading.Event()
    deliverer = Deliverer(store, **{"schedule": (0.05, 0.05, 0.05), **how})
    # The class's own run() is silenced by the fixture above.
    thread = threading.Thread(target=_RUN, args=(deliverer, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


_RUN = Deliverer.run


def make(client: TestClient, receiver: Receiver, **changes: Any) -> tuple[str, str]:
    made = client.post("/v1/webhooks", json={"url": receiver.url, **changes})
    assert made.status_code == 201, made.text
    return made.json()["id"], made.json()["secret"]


def ended(client: TestClient, webhook: str, state: str = "delivered", count: int = 1) -> list[dict[str, Any]]:
    """The webhook's deliveries once so many are in this state."""
    deadline = time.monotonic() + 10
    while True:
        rows = client.get(f"/v1/webhooks/{webhook}/deliveries", params={"limit": 100}).json()["data"]
        if sum(row["state"] == state for row in rows) >= count:
            return rows
        assert time.monotonic() < deadline, rows
        time.sleep(0.02)


def test_a_receiver_that_fails_twice_gets_the_third(client: TestClient, store: Store) -> None:
    with receiving(lambda number: 500 if number < 3 else 204) as receiver:
        webhook, secret = make(client, receiver, events=["job.succeeded"])
        job = submit(client)
        Attempt(store, job).succeed(accuracy=0.9)
        with delivering(store):
            [row] = ended(client, webhook)
        assert [entry["status"] for entry in row["log"]] == [500, 500, 204]
        assert receiver.ids == [row["id"]] * 3
        told = receiver.verified(secret)
        assert told == [row["payload"]] * 3
        assert told[0]["type"] == "job.succeeded"
        assert (told[0]["data"]["id"], told[0]["data"]["state"]) == (job, "succeeded")
        headers, body = receiver.requests[2]
        assert headers["path"] == "/hook?a=1"
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body.replace(b"succeeded", b"fabricated"), headers)
        assert client.get(f"/v1/webhooks/{webhook}").json()["failures"] == 0


def test_a_deliverer_killed_between_sending_and_noting_has_it_sent_again_under_the_same_id(
    client: TestClient, store: Store, settings: Settings
) -> None:
    with receiving() as receiver:
        webhook, secret = make(client, receiver)
        assert client.post(f"/v1/webhooks/{webhook}/test").status_code == 202
        environment = {"FQT_DATA_DIR": str(settings.data_dir), "FQT_WEBHOOK_PRIVATE": "true"}
        script = Path(__file__).with_name("deliverer_process.py")
        process = subprocess.Popen(
            [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT), **environment}
        )
        deadline = time.monotonic() + 20
        while not receiver.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        [row] = client.get(f"/v1/webhooks/{webhook}/deliveries").json()["data"]
        assert (row["state"], row["attempts"], row["log"]) == ("pending", 1, [])
        with delivering(store):
            [row] = ended(client, webhook)
        assert receiver.ids == [row["id"]] * 2
        assert len(receiver.verified(secret)) == 2
        assert [entry["status"] for entry in row["log"]] == [204]


def test_a_replay_has_the_same_id_and_a_rotated_secret_overlaps(client: TestClient, store: Store) -> None:
    with receiving() as receiver, delivering(store):
        webhook, secret = make(client, receiver)
        delivery = client.post(f"/v1/webhooks/{webhook}/test").json()
        assert delivery["type"] == "webhook.test"
        ended(client, webhook)
        rotated = client.post(f"/v1/webhooks/{webhook}/rotate").json()
        assert rotated["secret"] != secret
        replayed = client.post(f"/v1/webhooks/{webhook}/deliveries/{delivery['id']}/replay")
        assert (replayed.status_code, replayed.json()["state"]) == (202, "pending")
        [row] = ended(client, webhook)
        assert (row["attempts"], len(row["log"])) == (2, 2)
        assert receiver.ids == [delivery["id"]] * 2
        headers, body = receiver.requests[1]
        for each in (secret, rotated["secret"]):  # receivers change over when they like
            Webhook(each).verify(body, headers)


def test_a_schedule_ends_and_redirects_are_not_followed(client: TestClient, store: Store) -> None:
    with receiving(lambda _number: 302) as receiver, delivering(store):
        webhook, _ = make(client, receiver)
        client.post(f"/v1/webhooks/{webhook}/test")
        [row] = ended(client, webhook, "failed")
        assert [entry["status"] for entry in row["log"]] == [302] * 4
        assert {headers["path"] for headers, _ in receiver.requests} == {"/hook?a=1"}
        assert client.get(f"/v1/webhooks/{webhook}").json()["failures"] == 4


def test_a_webhook_that_fails_on_and_on_is_disabled_until_somebody_enables_it(client: TestClient, store: Store) -> None:
    with receiving(lambda number: 503 if number < 4 else 200) as receiver, delivering(store, most_failures=3):
        webhook, _ = make(client, receiver)
        client.post(f"/v1/webhooks/{webhook}/test")
        deadline = time.monotonic() + 10
        while (shown := client.get(f"/v1/webhooks/{webhook}").json())["enabled"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (shown["failures"], shown["disabled_reason"]) == (3, "3 attempts in a row failed")
        assert client.post(f"/v1/webhooks/{webhook}/test").json()["code"] == "webhook_disabled"
        time.sleep(0.3)
        assert len(receiver.requests) == 3
        assert client.post(f"/v1/webhooks/{webhook}/enable").json()["enabled"]
        ended(client, webhook)


def test_slow_receivers_meet_the_deadline_whatever_they_do() -> None:
    """One that says nothing, and one that sends a byte now and then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(b"H")
                        time.sleep(0.05)
                except OSError:
                    pass

        for receiver in (None, threading.Thread(target=drip, daemon=True)):
            if receiver is not None:
                server.accept()[0].close()  # of the first one, which nobody had taken
                receiver.start()
            begin = time.monotonic()
            with pytest.raises(OutgoingError, match=r"no answer within 0\.4 s"):
                post(url, b"{}", {}, seconds=0.4, private=True)
            assert time.monotonic() - begin < 2


def test_a_name_that_answers_otherwise_at_the_second_time_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the address that was checked is the one that is connected to."""
    answers = iter(["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    asked, connected = [], []

    def resolve(host: str, port: object, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(OutgoingError, match="no answer: ConnectionRefusedError"):
        post("https://rebinding.example/", b"{}", {}, seconds=2, private=False)
    assert (asked, connected) == (["rebinding.example"], [("93.184.215.14", 443)])
    with pytest.raises(OutgoingError, match="only public ones"):
        post("https://rebinding.example/", b"{}", {}, seconds=2, private=False)
    assert len(connected) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "example.org", "https://", "https:///x", "http://example.org:99999/", "https://a b/",
        "https://user:word@example.org/", "https://example.org/#top", "https://exämple.org/", "https://[::1", "x",
        "https://example.org:0/", "http://169.254.169.254/latest/meta-data", "http://0/", "https://[fe80::1]/",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_are_refused_at_once(client: TestClient, url: str) -> None:
    response = client.post("/v1/webhooks", json={"url": url})
    assert response.status_code == 422, response.text
    assert [error["field"] for error in response.json()["errors"]] == ["url"]


def test_private_addresses_and_plain_http_need_the_setting(tmp_path: Path, doorbell: RecordingDoorbell) -> None:
    settings = Settings(data_dir=tmp_path / "data", reaper_seconds=600)
    with TestClient(create_app(settings, doorbell=doorbell), base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        for url in ("https://10.0.0.1/", "https://localhost/", "http://example.org/", "https://[::ffff:7f00:1]/"):
            assert client.post("/v1/webhooks", json={"url": url}).status_code == 422, url
        assert client.post("/v1/webhooks", json={"url": "https://example.org/"}).status_code == 201


def test_webhooks_are_listed_shown_and_deleted_and_secrets_shown_once(client: TestClient, store: Store) -> None:
    key = {"Idempotency-Key": "one"}
    body = {"url": "https://example.org/a", "events": ["job.failed"], "description": "mine"}
    first, again = (client.post("/v1/webhooks", json=body, headers=key) for _ in range(2))
    assert again.headers["idempotent-replayed"] == "true"
    assert first.json() == again.json()
    assert client.post("/v1/webhooks", json={"url": "https://x.org/"}, headers=key).status_code == 422
    webhook, secret = first.json()["id"], first.json()["secret"]
    assert first.headers["location"] == f"/v1/webhooks/{webhook}"
    shown = client.get(f"/v1/webhooks/{webhook}").json()
    assert "secret" not in shown
    assert first.json() == shown | {"secret": secret}
    for _ in range(2):
        client.post("/v1/webhooks", json={"url": "https://example.org/b"})
    page = client.get("/v1/webhooks", params={"limit": 2}).json()
    rest = client.get("/v1/webhooks", params={"after": page["data"][-1]["id"]}).json()
    assert (page["has_more"], [row["id"] for row in rest["data"]]) == (True, [webhook])
    with store.read() as connection:
        kept = connection.exec_driver_sql("SELECT body FROM idempotency").scalars().all()
    assert all(secret not in answer for answer in kept)
    assert client.get(f"/v1/webhooks/{webhook}/deliveries", headers=key_with(store, "read")).json()["data"] == []
    assert client.delete(f"/v1/webhooks/{webhook}").status_code == 204
    assert client.get(f"/v1/webhooks/{webhook}").status_code == 404
    assert client.post("/v1/webhooks", json=body, headers=key).status_code == 409
