"""A job may learn from the model of another one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite cannot add a constraint to a table that is there, only a column with its reference.
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ALTER TABLE jobs ADD COLUMN teacher_sha256 VARCHAR(64) REFERENCES blobs (sha256)")
    else:
        op.add_column("jobs", sa.Column("teacher_sha256", sa.String(length=64), nullable=True))
        op.create_foreign_key(op.f("fk_jobs_teacher_sha256"), "jobs", "blobs", ["teacher_sha256"], ["sha256"])
    op.create_index(op.f("ix_jobs_teacher_sha256"), "jobs", ["teacher_sha256"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_teacher_sha256"), table_name="jobs")
    op.drop_column("jobs", "teacher_sha256")  # with its reference, on SQLite and PostgreSQL
