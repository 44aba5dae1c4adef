"""How long a job has run. Programs of before do not name the new columns and go on working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("ran_seconds", sa.Float(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "ran_seconds")
    op.drop_column("jobs", "claimed_at")
