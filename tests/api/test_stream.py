"""The event stream: complete, in order, resumable, and never holding on to the database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import close_streams
from jobs.store import Store
from tests.api.conftest import Attempt, submit


@dataclass
class Message:
    event: str
    data: Any
    id: int


def read_messages(lines: Iterator[str]) -> Iterator[Message]:
    """Parse server-sent events; comments and fields that carry no message are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield Message(fields["event"], json.loads(fields["data"]), int(fields["id"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def _follow(client: TestClient, job_id: str, after: int | None = None) -> list[Message]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with client.stream("GET", f"/v1/jobs/{job_id}/events/stream", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        return list(read_messages(response.iter_lines()))


def test_the_past_then_the_present_then_the_end(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    attempt = Attempt(store, job_id)
    attempt.steps(1, 5)

    def go_on() -> None:
        for n in range(6, 10):
            time.sleep(0.1)
            attempt.steps(n, n)
        attempt.succeed()

    thread = threading.Thread(target=go_on)
    thread.start()
    messages = _follow(client, job_id)
    thread.join()
    assert [message.id for message in messages] == [*range(1, 13), 12]
    listed = client.get(f"/v1/jobs/{job_id}/events?limit=100").json()["data"]
    assert [message.data for message in messages[:-1]] == listed
    assert [message.event for message in messages[:-1]] == [event["type"] for event in listed]
    assert (messages[-1].event, messages[-1].data["state"]) == ("end", "succeeded")


def test_a_long_log_in_pieces(client: TestClient, store: Store) -> None:
    """Longer than one batch, taken up at every hundredth place: no gap, nothing twice."""
    job_id = submit(client)
    attempt = Attempt(store, job_id)
    attempt.steps(1, 450)
    attempt.succeed()
    whole = [message.id for message in _follow(client, job_id)]
    assert whole == [*range(1, 454), 453]
    for after in range(0, 453, 100):
        assert [message.id for message in _follow(client, job_id, after)] == [*range(after + 1, 454), 453]
    assert [message.event for message in _follow(client, job_id, 453)] == ["end"]


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 16, "400"])
def test_places_that_are_not_in_the_log(client: TestClient, after: str) -> None:
    job_id = submit(client)
    response = client.get(f"/v1/jobs/{job_id}/events/stream", headers={"Last-Event-ID": after})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Last-Event-ID"


def test_a_stream_ends_when_its_job_is_cancelled_or_deleted(client: TestClient, store: Store) -> None:
    waiting = submit(client)
    timer = threading.Timer(0.3, lambda: client.post(f"/v1/jobs/{waiting}/cancel"))
    timer.start()
    assert _follow(client, waiting)[-1].data["state"] == "cancelled"
    timer.join()


@pytest.mark.parametrize(("verb", "part"), [("DELETE", ""), ("POST", "/rotate")])
def test_a_stream_tells_nothing_more_once_its_key_opens_nothing(
    client: TestClient, store: Store, verb: str, part: str
) -> None:
    job_id = submit(client)
    attempt = Attempt(store, job_id)
    made = client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    with client.stream("GET", f"/v1/jobs/{job_id}/events/stream", headers=headers) as response:
        messages = read_messages(response.iter_lines())
        assert [next(messages).id for _ in range(2)] == [1, 2]
        assert client.request(verb, f"/v1/keys/{made['id']}{part}").status_code == 200
        attempt.steps(1, 3)
        attempt.succeed()
        assert list(messages) == []
    assert [message.id for message in _follow(client, job_id, 2)] == [3, 4, 5, 6, 6]


def test_waiting_streams_hold_no_connection(client: TestClient, app: FastAPI, store: Store) -> None:
    """More streams than the pool has connections, all waiting, while others are served; then all end on request."""
    job_id = submit(client)
    all_have_the_past = threading.Barrier(26)
    seen: list[list[str]] = []

    def follow() -> None:
        with client.stream("GET", f"/v1/jobs/{job_id}/events/stream") as response:
            messages = read_messages(response.iter_lines())
            first = next(messages).event
            all_have_the_past.wait(20)
            seen.append([first, *(message.event for message in messages)])

    threads = [threading.Thread(target=follow) for _ in range(25)]
    for thread in threads:
        thread.start()
    all_have_the_past.wait(20)
    assert b"fqt_event_streams 25.0" in app.state.context.instruments.text()
    assert store.engine.pool.checkedout() <= 1  # type: ignore[attr-defined] # the hub's look
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
    begin = time.monotonic()
    close_streams(app)
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - begin < 5
    assert seen == [["state"]] * 25
