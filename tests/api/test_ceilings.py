"""Ceilings of what a job may be predicted to take: of the settings, and lower ones of keys."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs import keys
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import SPEC


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_job_steps": 500, "max_job_memory_bytes": 8 << 30, "max_job_processes": 4})


def _key(store: Store, **ceilings: int) -> dict[str, str]:
    with store.write() as connection:
        _, plain = keys.create(connection, store.key_secret, name="x", scopes=["write"], **ceilings)
    return {"Authorization": f"Bearer {plain}"}


def _ask(client: TestClient, headers: dict[str, str], query: str = "", **changes: Any) -> Any:
    return client.post(f"/v1/jobs{query}", json={**SPEC, **changes}, headers=headers)


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_job_over_a_ceiling_is_refused_with_what_is_allowed(client: TestClient, store: Store, query: str) -> None:
    plan = _ask(client, _key(store), "?dry_run=true", training={"epochs": 2}).json()
    per_epoch, memory = plan["steps_per_epoch"], plan["memory_bytes"]
    key = _key(store, max_steps=3 * per_epoch, max_memory_bytes=memory)
    assert _ask(client, key, query, training={"epochs": 3}).status_code in {200, 201}
    refused = _ask(client, key, query, training={"epochs": 4, "batch_size": 1000})
    assert refused.status_code == 422
    [error] = [error for error in refused.json()["errors"] if error["field"] == "training.batch_size"]
    assert str(memory) in error["message"]
    fits = error["allowed"]["maximum"]
    assert _ask(client, key, query, training={"epochs": 1, "batch_size": fits}).status_code in {200, 201}

    long = _ask(client, key, query, training={"epochs": 4})
    [error] = long.json()["errors"]
    assert (error["field"], error["allowed"]) == ("training.epochs", {"maximum": 3})


def test_the_batch_that_is_said_to_fit_does_and_the_next_larger_does_not(client: TestClient, store: Store) -> None:
    plan = _ask(client, _key(store), "?dry_run=true", training={"epochs": 1, "batch_size": 101}).json()
    key = _key(store, max_memory_bytes=plan["memory_bytes"] - 1)
    [error] = _ask(client, key, training={"epochs": 1, "batch_size": 1024}).json()["errors"]
    assert (error["field"], error["allowed"]) == ("training.batch_size", {"maximum": 100})
    assert _ask(client, key, training={"epochs": 1, "batch_size": 100}).status_code == 201
    assert _ask(client, key, training={"epochs": 1, "batch_size": 101}).status_code == 422


def test_a_network_that_is_too_large_whatever_its_batch(client: TestClient, store: Store) -> None:
    refused = _ask(client, _key(store, max_memory_bytes=1 << 20))
    [error] = refused.json()["errors"]
    assert error["field"] == "architecture"
    assert str(1 << 20) in error["message"]


def test_an_epoch_that_is_too_long(client: TestClient, store: Store) -> None:
    refused = _ask(client, _key(store, max_steps=2), training={"epochs": 1, "batch_size": 64})
    [error] = refused.json()["errors"]
    assert error["field"] == "training.batch_size"
    fits = error["allowed"]["minimum"]
    assert _ask(client, _key(store, max_steps=2), training={"epochs": 1, "batch_size": fits}).status_code == 201


@pytest.mark.parametrize(
    ("processes", "training", "most"),
    [(5, {}, 4), (3, {"batch_size": 16, "accumulate": 8, "epochs": 1}, 2)],
    ids=["ceiling", "batch"],
)
def test_more_processes_than_are_allowed_or_have_images(
    client: TestClient, store: Store, processes: int, training: dict[str, Any], most: int
) -> None:
    refused = _ask(client, _key(store), training=training, parallel={"processes": processes})
    [error] = refused.json()["errors"]
    assert (error["field"], error["allowed"]) == ("parallel.processes", {"maximum": most})
    alone = _ask(client, _key(store), "?dry_run=true", training=training).json()
    divided = _ask(client, _key(store), "?dry_run=true", training=training, parallel={"processes": most}).json()
    assert alone["memory_bytes"] < divided["memory_bytes"] < (most + 2) * alone["memory_bytes"]


def test_a_keys_own_ceiling_lies_below_that_of_the_settings(client: TestClient, store: Store) -> None:
    for key in (_key(store), _key(store, max_steps=10**9)):
        [error] = _ask(client, key, training={"epochs": 1000}).json()["errors"]
        assert "may take 500" in error["message"]


def test_a_key_makes_none_with_higher_ceilings_than_its_own(client: TestClient, store: Store) -> None:
    with store.write() as connection:
        _, plain = keys.create(connection, store.key_secret, name="x", scopes=["admin"], max_steps=100)
    for asked, given in ((None, 100), (10**6, 100), (7, 7)):
        made = client.post(
            "/v1/keys",
            json={"name": "y", "scopes": ["write"], "max_steps": asked},
            headers={"Authorization": f"Bearer {plain}"},
        )
        assert (made.json()["max_steps"], made.json()["max_memory_bytes"]) == (given, None)


def test_everything_wrong_is_told_at_once(client: TestClient, store: Store) -> None:
    key = _key(store, max_steps=1, max_memory_bytes=1)
    refused = _ask(client, key, training={"epochs": 5, "warmup_steps": 10**6}, timeout_seconds=1)
    fields = {error["field"] for error in refused.json()["errors"]}
    assert fields == {"training.batch_size", "training.warmup_steps", "architecture"}
