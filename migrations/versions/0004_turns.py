"""Priorities, turns of keys, and quotas. Programs of before do not name the new columns and go on working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keys", sa.Column("max_queued", sa.Integer(), nullable=True))
    op.add_column("keys", sa.Column("max_running", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_jobs_turn", "jobs", ["state", "created_by", "rank", "created_at", "id"], unique=False)
    op.create_table(
        "turns",
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_turns")),
    )


def downgrade() -> None:
    op.drop_table("turns")
    op.drop_index("ix_jobs_turn", table_name="jobs")
    op.drop_column("jobs", "rank")
    op.drop_column("keys", "max_running")
    op.drop_column("keys", "max_queued")
