"""Curves as columns, and sweeps. Both tables of curves start empty: the reaper fills them from the logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "curves",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("ran_seconds", sa.Float(), nullable=False),
        sa.Column("claimed_at", time, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_curves_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_curves")),
    )
    op.create_table(
        "curve_parts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["curves.job_id"], name=op.f("fk_curve_parts_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "kind", "part", "name", name=op.f("pk_curve_parts")),
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organisation_id", sa.String(length=40), server_default="org_default", nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reason", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("request_id", sa.String(length=100), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", time, nullable=True),
        sa.Column("created_at", time, nullable=False),
        sa.Column("finished_at", time, nullable=True),
        sa.CheckConstraint("state IN ('running', 'finished', 'cancelled', 'failed')", name=op.f("ck_sweeps_state")),
        sa.ForeignKeyConstraint(["created_by"], ["keys.id"], name=op.f("fk_sweeps_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    op.create_index("ix_sweeps_organisation", "sweeps", ["organisation_id", "id"], unique=False)
    op.create_index("ix_sweeps_state", "sweeps", ["state", "id"], unique=False)
    op.create_table(
        "trials",
        sa.Column("sweep_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("reported", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("notes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=True),
        sa.Column("created_at", time, nullable=False),
        sa.Column("finished_at", time, nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'succeeded', 'pruned', 'cancelled', 'failed')", name=op.f("ck_trials_state")
        ),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_trials_sweep_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_trials_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_trials")),
        sa.UniqueConstraint("job_id", name=op.f("uq_trials_job_id")),
    )


def downgrade() -> None:
    for table in ("trials", "sweeps", "curve_parts", "curves"):
        op.drop_table(table)
