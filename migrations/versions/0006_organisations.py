"""Organisations: what there is belongs to the first. Programs of before do not name the column, and go on working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FIRST = "org_default"
_OWNED = ("keys", "datasets", "jobs")
_LISTED = ("datasets", "jobs")


def upgrade() -> None:
    organisations = op.create_table(
        "organisations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
        sa.UniqueConstraint("name", name=op.f("uq_organisations_name")),
    )
    op.execute(organisations.insert().values(id=_FIRST, name="default", created_at=sa.func.current_timestamp()))
    for table in _OWNED:
        column = sa.Column("organisation_id", sa.String(length=40), server_default=_FIRST, nullable=False)
        op.add_column(table, column)
    for table in _LISTED:
        op.create_index(f"ix_{table}_organisation", table, ["organisation_id", "id"], unique=False)


def downgrade() -> None:
    for table in _LISTED:
        op.drop_index(f"ix_{table}_organisation", table_name=table)
    for table in _OWNED:
        op.drop_column(table, "organisation_id")
    op.drop_table("organisations")
