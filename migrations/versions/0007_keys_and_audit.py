"""Keys that end, change their secret and have ceilings; the audit log. Programs of before know of neither."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_WHEN = sa.DateTime(timezone=True)
_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "expires_at": _WHEN,
    "last_used_at": _WHEN,
    "rotated_at": _WHEN,
    "previous_digest": sa.String(length=64),
    "previous_expires_at": _WHEN,
    "max_steps": sa.BigInteger(),
    "max_memory_bytes": sa.BigInteger(),
}


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        op.add_column("keys", sa.Column(name, kind))
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organisation_id", sa.String(length=40), server_default="org_default", nullable=False),
        sa.Column("actor", sa.String(length=20), nullable=False),
        sa.Column("key_id", sa.String(length=40)),
        sa.Column("key_prefix", sa.String(length=20)),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("method", sa.String(length=20)),
        sa.Column("resource_id", sa.String(length=200)),
        sa.Column("status", sa.Integer()),
        sa.Column("request_id", sa.String(length=100)),
        sa.Column("address", sa.String(length=64)),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_organisation", "audit_log", ["organisation_id", "id"], unique=False)
    op.create_index("ix_audit_log_resource", "audit_log", ["organisation_id", "resource_id", "id"], unique=False)
    op.create_index("ix_audit_log_created_at", "audit_log", ["created_at"], unique=False)


def downgrade() -> None:
    op.drop_table("audit_log")
    for name in reversed(_COLUMNS):
        op.drop_column("keys", name)
