"""The outbox of webhooks: what is to be told, and what became of it.

A row is inserted in the transaction of what it tells, so that a crash loses nothing. Whoever delivers takes a row on
for a while (the attempt's number fences off every earlier one), sends it, and writes down the outcome; a crash in
between has it sent once more, under the same id. At least once, in no promised order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, delete, func, select, update
from sqlalchemy import insert as sql_insert

from jobs import webhooks
from jobs.errors import NotFoundError, WebhookDisabledError
from jobs.events import clean
from jobs.ids import new_id
from jobs.records import Page
from jobs.sqltypes import now
from jobs.tables import deliveries as table
from jobs.tables import webhooks as webhook_table
from jobs.webhooks import Webhook

DeliveryState: TypeAlias = Literal["pending", "delivered", "failed"]

# Seconds before each further attempt, as the Standard Webhooks specification recommends: ten attempts in three days.
SCHEDULE: tuple[float, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
MOST_FAILURES = 50
"""Failed attempts in a row after which a webhook is disabled."""
TEST_EVENT = "webhook.test"
_LOG_LENGTH = 20
_AT_ONCE_PER_WEBHOOK = 4
_GONE = 410
_SLOWEST_JITTER = 1.25


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended: the answer's status, or why there was none."""

    status: int | None
    error: str | None
    milliseconds: int

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took it: any 2xx."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Delivery:
    """One message to one webhook. ``log``: its newest attempts (``at``, ``status``, ``error``, ``milliseconds``)."""

    id: str
    webhook_id: str
    type: str
    body: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    log: list[dict[str, Any]]
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Due:
    """A delivery that this process has taken on. ``tries``: since it was made or replayed, this one included."""

    delivery: Delivery
    webhook: Webhook
    tries: int


def publish(connection: Connection, organisation: str, type_: str, data: Mapping[str, Any]) -> int:
    """Insert what happened for every webhook of the organisation that wants to hear of it; return how many do."""
    query = select(webhook_table.c.id, webhook_table.c.events).where(wanted_by(organisation))
    hearers = [row.id for row in connection.execute(query) if not row.events or type_ in row.events]
    if hearers:
        _insert(connection, hearers, type_, data)
    return len(hearers)


def wanted_by(organisation: Any) -> ColumnElement[bool]:
    """The condition on webhooks that something of the organisation is sent to them."""
    return and_(webhook_table.c.organisation_id == organisation, webhook_table.c.disabled_at.is_(None))


def test(connection: Connection, webhook_id: str, *, organisation: str) -> Delivery:
    """Have a message sent that says nothing but that it can be.

    Raises:
        NotFoundError: there is no such webhook.
        WebhookDisabledError: it is disabled.
    """
    _enabled(connection, webhook_id, organisation)
    data = {"webhook": webhook_id, "message": "this is a test"}
    return _insert(connection, [webhook_id], TEST_EVENT, data)[0]


def replay(connection: Connection, webhook_id: str, delivery_id: str, *, organisation: str) -> Delivery:
    """Send a delivery again, under the same id and from the beginning of the schedule, whatever became of it.

    Raises:
        NotFoundError: there is no such webhook or delivery.
        WebhookDisabledError: the webhook is disabled.
    """
    _enabled(connection, webhook_id, organisation)
    statement = (
        update(table)
        .where(table.c.id == delivery_id, table.c.webhook_id == webhook_id)
        .values(state="pending", tries=0, next_attempt_at=now(), finished_at=None)
        .returning(table)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFoundError("delivery", delivery_id)
    return _delivery(row)


def list_deliveries(
    connection: Connection,
    webhook_id: str,
    *,
    organisation: str,
    after: str | None = None,
    limit: int = 50,
    state: DeliveryState | None = None,
) -> Page[Delivery]:
    """A webhook's deliveries, newest first, those before the one with id ``after``; raises NotFoundError."""
    webhooks.get(connection, webhook_id, organisation=organisation)
    query = select(table).where(table.c.webhook_id == webhook_id)
    if after is not None:
        query = query.where(table.c.id < after)
    if state is not None:
        query = query.where(table.c.state == state)
    rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit + 1)).all()
    return Page([_delivery(row) for row in rows[:limit]], has_more=len(rows) > limit)


def claim(
    connection: Connection, limit: int, lease_seconds: float, *, busy: Mapping[str, int] | None = None
) -> list[Due]:
    """Take on deliveries that are due, a few of each webhook, so that a slow receiver delays nobody else's.

    ``busy``: how many of each webhook the caller is already at.
    """
    found: list[str] = []
    for webhook_id in connection.scalars(_hearers()).all():
        room = min(limit - len(found), _AT_ONCE_PER_WEBHOOK - (busy or {}).get(webhook_id, 0))
        if room > 0:
            found += connection.scalars(_next(webhook_id, room))
    if not found:
        return []
    values = {"attempts": table.c.attempts + 1, "tries": table.c.tries + 1, "next_attempt_at": now(lease_seconds)}
    statement = update(table).where(table.c.id.in_(found), _due()).values(**values).returning(table)
    rows = connection.execute(statement).all()
    ids = {row.webhook_id for row in rows}
    owners = {row.id: row.organisation_id for row in connection.execute(_organisations(ids))}
    hooks = {id_: webhooks.get(connection, id_, organisation=owner) for id_, owner in owners.items()}
    return [Due(_delivery(row), hooks[row.webhook_id], row.tries) for row in rows]


