"""The same request twice has one effect: answers are kept under key, route and Idempotency-Key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, delete, select, update

from jobs import database
from jobs.errors import IdempotencyConflictError
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import idempotency

# Built once: every submission needs them, and to build them takes longer than the database needs for some.
_SAME = [idempotency.c[name] == bindparam(f"of_{name}") for name in ("key_id", "route", "idempotency_key")]
_FIND = select(idempotency).where(*_SAME)
_KEEP = update(idempotency).where(*_SAME).values(status=bindparam("new_status"), body=bindparam("new_body"))


@dataclass(frozen=True)
class Answer:
    """The answer to a creating request. ``replayed``: it was given before, and nothing was created now."""

    status: int
    body: Any
    replayed: bool = False


def once(
    store: Store,
    create: Callable[[Connection], tuple[int, Any]],
    *,
    key_id: str,
    route: str,
    idempotency_key: str | None,
    request: bytes,
) -> Answer:
    """Run ``create`` in a transaction, together with the memory of its answer; or give the answer of the first time.

    Args:
        store: where to write.
        create: does the work; returns the status and the body (fit for JSON) of the answer. What it raises is not kept.
        key_id: the API key's id.
        route: method and path, e.g. ``POST /v1/jobs``.
        idempotency_key: what the client sent; ``None``: no memory, every request counts.
        request: the request's body, to tell a repetition from another request under the same key.

    Raises:
        IdempotencyConflictError: the key came with another request before.
    """
    if idempotency_key is None:
        with store.write() as connection:
            status, body = create(connection)
        return Answer(status, body)
    digest = hashlib.sha256(request).hexdigest()
    identity = {"key_id": key_id, "route": route, "idempotency_key": idempotency_key}
    while True:
        with store.write() as connection:
            # On PostgreSQL a second request waits here for the end of the first one's transaction.
            if _reserve(connection, identity, digest):
                status, body = create(connection)
                connection.execute(_KEEP, {**_named(identity), "new_status": status, "new_body": json.dumps(body)})
                return Answer(status, body)
            if (found := _find(connection, identity, digest)) is not None:
                return found
        # Purged between the two statements: it is a new request.


def _reserve(connection: Connection, identity: dict[str, str], digest: str) -> bool:
    """Take the place of an answer, which nobody sees before the commit; ``False``: there is one already."""
    values = {**identity, "request_sha256": digest, "status": 0, "body": ""}
    return connection.execute(_insert(connection.dialect.name), values).one_or_none() is not None


@cache
def _insert(dialect: str) -> Executable:
    """The statement that takes the place of an answer, unless there is one."""
    statement = database.insert_for(dialect, idempotency).values(created_at=now()).on_conflict_do_nothing()
    return statement.returning(idempotency.c.key_id)


def forget(connection: Connection, *, key_id: str, route: str, idempotency_key: str | None) -> None:
    """Forget an answer whose effect was undone, so that the same request is worked on anew; none is no error."""
    connection.execute(
        delete(idempotency).where(
            idempotency.c.key_id == key_id,
            idempotency.c.route == route,
            idempotency.c.idempotency_key == idempotency_key,
        )
    )


def purge(connection: Connection, *, older_than_seconds: float) -> int:
    """Forget old answers; return how many."""
    return connection.execute(delete(idempotency).where(idempotency.c.created_at < now(-older_than_seconds))).rowcount


def _find(connection: Connection, identity: dict[str, str], digest: str) -> Answer | None:
    row = connection.execute(_FIND, _named(identity)).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != digest:
        raise IdempotencyConflictError(
            "this Idempotency-Key came with another request before; use a new key for a new request"
        )
    return Answer(row.status, json.loads(row.body), replayed=True)


def _named(identity: dict[str, str]) -> dict[str, str]:
    return {f"of_{column}": value for column, value in identity.items()}
