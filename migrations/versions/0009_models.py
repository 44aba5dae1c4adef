"""The registry of models. What jobs of before made gets a row, without the curves, which their cards do not show."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from jobs.ids import new_id
from jobs.sqltypes import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_FIGURES = ("validation_accuracy", "validation_loss", "train_accuracy", "best_epoch", "epochs", "step", "seconds")
_COUNTS = ("parameters", "binary_parameters", "train_images", "validation_images")


def upgrade() -> None:
    models = op.create_table(
        "models",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organisation_id", sa.String(length=40), server_default="org_default", nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("format", sa.String(length=20), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("dataset_id", sa.String(length=40), nullable=True),
        sa.Column("dataset_sha256", sa.String(length=64), nullable=True),
        sa.Column("parent_id", sa.String(length=40), nullable=True),
        sa.Column("teacher_id", sa.String(length=40), nullable=True),
        sa.Column("architecture", sa.String(length=40), nullable=False),
        sa.Column("method", sa.String(length=40), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=True),
        sa.Column("facts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("evaluation", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("source IN ('job', 'upload')", name=op.f("ck_models_source")),
        sa.CheckConstraint("format IN ('packed', 'weights')", name=op.f("ck_models_format")),
        sa.ForeignKeyConstraint(["created_by"], ["keys.id"], name=op.f("fk_models_created_by")),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_models_sha256")),
        sa.ForeignKeyConstraint(["weights_sha256"], ["blobs.sha256"], name=op.f("fk_models_weights_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    for column in ("job_id", "sha256", "weights_sha256"):
        op.create_index(op.f(f"ix_models_{column}"), "models", [column], unique=False)
    op.create_index("ix_models_organisation", "models", ["organisation_id", "id"], unique=False)
    op.create_table(
        "model_exports",
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("format", sa.String(length=20), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_exports_model_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_model_exports_sha256")),
        sa.PrimaryKeyConstraint("model_id", "format", name=op.f("pk_model_exports")),
    )
    op.create_index(op.f("ix_model_exports_sha256"), "model_exports", ["sha256"], unique=False)
    _register_finished_jobs(models)


def _register_finished_jobs(models: sa.Table) -> None:
    """One row for each job that succeeded and left a packed model; oldest first, so that parents are known."""
    connection = op.get_bind()
    query = sa.text(
        "SELECT j.id, j.organisation_id, j.name, j.spec, j.record, j.result, j.dataset_id, j.dataset_sha256,"
        " j.created_by, j.finished_at, m.sha256, m.size, m.details, w.sha256 AS weights_sha256"
        " FROM jobs j JOIN artifacts m ON m.job_id = j.id AND m.kind = 'model'"
        " LEFT JOIN artifacts w ON w.job_id = j.id AND w.kind = 'weights'"
        " WHERE j.state = 'succeeded' ORDER BY j.finished_at, j.id"
    ).columns(finished_at=UtcDateTime())
    known: dict[str, str] = {}
    for row in connection.execute(query).all():
        if row.id in known:
            continue
        known[row.id] = new_id("mdl")
        connection.execute(models.insert().values(_values(row, known)))


def _values(row: Any, known: dict[str, str]) -> dict[str, Any]:
    spec, record, result, details = (
        value if isinstance(value, dict) else json.loads(value or "null") or {}
        for value in (row.spec, row.record, row.result, row.details)
    )
    start, teacher = spec.get("initial_weights"), spec.get("teacher")
    facts = {
        **{name: spec.get(name) for name in ("architecture", "method", "training", "initial_weights", "teacher")},
        **{name: record.get(name) for name in ("arithmetic", "isa", "device")},
        **{name: result[name] for name in _COUNTS if name in result},
        "classes": result.get("classes"),
        "metrics": {name: result[name] for name in _FIGURES if result.get(name) is not None},
        "fp32_bytes": details.get("fp32_bytes"),
    }
    return {
        "id": known[row.id],
        "organisation_id": row.organisation_id,
        "name": row.name,
        "source": "job",
        "format": "packed",
        "job_id": row.id,
        "dataset_id": row.dataset_id or spec.get("dataset"),
        "dataset_sha256": row.dataset_sha256,
        "parent_id": known.get(str(start), start),
        "teacher_id": known.get(str(teacher), teacher),
        "architecture": (spec.get("architecture") or {}).get("name", "resnet18"),
        "method": (spec.get("method") or {}).get("name"),
        "sha256": row.sha256,
        "size": row.size,
        "weights_sha256": row.weights_sha256,
        "facts": facts,
        "created_by": row.created_by,
        "created_at": row.finished_at,
    }


def downgrade() -> None:
    op.drop_table("model_exports")
    op.drop_table("models")
