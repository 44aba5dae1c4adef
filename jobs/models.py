"""The registry of models: one row for what each job made and for each upload, with what it came from.

A model outlives its job. Its files are counted like all others: what refers to them is a foreign key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, literal, null, select

from jobs import blob_rows, database, metrics, model_card, tabular
from jobs.blobs import Blob, BlobStore
from jobs.errors import NotFoundError
from jobs.events import clean
from jobs.ids import new_id
from jobs.organisations import within
from jobs.records import Job, Model, ModelExport, Page
from jobs.spec import JobSpec
from jobs.sqltypes import now
from jobs.tables import artifacts, model_exports, models

PREFIX = "mdl"
EXAMPLES = "examples"
"""Kind of a job's file, and the name under which the model keeps it: images of each cell of its confusion matrix."""

CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
_POINTS = 200
_FIGURES = ("validation_accuracy", "validation_loss", "train_accuracy", "best_epoch", "epochs", "step", "seconds")
_COUNTS = ("parameters", "binary_parameters", "train_images", "validation_images")
_LISTED = [column if column.name != "evaluation" else null().label("evaluation") for column in models.c]


def values_of_job(connection: Connection, job: Job, result: Mapping[str, Any], model_id: str) -> dict[str, Any] | None:
    """The columns of the model that a job made, from its files, its spec and its log; ``None`` if it made none."""
    query = select(artifacts).where(artifacts.c.job_id == job.id, artifacts.c.kind.in_(["model", "weights", EXAMPLES]))
    files = {row.kind: row for row in connection.execute(query)}
    if "model" not in files:
        return None
    packed, spec, record = files["model"], job.spec, job.record or {}
    facts = {
        **_learner(spec, packed.details),
        "method": spec.method.model_dump(mode="json"),
        "classes": result.get("classes"),
        "arithmetic": record.get("arithmetic"),
        "isa": record.get("isa"),
        "device": record.get("device"),
        "metrics": {name: result[name] for name in _FIGURES if result.get(name) is not None},
        "initial_weights": spec.initial_weights,
        "teacher": spec.teacher,
        "fp32_bytes": packed.details.get("fp32_bytes"),
        "comparison": result.get("tabular"),
        **{name: result[name] for name in _COUNTS if name in result},
    }
    curves = [
        {"name": curve.name, "steps": curve.steps, "values": curve.values}
        for curve in metrics.series(connection, job.id, kind="epoch", names=CURVES, points=_POINTS)
    ]
    return {
        "id": model_id,
        "organisation_id": job.organisation_id,
        "name": job.name,
        "source": "job",
        "format": "packed" if spec.task == "images" else "trees",
        "job_id": job.id,
        "dataset_id": job.dataset_id or spec.dataset,
        "dataset_sha256": job.dataset_sha256,
        "parent_id": _known_as(connection, spec.initial_weights),
        "teacher_id": _known_as(connection, spec.teacher),
        "architecture": spec.learner,
        "method": spec.method.name,
        "sha256": packed.sha256,
        "size": packed.size,
        "weights_sha256": files["weights"].sha256 if "weights" in files else None,
        "facts": clean(facts),
        "evaluation": clean(
            {
                "curves": curves,
                "confusion": result.get("confusion"),
                "examples": files[EXAMPLES].details if EXAMPLES in files else None,
            }
        ),
        "created_by": job.created_by,
    }


