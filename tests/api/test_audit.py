"""The audit log: who changed what, with what outcome; and what of it may get lost, which is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from api import ledger as ledgers
from jobs import audit_log, keys, organisations
from jobs.audit_log import Entry
from jobs.reaper import Reaper
from jobs.store import Store
from tests.api.conftest import SPEC, RecordingDoorbell, archive, key_with, submit


@pytest.fixture
def entries(client: TestClient, app: FastAPI) -> Any:
    """The audit log, with what was noted until now."""

    def read(**filters: Any) -> list[dict[str, Any]]:
        app.state.context.ledger.flush()
        response = client.get("/v1/audit", params={"limit": 100, **filters})
        assert response.status_code == 200, response.text
        return list(response.json()["data"])

    return read


def test_every_change_is_there_with_who_what_and_its_outcome(client: TestClient, entries: Any, store: Store) -> None:
    job_id = submit(client)
    client.post(f"/v1/jobs/{job_id}/cancel", headers={"X-Request-ID": "mine-1"})
    client.post(f"/v1/jobs/{job_id}/pause")
    client.delete(f"/v1/jobs/{job_id}")
    client.get("/v1/jobs")
    uploaded = client.post("/v1/datasets?wait=0", files={"file": ("a.zip", archive())}).json()["id"]
    made = client.post("/v1/keys", json={"name": "x", "scopes": ["read"]}).json()["id"]
    found = entries()[::-1]
    assert [(row["actor"], row["action"]) for row in found[:1]] == [("service", "first key")]
    assert [(row["method"], row["action"], row["resource"], row["status"]) for row in found[1:]] == [
        ("POST", "create_job", job_id, 201),
        ("POST", "cancel_job", job_id, 200),
        ("POST", "pause_job", job_id, 409),
        ("DELETE", "delete_job", job_id, 204),
        ("POST", "upload_dataset", uploaded, 202),
        ("POST", "create_key", made, 201),
    ]
    with store.read() as connection:
        first = keys.list_keys(connection)[-1]
    for row in found[1:]:
        assert (row["key"], row["key_prefix"], row["organisation"]) == (first.id, first.prefix, "org_default")
        assert row["address"] == "testclient"
        assert row["request_id"]
    assert found[2]["request_id"] == "mine-1"


def test_what_is_refused_is_there_too_but_for_what_has_no_valid_key(
    client: TestClient, entries: Any, store: Store
) -> None:
    reader = key_with(store, "read")
    absent = "job_" + "0" * 26
    before = len(entries())
    assert client.post("/v1/jobs", json=SPEC, headers=reader).status_code == 403
    assert client.post("/v1/jobs", json={"dataset": "none"}).status_code == 422
    assert client.post(f"/v1/jobs/{absent}/cancel").status_code == 404
    assert client.put(f"/v1/jobs/{absent}").status_code == 405
    assert client.post("/v1/nothing").status_code == 404
    for _ in range(20):
        assert client.post("/v1/jobs", headers={"Authorization": "Bearer none"}).status_code == 401
    found = entries()
    assert [(row["action"], row["status"], row["resource"]) for row in found[: len(found) - before]] == [
        ("unknown", 404, None),
        ("unknown", 405, absent),
        ("cancel_job", 404, absent),
        ("create_job", 422, None),
        ("create_job", 403, None),
    ]
    assert _figure(client, "fqt_unauthenticated_requests_total") == 20


def test_filters_and_pages(client: TestClient, entries: Any, store: Store) -> None:
    ids = [submit(client) for _ in range(3)]
    headers = key_with(store, "write")
    client.post(f"/v1/jobs/{ids[0]}/cancel", headers=headers)
    assert [row["resource"] for row in entries(action="create_job")] == ids[::-1]
    assert [row["action"] for row in entries(resource=ids[0])] == ["cancel_job", "create_job"]
    [cancel] = entries(action="cancel_job")
    assert [row["id"] for row in entries(key=cancel["key"])] == [cancel["id"]]
    seen: list[str] = []
    page: dict[str, Any] = {"has_more": True}
    while page["has_more"]:
        after = {"after": seen[-1]} if seen else {}
        page = client.get("/v1/audit", params={"limit": 2, **after}).json()
        seen += [row["id"] for row in page["data"]]
    assert seen == [row["id"] for row in entries()]
    for wrong in ({"after": "x"}, {"key": "x"}, {"limit": 0}, {"resource": "x" * 201}, {"kind": "y"}):
        assert client.get("/v1/audit", params=wrong).status_code == 422


def test_each_organisation_reads_its_own(client: TestClient, entries: Any, store: Store) -> None:
    with store.write() as connection:
        other = organisations.create(connection, "others")
        _, plain = keys.create(connection, store.key_secret, name="a", scopes=["admin"], organisation=other.id)
    theirs = {"Authorization": f"Bearer {plain}"}
    mine = submit(client)
    assert client.post(f"/v1/jobs/{mine}/cancel", headers=theirs).status_code == 404
    assert [row["action"] for row in entries()] == ["create_job", "first key"]
    [row] = client.get("/v1/audit", headers=theirs).json()["data"]
    assert (row["action"], row["status"], row["organisation"]) == ("cancel_job", 404, other.id)


@contextmanager
def _database_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise OperationalError("BEGIN", {}, Exception("the server is gone"))

    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "write", refuse)
        yield


def test_what_the_database_refuses_is_kept_and_what_is_too_much_is_counted(
    client: TestClient, app: FastAPI, entries: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("fqt.api.audit").setLevel("CRITICAL")
    monkeypatch.setattr(ledgers, "_CAPACITY", 5)
    with _database_away(store, monkeypatch):
        made = [submit(client) for _ in range(5)]
        app.state.context.ledger.flush()
        lost = [submit(client) for _ in range(2)]
    found = entries()
    assert {row["resource"] for row in found} >= set(made)
    assert not {row["resource"] for row in found} & set(lost)
    [told] = [row for row in found if row["action"] == "entries lost"]
    assert (told["actor"], told["resource"]) == ("service", "2 entries")
    assert _figure(client, "fqt_audit_entries_lost_total") == 2


def test_what_was_noted_is_written_when_the_process_ends(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    client.__exit__(None, None, None)
    reopened = Store.open(store.settings)
    with reopened.read() as connection:
        assert audit_log.list_entries(connection).data[0].resource_id == job_id
    reopened.close()
    client.__enter__()


def test_old_entries_are_removed(client: TestClient, store: Store) -> None:
    with store.write() as connection:
        audit_log.write(connection, [Entry(action="new"), Entry(action="old", created_at=_long_ago())])
    Reaper(store, RecordingDoorbell()).run_once()
    with store.read() as connection:
        actions = {entry.action for entry in audit_log.list_entries(connection).data}
    assert "new" in actions
    assert "old" not in actions


def _long_ago() -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) - timedelta(days=366)


def _figure(client: TestClient, name: str) -> float:
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                return float(sample.value)
    raise AssertionError(name)
