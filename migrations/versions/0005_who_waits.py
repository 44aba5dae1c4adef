"""An index that tells which keys have jobs waiting in a queue. Programs of before need none."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_waiting", "jobs", ["state", "queue", "created_by"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_jobs_waiting", table_name="jobs")
