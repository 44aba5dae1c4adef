"""Commands that change something straight in the store stand in the audit log as those of keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


def note(connection: Connection, action: str, resource: str | None = None, *, organisation: str | None = None) -> None:
    """Write in this transaction that an admin command did ``action``, to ``resource`` of ``organisation``."""
    from jobs import audit_log  # noqa: PLC0415 - commands are quick to load
    from jobs.tables import DEFAULT_ORGANISATION  # noqa: PLC0415

    entry = audit_log.Entry(
        action=action,
        actor="admin command",
        organisation_id=organisation or DEFAULT_ORGANISATION,
        resource_id=resource,
    )
    audit_log.write(connection, [entry])
