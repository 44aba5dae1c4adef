"""The audit log: who changed what, when, from where, with what outcome. Rows are only added, and purged by age.

Not to be confused with :mod:`jobs.audit`, which compares rows with files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection, delete, insert, select

from jobs.ids import new_id
from jobs.organisations import within
from jobs.records import Page
from jobs.sqltypes import now
from jobs.tables import DEFAULT_ORGANISATION
from jobs.tables import audit_log as table

Actor: TypeAlias = Literal["key", "admin command", "service"]
_LONGEST_RESOURCE = 200


@dataclass(frozen=True)
class Entry:
    """One change, or the attempt at one.

    ``actor``: a key over HTTP, an `fqt admin` command on a machine of the service, or the service itself, which says
    that entries were lost. ``action`` is the operation's id in the OpenAPI document, or the command. ``status`` is the
    HTTP status of the answer; ``None`` where there is none.
    """

    action: str
    organisation_id: str = DEFAULT_ORGANISATION
    actor: Actor = "key"
    key_id: str | None = None
    key_prefix: str | None = None
    method: str | None = None
    resource_id: str | None = None
    status: int | None = None
    request_id: str | None = None
    address: str | None = None
    id: str = field(default_factory=lambda: new_id("aud"))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add entries."""
    rows = [asdict(entry) | {"resource_id": (entry.resource_id or "")[:_LONGEST_RESOURCE] or None} for entry in entries]
    if rows:
        connection.execute(insert(table), rows)


def list_entries(
    connection: Connection,
    *,
    organisation: str | None = None,
    after: str | None = None,
    limit: int = 50,
    action: str | None = None,
    key: str | None = None,
    resource: str | None = None,
) -> Page[Entry]:
    """Entries of the organisation (``None``: of all), newest first, those before the one with id ``after``.

    ``action``, ``key`` (an id) and ``resource`` (an id) keep those that are exactly of these.
    """
    query = select(table).where(within(table, organisation)).order_by(table.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(table.c.id < after)
    for column, value in ((table.c.action, action), (table.c.key_id, key), (table.c.resource_id, resource)):
        if value is not None:
            query = query.where(column == value)
    rows = connection.execute(query).all()
    entries = [Entry(**{column.name: getattr(row, column.name) for column in fields(Entry)}) for row in rows[:limit]]
    return Page(entries, has_more=len(rows) > limit)


def purge(connection: Connection, *, older_than_seconds: float) -> int:
    """Remove old entries; return how many."""
    return connection.execute(delete(table).where(table.c.created_at < now(-older_than_seconds))).rowcount
