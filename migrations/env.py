"""Run by Alembic: takes the connection that ``jobs.database.upgrade`` hands over, or opens the settings' database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from jobs import database
from jobs.settings import Settings
from jobs.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    with database.connect(Settings()).begin() as opened:
        _run(opened)
