"""Webhooks: where an organisation wants to hear of events. What is told is in :mod:`jobs.deliveries`.

The secret that deliveries are signed with is stored nowhere. It is the HMAC-SHA256 of the webhook's id and a random
salt under the service's own secret (``FQT_SECRET``), made anew for each signature: who reads the database alone cannot
sign.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, select, update
from sqlalchemy import insert as sql_insert

from jobs.errors import NotFoundError, TooManyWebhooksError
from jobs.ids import new_id
from jobs.organisations import within
from jobs.records import Page
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.tables import webhooks

WebhookEvent: TypeAlias = Literal[
    "job.started",
    "job.queued",
    "job.paused",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "dataset.ready",
    "dataset.invalid",
]
EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)
MOST_PER_ORGANISATION = 50
OVERLAP_SECONDS = 24 * 3600.0
"""How long the secret before a rotation signs as well."""

# The events that a move to a state is; what is only asked for (pausing, cancelling) is none.
OF_STATE: dict[JobState, WebhookEvent] = {
    JobState.RUNNING: "job.started",
    JobState.QUEUED: "job.queued",
    JobState.PAUSED: "job.paused",
    JobState.SUCCEEDED: "job.succeeded",
    JobState.FAILED: "job.failed",
    JobState.CANCELLED: "job.cancelled",
}


@dataclass(frozen=True)
class Webhook:
    """A webhook. ``events`` empty: all. ``failures``: failed attempts in a row. ``salts``: of the secrets that sign."""

    id: str
    organisation_id: str
    url: str
    description: str | None
    events: list[WebhookEvent]
    failures: int
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime
    salts: tuple[str, ...]

    def secrets(self, key_secret: bytes) -> list[str]:
        """The secrets that count now, the newest first: after a rotation, for a day, the one before as well."""
        return [_secret(key_secret, self.id, salt) for salt in self.salts]


def create(
    connection: Connection,
    *,
    organisation: str,
    url: str,
    events: Sequence[WebhookEvent] = (),
    description: str | None = None,
    created_by: str | None = None,
) -> Webhook:
    """Make a webhook; the caller has looked at the address. ``events`` empty: all of them.

    Raises:
        TooManyWebhooksError: the organisation has as many as it may.
    """
    count = select(func.count()).select_from(webhooks).where(within(webhooks, organisation))
    if connection.execute(count).scalar_one() >= MOST_PER_ORGANISATION:
        raise TooManyWebhooksError(MOST_PER_ORGANISATION)
    values = {
        "id": new_id("whk"),
        "organisation_id": organisation,
        "url": url,
        "description": description,
        "events": list(events),
        "salt": secrets.token_hex(32),
        "created_by": created_by,
        "created_at": now(),
    }
    return _webhook(connection.execute(sql_insert(webhooks).values(values).returning(*_columns())).one())


def get(connection: Connection, webhook_id: str, *, organisation: str) -> Webhook:
    """The webhook; raises NotFoundError."""
    row = connection.execute(select(*_columns()).where(_mine(webhook_id, organisation))).one_or_none()
    if row is None:
        raise NotFoundError("webhook", webhook_id)
    return _webhook(row)


def list_webhooks(
    connection: Connection, *, organisation: str, after: str | None = None, limit: int = 50
) -> Page[Webhook]:
    """The organisation's webhooks, newest first, those before the one with id ``after``."""
    query = select(*_columns()).where(within(webhooks, organisation))
    if after is not None:
        query = query.where(webhooks.c.id < after)
    rows = connection.execute(query.order_by(webhooks.c.id.desc()).limit(limit + 1)).all()
    return Page([_webhook(row) for row in rows[:limit]], has_more=len(rows) > limit)


def remove(connection: Connection, webhook_id: str, *, organisation: str) -> None:
    """Delete a webhook with its deliveries, those that wait as well; raises NotFoundError."""
    if connection.execute(delete(webhooks).where(_mine(webhook_id, organisation))).rowcount == 0:
        raise NotFoundError("webhook", webhook_id)


def rotate(connection: Connection, webhook_id: str, *, organisation: str) -> Webhook:
    """Give a webhook a new secret; the one before signs as well for :data:`OVERLAP_SECONDS`. Raises NotFoundError."""
    values = {
        "salt": secrets.token_hex(32),
        "old_salt": webhooks.c.salt,
        "old_salt_expires_at": now(OVERLAP_SECONDS),
    }
    return _changed(connection, webhook_id, organisation, values)


def enable(connection: Connection, webhook_id: str, *, organisation: str) -> Webhook:
    """Send to a webhook again that was disabled, also what has waited meanwhile; raises NotFoundError."""
    values = {"failures": 0, "disabled_at": None, "disabled_reason": None}
    return _changed(connection, webhook_id, organisation, values)


def _changed(connection: Connection, webhook_id: str, organisation: str, values: dict[str, Any]) -> Webhook:
    statement = update(webhooks).where(_mine(webhook_id, organisation)).values(**values).returning(*_columns())
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFoundError("webhook", webhook_id)
    return _webhook(row)


def _mine(webhook_id: str, organisation: str) -> ColumnElement[bool]:
    return (webhooks.c.id == webhook_id) & within(webhooks, organisation)


def _columns() -> list[Any]:
    valid = case((webhooks.c.old_salt_expires_at > now(), webhooks.c.old_salt)).label("valid_old_salt")
    return [*webhooks.c, valid]


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        organisation_id=row.organisation_id,
        url=row.url,
        description=row.description,
        events=row.events,
        failures=row.failures,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        created_at=row.created_at,
        salts=(row.salt,) if row.valid_old_salt is None else (row.salt, row.valid_old_salt),
    )


def _secret(key_secret: bytes, webhook_id: str, salt: str) -> str:
    """``whsec_`` and 32 bytes in base 64, as the Standard Webhooks scheme writes it."""
    derived = hmac.new(key_secret, f"fqt webhook {webhook_id} {salt}".encode(), hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(derived).decode()
