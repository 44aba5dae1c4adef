"""Keys over HTTP: those that end, change their secret, and are used."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.key_cache import TRUSTED_SECONDS
from jobs import keys
from jobs.sqltypes import now
from jobs.store import Store


def _made(client: TestClient, **values: Any) -> dict[str, Any]:
    response = client.post("/v1/keys", json={"name": "laptop", "scopes": ["read"], **values})
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["location"] == f"/v1/keys/{response.json()['id']}"
    return dict(response.json())


def _status(client: TestClient, plain: str) -> int:
    return client.get("/v1/jobs", headers={"Authorization": f"Bearer {plain}"}).status_code


def test_a_key_that_ends(client: TestClient, store: Store) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = _made(client, expires_at=soon)
    assert datetime.fromisoformat(made["expires_at"]) == datetime.fromisoformat(soon)
    assert _status(client, made["key"]) == 200
    with store.write() as connection:
        connection.execute(update(keys.keys).where(keys.keys.c.id == made["id"]).values(expires_at=now(-1)))
    time.sleep(TRUSTED_SECONDS)  # counted from when it was looked at last: the next look is at the database
    assert _status(client, made["key"]) == 401
    assert client.post(f"/v1/keys/{made['id']}/rotate").status_code == 409


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00", "soon", 1e300, True])
def test_a_key_that_ends_at_no_moment_to_come(client: TestClient, moment: Any) -> None:
    response = client.post("/v1/keys", json={"name": "x", "scopes": ["read"], "expires_at": moment})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["expires_at"]


def test_bounds_are_numbers_that_every_reader_of_json_takes_for_what_they_are(client: TestClient) -> None:
    for name in ("max_steps", "max_memory_bytes"):
        assert _made(client, **{name: 2**53 - 1})[name] == 2**53 - 1
        response = client.post("/v1/keys", json={"name": "x", "scopes": ["read"], name: 2**53})
        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [name]


def test_rotation(client: TestClient) -> None:
    made = _made(client)
    changed = client.post(f"/v1/keys/{made['id']}/rotate?overlap_seconds=60").json()
    assert changed["id"] == made["id"]
    assert [_status(client, key) for key in (made["key"], changed["key"])] == [200, 200]
    again = client.post(f"/v1/keys/{made['id']}/rotate").json()
    assert [_status(client, key) for key in (made["key"], changed["key"], again["key"])] == [401, 401, 200]
    assert again["previous_expires_at"] is None
    listed = client.get("/v1/keys").json()
    [shown] = [row for row in listed["data"] if row["id"] == made["id"]]
    assert shown["rotated_at"] == again["rotated_at"]
    assert all(row["key"] not in str(listed) for row in (made, changed, again))
    assert client.post(f"/v1/keys/{made['id']}/rotate?overlap_seconds=-1").status_code == 422


def test_when_a_key_was_last_used_is_known_and_not_written_within_requests(
    client: TestClient, app: FastAPI, store: Store
) -> None:
    made = _made(client)
    ledger = app.state.context.ledger

    def last_used() -> datetime | None:
        ledger.flush()
        with store.read() as connection:
            return next(key.last_used_at for key in keys.list_keys(connection) if key.id == made["id"])

    assert last_used() is None
    assert _status(client, made["key"]) == 200
    first = last_used()
    assert first is not None
    time.sleep(0.01)
    assert _status(client, made["key"]) == 200
    assert last_used() == first  # once a minute is enough
    ledger._noted.clear()
    assert _status(client, made["key"]) == 200
    again = last_used()
    assert again is not None
    assert again > first
