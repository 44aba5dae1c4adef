from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from jobs import idempotency, jobs, keys
from jobs.errors import IdempotencyConflictError
from jobs.idempotency import Answer
from jobs.store import Store
from tests.jobs.helpers import spec


@pytest.fixture
def key_id(store: Store) -> str:
    with store.write() as connection:
        return keys.create(connection, store.key_secret, name="a", scopes=["write"])[0].id


def post(store: Store, key_id: str, idempotency_key: str | None, request: bytes = b"{}", **changes: Any) -> Answer:
    def create(connection: Connection) -> tuple[int, Any]:
        return 201, {"id": jobs.create(connection, spec()).id}

    options = {"key_id": key_id, "route": "POST /v1/jobs", "idempotency_key": idempotency_key, "request": request}
    return idempotency.once(store, create, **(options | changes))


def count(store: Store) -> int:
    with store.read() as connection:
        return len(jobs.list_jobs(connection, limit=100).data)


def test_the_same_request_twice_makes_one_job_and_gets_one_answer(store: Store, key_id: str) -> None:
    first, again = post(store, key_id, "k"), post(store, key_id, "k")
    assert (first.replayed, again.replayed) == (False, True)
    assert (first.status, first.body) == (again.status, again.body)
    assert count(store) == 1


def test_another_body_under_the_same_key_is_refused(store: Store, key_id: str) -> None:
    post(store, key_id, "k")
    with pytest.raises(IdempotencyConflictError):
        post(store, key_id, "k", b'{"other": 1}')
    assert count(store) == 1


def test_routes_clients_and_missing_keys_are_apart(store: Store, key_id: str) -> None:
    with store.write() as connection:
        other, _ = keys.create(connection, store.key_secret, name="b", scopes=["write"])
    answers = [
        post(store, key_id, "k"),
        post(store, key_id, "k", route="POST /v1/other"),
        post(store, other.id, "k"),
        post(store, key_id, None),
        post(store, key_id, None),
    ]
    assert not any(answer.replayed for answer in answers)
    assert count(store) == 5


def test_at_the_same_time_one_request_wins(store: Store, key_id: str) -> None:
    gate, answers = threading.Barrier(5), []

    def send() -> None:
        gate.wait()
        answers.append(post(store, key_id, "k"))

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.replayed for answer in answers) == [False, True, True, True, True]
    assert len({answer.body["id"] for answer in answers}) == 1
    assert count(store) == 1


def test_what_fails_is_not_remembered(store: Store, key_id: str) -> None:
    def fail(_: Connection) -> tuple[int, Any]:
        raise RuntimeError("broken")

    options: dict[str, Any] = {"key_id": key_id, "route": "POST /v1/jobs", "idempotency_key": "k", "request": b"{}"}
    with pytest.raises(RuntimeError):
        idempotency.once(store, fail, **options)
    assert not post(store, key_id, "k").replayed
    with pytest.raises(IntegrityError):  # a fault of another kind is not taken for a repetition
        post(store, "key_that_is_not_there", "k")


def test_old_answers_are_forgotten(store: Store, key_id: str) -> None:
    post(store, key_id, "k")
    with store.write() as connection:
        assert idempotency.purge(connection, older_than_seconds=60) == 0
        assert idempotency.purge(connection, older_than_seconds=-1) == 1
    assert not post(store, key_id, "k").replayed