def _learner(spec: JobSpec, details: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained and how; of trees what their file's ``details`` say of the table."""
    if spec.task == "images":
        return {
            "architecture": spec.network.model_dump(mode="json"),
            "training": spec.training.model_dump(mode="json"),
        }
    return {
        "architecture": {"name": spec.learner, **details},
        "training": spec.training.model_dump(mode="json", include=set(tabular.KNOWN_TRAINING)),
    }


def add(connection: Connection, values: Mapping[str, Any]) -> Model:
    """Insert a row; its files are registered already, in this transaction or one before."""
    statement = insert(models).values(created_at=now(), **values).returning(models)
    return Model.of(connection.execute(statement).one())


def keep_examples(connection: Connection, model_id: str, job_id: str) -> None:
    """Let a model have the picture of examples that its job made, if it made one, as long as there is the model."""
    columns = ["model_id", "format", "sha256", "size", "details", "created_at"]
    made = select(
        literal(model_id), literal(EXAMPLES), artifacts.c.sha256, artifacts.c.size, artifacts.c.details, now()
    ).where(artifacts.c.job_id == job_id, artifacts.c.kind == EXAMPLES)
    connection.execute(insert(model_exports).from_select(columns, made))


def create(
    connection: Connection,
    store: BlobStore,
    blob: Blob,
    *,
    organisation: str,
    facts: Mapping[str, Any],
    name: str | None = None,
    created_by: str | None = None,
) -> Model:
    """Insert the row of an upload whose bytes are stored and were looked through.

    Args:
        connection: where to write.
        store: where the bytes are.
        blob: the file.
        organisation: who it belongs to.
        facts: what a worker found (:class:`fqt_core.export.ModelFacts` as JSON).
        name: a name for people.
        created_by: the API key's id.

    Raises:
        BlobMissingError: the file was collected in between; store it again.
    """
    blob_rows.register(connection, store, blob)
    return add(
        connection,
        {
            "id": new_id(PREFIX),
            "organisation_id": organisation,
            "name": name,
            "source": "upload",
            "format": facts["format"],
            "architecture": facts["architecture"]["name"],
            "method": (facts.get("method") or {}).get("name"),
            "sha256": blob.sha256,
            "size": blob.size,
            "weights_sha256": blob.sha256 if facts["format"] == "weights" else None,
            "facts": clean({key: value for key, value in facts.items() if key != "format"}),
            "created_by": created_by,
        },
    )


def get(connection: Connection, model_id: str, *, organisation: str) -> Model:
    """The model.

    Raises:
        NotFoundError: the organisation has none with this id.
    """
    query = select(models).where(models.c.id == model_id, within(models, organisation))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("model", model_id)
    return Model.of(row)


def list_models(
    connection: Connection,
    *,
    organisation: str,
    after: str | None = None,
    limit: int = 50,
    job_id: str | None = None,
    architecture: str | None = None,
    method: str | None = None,
) -> Page[Model]:
    """Models, newest first, those before the one with id ``after``, without their ``evaluation``; filters are exact."""
    query = select(*_LISTED).where(within(models, organisation)).order_by(models.c.id.desc())
    if after is not None:
        query = query.where(models.c.id < after)
    for column, value in ((models.c.job_id, job_id), (models.c.architecture, architecture), (models.c.method, method)):
        if value is not None:
            query = query.where(column == value)
    rows = connection.execute(query.limit(limit + 1)).all()
    return Page([Model.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


def remove(connection: Connection, model_id: str, *, organisation: str) -> list[str]:
    """Delete a model with its exports; return the digests for ``Store.collect`` after the commit.

    Jobs that start from it keep what they need: their own rows refer to its files.

    Raises:
        NotFoundError: the organisation has none with this id.
    """
    model = get(connection, model_id, organisation=organisation)
    exported = select(model_exports.c.sha256).where(model_exports.c.model_id == model_id)
    digests = [model.sha256, model.weights_sha256, *connection.scalars(exported)]
    connection.execute(delete(models).where(models.c.id == model_id))
    return [sha256 for sha256 in digests if sha256 is not None]


def card(model: Model) -> str:
    """The model's card, Markdown."""
    return model_card.render(asdict(model))


def list_exports(connection: Connection, model_id: str) -> list[ModelExport]:
    """What a model was exported to, by format."""
    exported = (model_exports.c.model_id == model_id) & (model_exports.c.format != EXAMPLES)
    query = select(model_exports).where(exported).order_by(model_exports.c.format)
    return [ModelExport.of(row) for row in connection.execute(query)]


def get_export(connection: Connection, model_id: str, format: str) -> ModelExport:
    """The export in this format.

    Raises:
        NotFoundError: the model was not exported to it.
    """
    query = select(model_exports).where(model_exports.c.model_id == model_id, model_exports.c.format == format)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("export", format)
    return ModelExport.of(row)


def add_export(
    connection: Connection, store: BlobStore, blob: Blob, *, model_id: str, format: str, details: Mapping[str, Any]
) -> ModelExport:
    """Keep an export; if two were made at the same time, the first one counts.

    Raises:
        BlobMissingError: the file was collected in between; export again.
    """
    blob_rows.register(connection, store, blob)
    values = {"model_id": model_id, "format": format, "sha256": blob.sha256, "size": blob.size}
    statement = database.insert(connection, model_exports).values(**values, details=clean(details), created_at=now())
    connection.execute(statement.on_conflict_do_nothing())
    return get_export(connection, model_id, format)


def _known_as(connection: Connection, reference: str | None) -> str | None:
    """The id of the model that a spec's reference names: itself, or that of the job's model if it has a row."""
    if reference is None or not reference.startswith("job_"):
        return reference
    query = select(models.c.id).where(models.c.job_id == reference).order_by(models.c.id).limit(1)
    return connection.execute(query).scalar_one_or_none() or reference