def anything_due(connection: Connection) -> bool:
    """Whether there is something to send now."""
    return connection.execute(_hearers().limit(1)).first() is not None


def finish(
    connection: Connection,
    due: Due,
    attempt: Attempt,
    *,
    schedule: Sequence[float] = SCHEDULE,
    most_failures: int = MOST_FAILURES,
) -> Webhook | None:
    """Write down how an attempt ended, and when the next one is; return the webhook if that disabled it.

    Nothing is written if the delivery was taken on by somebody else meanwhile, or is gone.
    """
    entry = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **vars(attempt)}
    values: dict[str, Any] = {"log": clean([*due.delivery.log, entry][-_LOG_LENGTH:])}
    if attempt.succeeded:
        values |= {"state": "delivered", "next_attempt_at": None, "finished_at": now()}
    elif attempt.status == _GONE or due.tries > len(schedule):
        values |= {"state": "failed", "next_attempt_at": None, "finished_at": now()}
    else:
        wait = schedule[due.tries - 1] * random.uniform(1, _SLOWEST_JITTER)  # noqa: S311 - no secret
        values |= {"next_attempt_at": now(wait)}
    mine = (table.c.id == due.delivery.id) & (table.c.attempts == due.delivery.attempts) & (table.c.state == "pending")
    if connection.execute(update(table).where(mine).values(**values)).rowcount == 0:
        return None
    return _count(connection, due.webhook, attempt, most_failures)


def counts(connection: Connection) -> dict[DeliveryState, int]:
    """How many deliveries are kept in each state."""
    rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state)).all()
    found: dict[DeliveryState, int] = {"pending": 0, "delivered": 0, "failed": 0}
    return found | {row[0]: row[1] for row in rows}


def purge(connection: Connection, *, older_than_seconds: float) -> int:
    """Forget old deliveries, those that still wait for a disabled webhook as well; return how many."""
    return connection.execute(delete(table).where(table.c.created_at < now(-older_than_seconds))).rowcount


def _insert(connection: Connection, hearers: Sequence[str], type_: str, data: Mapping[str, Any]) -> list[Delivery]:
    instant = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps({"type": type_, "timestamp": instant, "data": clean(data)}, ensure_ascii=False)
    common = {"type": type_, "body": body, "state": "pending", "log": [], "next_attempt_at": now(), "created_at": now()}
    rows = [{"id": new_id("msg"), "webhook_id": webhook_id, **common} for webhook_id in hearers]
    return [_delivery(row) for row in connection.execute(sql_insert(table).values(rows).returning(table))]


def _enabled(connection: Connection, webhook_id: str, organisation: str) -> None:
    if webhooks.get(connection, webhook_id, organisation=organisation).disabled_at is not None:
        raise WebhookDisabledError(f"webhook {webhook_id} is disabled; enable it first")


def _count(connection: Connection, webhook: Webhook, attempt: Attempt, most_failures: int) -> Webhook | None:
    """Count failures in a row; return the webhook if they are too many, and it is disabled now."""
    mine = webhook_table.c.id == webhook.id
    if attempt.succeeded:
        connection.execute(update(webhook_table).where(mine, webhook_table.c.failures > 0).values(failures=0))
        return None
    failures = webhook_table.c.failures + 1
    if attempt.status == _GONE:
        reason, over = "the receiver answered that it is gone (410)", failures > 0
    else:
        reason, over = f"{most_failures} attempts in a row failed", failures >= most_failures
    values = {
        "failures": failures,
        "disabled_at": case((over, now()), else_=None),
        "disabled_reason": case((over, reason), else_=None),
    }
    statement = update(webhook_table).where(mine, webhook_table.c.disabled_at.is_(None)).values(**values)
    row = connection.execute(statement.returning(webhook_table.c.disabled_at)).one_or_none()
    if row is None or row.disabled_at is None:
        return None
    return webhooks.get(connection, webhook.id, organisation=webhook.organisation_id)


def _due() -> ColumnElement[bool]:
    return (table.c.state == "pending") & (table.c.next_attempt_at <= now())


@cache
def _hearers() -> Select[Any]:
    """Enabled webhooks that something is due for, the one that has waited longest first."""
    return (
        select(table.c.webhook_id)
        .join(webhook_table, webhook_table.c.id == table.c.webhook_id)
        .where(_due(), webhook_table.c.disabled_at.is_(None))
        .group_by(table.c.webhook_id)
        .order_by(func.min(table.c.next_attempt_at))
    )


def _next(webhook_id: str, room: int) -> Select[Any]:
    query = select(table.c.id).where(_due(), table.c.webhook_id == webhook_id)
    return query.order_by(table.c.next_attempt_at, table.c.id).limit(room).with_for_update(skip_locked=True)


def _organisations(ids: Collection[str]) -> Select[Any]:
    return select(webhook_table.c.id, webhook_table.c.organisation_id).where(webhook_table.c.id.in_(ids))


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        type=row.type,
        body=row.body,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        log=row.log,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
