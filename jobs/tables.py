"""The SQL tables. ``migrations/`` follows them; a test holds both together on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from jobs.sqltypes import UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Json = JSON(none_as_null=True)
_Id = String(40)
_Sha256 = String(64)

# Who shares data sets, jobs and models: everything belongs to one, and a key sees what is its organisation's. There is
# always the first one. Rows refer to it by a plain column: organisations are never removed.
DEFAULT_ORGANISATION = "org_default"


def _organisation() -> Column[str]:
    return Column("organisation_id", _Id, nullable=False, server_default=DEFAULT_ORGANISATION)


organisations = Table(
    "organisations",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("name", String(200), nullable=False),
    Column("prefix", String(20), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("scopes", _Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    # The secret of before the last change, and until when it still opens.
    Column("rotated_at", UtcDateTime),
    Column("previous_digest", String(64)),
    Column("previous_expires_at", UtcDateTime),
    # Ceilings of a job's predicted steps and memory, below those of the settings.
    Column("max_steps", BigInteger),
    Column("max_memory_bytes", BigInteger),
    # How many jobs of the key may wait, and run, at the same time; null: as many as the settings say.
    Column("max_queued", Integer),
    Column("max_running", Integer),
)

# One row per stored file; what refers to it is a foreign key, so that no file in use can be forgotten.
blobs = Table(
    "blobs",
    metadata,
    Column("sha256", _Sha256, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("name", String(200), nullable=False),
    Column("filename", String(255)),
    # What is to be fetched or read first (a URL, a mounted folder); null: it was uploaded. Until then it has no bytes.
    Column("source", _Json),
    Column("sha256", _Sha256, ForeignKey("blobs.sha256"), index=True),
    Column("size", BigInteger),
    Column("thumbnails_sha256", _Sha256, ForeignKey("blobs.sha256"), index=True),
    Column("format", String(40)),
    Column("state", String(20), nullable=False),
    Column("profile", _Json),
    Column("error", _Json),
    Column("check_epoch", Integer, nullable=False, default=0),
    Column("check_expires_at", UtcDateTime),
    Column("created_by", _Id, ForeignKey("keys.id")),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("state IN ('checking', 'ready', 'invalid')", name="state"),
    Index("ix_datasets_organisation", "organisation_id", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("name", String(200)),
    Column("state", String(20), nullable=False),
    Column("queue", String(40), nullable=False),
    # Its place among the jobs of its key, the smallest first: minus the priority.
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("spec", _Json, nullable=False),
    Column("dataset_id", _Id, ForeignKey("datasets.id", ondelete="SET NULL"), index=True),
    Column("dataset_sha256", _Sha256),
    Column("initial_weights_sha256", _Sha256, ForeignKey("blobs.sha256"), index=True),
    Column("teacher_sha256", _Sha256, ForeignKey("blobs.sha256"), index=True),
    Column("created_by", _Id, ForeignKey("keys.id")),
    Column("request_id", String(100)),
    # The trace of the request that made the job (W3C traceparent), and its maker's own words for it.
    Column("traceparent", String(55)),
    Column("labels", _Json),
    # The lease: who works on the job, until when, and the number that fences off every earlier attempt.
    Column("lease_epoch", Integer, nullable=False, default=0),
    Column("lease_owner", String(200)),
    Column("lease_expires_at", UtcDateTime),
    Column("failures", Integer, nullable=False, default=0),
    Column("not_before", UtcDateTime),
    # When it was claimed for the last time, and the seconds that all attempts that have ended took together.
    Column("claimed_at", UtcDateTime),
    Column("ran_seconds", Float, nullable=False, server_default="0"),
    Column("next_seq", BigInteger, nullable=False, default=1),
    # What is shown: updated with the events that it sums up, in the same transaction.
    Column("record", _Json),
    Column("progress", _Json),
    Column("result", _Json),
    Column("error", _Json),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    CheckConstraint(
        "state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'cancelled', 'succeeded', 'failed')",
        name="state",
    ),
    Index("ix_jobs_queue", "state", "queue", "created_at", "id"),
    Index("ix_jobs_waiting", "state", "queue", "created_by"),
    Index("ix_jobs_turn", "state", "created_by", "rank", "created_at", "id"),
    Index("ix_jobs_lease", "state", "lease_expires_at"),
    Index("ix_jobs_organisation", "organisation_id", "id"),
)

# When a job of each key was last claimed: whose turn it is.
turns = Table(
    "turns",
    metadata,
    Column("owner", _Id, primary_key=True),
    Column("served_at", UtcDateTime, nullable=False),
)

events = Table(
    "job_events",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(20), nullable=False),
    Column("kind", String(20)),
    Column("epoch", Integer, nullable=False),
    Column("data", _Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_job_events_kind", "job_id", "kind", "seq"),
)

# The metric events of a job up to ``seq``, as columns (jobs/curves.py): made from the log, and made again if lost.
# ``ran_seconds`` and ``claimed_at`` are what that part of the log says of the time that the job ran.
curves = Table(
    "curves",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("ran_seconds", Float, nullable=False),
    Column("claimed_at", UtcDateTime),
)

curve_parts = Table(
    "curve_parts",
    metadata,
    Column("job_id", _Id, ForeignKey("curves.job_id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("name", String(400), primary_key=True),
    Column("points", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# A search over fields of a job spec (jobs/sweeps.py), and the lease of whoever takes its next step.
sweeps = Table(
    "sweeps",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("name", String(200)),
    Column("state", String(20), nullable=False),
    Column("spec", _Json, nullable=False),
    Column("reason", _Json),
    Column("created_by", _Id, ForeignKey("keys.id")),
    Column("request_id", String(100)),
    Column("lease_epoch", Integer, nullable=False, default=0),
    Column("lease_expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    CheckConstraint("state IN ('running', 'finished', 'cancelled', 'failed')", name="state"),
    Index("ix_sweeps_organisation", "organisation_id", "id"),
    Index("ix_sweeps_state", "state", "id"),
)

# ``parameters``: dotted field to value. ``reported``: epoch to the metric's value, as far as the engine knows it, and
# ``notes`` what the pruner remembers of the trial.
trials = Table(
    "trials",
    metadata,
    Column("sweep_id", _Id, ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("job_id", _Id, ForeignKey("jobs.id", ondelete="SET NULL"), unique=True),
    Column("state", String(20), nullable=False),
    Column("parameters", _Json, nullable=False),
    Column("value", Float),
    Column("reported", _Json, nullable=False),
    Column("notes", _Json, nullable=False),
    Column("reason", String(400)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    CheckConstraint("state IN ('running', 'succeeded', 'pruned', 'cancelled', 'failed')", name="state"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("sha256", _Sha256, ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("details", _Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("job_id", "step"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("sha256", _Sha256, ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("details", _Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("job_id", "name"),
)

# A model outlives the job that made it, its data set and its parents: what it came from is told by plain columns.
models = Table(
    "models",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("name", String(200)),
    Column("source", String(20), nullable=False),
    Column("format", String(20), nullable=False),
    Column("job_id", _Id, index=True),
    Column("dataset_id", _Id),
    Column("dataset_sha256", _Sha256),
    Column("parent_id", _Id),
    Column("teacher_id", _Id),
    Column("architecture", String(40), nullable=False),
    Column("method", String(40)),
    Column("sha256", _Sha256, ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    # The weights in full precision beside a packed model: what training can go on from.
    Column("weights_sha256", _Sha256, ForeignKey("blobs.sha256"), index=True),
    Column("facts", _Json, nullable=False),
    # Curves and confusions, which lists do not show.
    Column("evaluation", _Json),
    Column("created_by", _Id, ForeignKey("keys.id")),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("source IN ('job', 'upload')", name="source"),
    CheckConstraint("format IN ('packed', 'weights', 'trees')", name="format"),
    Index("ix_models_organisation", "organisation_id", "id"),
)

model_exports = Table(
    "model_exports",
    metadata,
    Column("model_id", _Id, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("format", String(20), primary_key=True),
    Column("sha256", _Sha256, ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("details", _Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key_id", _Id, ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True),
    Column("route", String(300), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("request_sha256", _Sha256, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

# Where an organisation wants to hear of events. The secret that deliveries are signed with is not here: it is derived
# from the service's secret and the salt. The salt before counts as well until its time is over.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("url", String(2000), nullable=False),
    Column("description", String(200)),
    Column("events", _Json, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("old_salt", String(64)),
    Column("old_salt_expires_at", UtcDateTime),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("disabled_at", UtcDateTime),
    Column("disabled_reason", String(200)),
    Column("created_by", _Id, ForeignKey("keys.id")),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_webhooks_organisation", "organisation_id", "id"),
)

# What is to be told, inserted in the transaction of what it tells: the outbox.
deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("webhook_id", _Id, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("type", String(40), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(20), nullable=False),
    # Attempts of all times number the lease; those since the last replay are what the schedule counts.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", UtcDateTime),
    Column("log", _Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
    Index("ix_webhook_deliveries_webhook", "webhook_id", "id"),
    Index("ix_webhook_deliveries_due", "state", "webhook_id", "next_attempt_at"),
)

# Who changed what. Rows refer to nothing: they outlast what they tell of.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", _Id, primary_key=True),
    _organisation(),
    Column("actor", String(20), nullable=False),
    Column("key_id", _Id),
    Column("key_prefix", String(20)),
    Column("action", String(100), nullable=False),
    Column("method", String(20)),
    Column("resource_id", String(200)),
    Column("status", Integer),
    Column("request_id", String(100)),
    Column("address", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_audit_log_organisation", "organisation_id", "id"),
    Index("ix_audit_log_resource", "organisation_id", "resource_id", "id"),
    Index("ix_audit_log_created_at", "created_at"),
)
