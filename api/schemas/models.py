"""Models on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import ListOf, Schema
from jobs.records import Model, ModelExport

MAX_IMAGES = 64
MAX_ROWS = 1000
MAX_TOP_K = 1000
ExportFormat = Literal["onnx"]

_ID = "mdl_01K9ZQ6V3X0000000000000000"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_IMAGE = (  # 8 x 8 pixels of grey
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mM8wQABTAwUMQA6AADYbMmlZgAAAABJRU5ErkJggg=="
)


class Lineage(Schema):
    """What a model came from. What an upload came from is not known."""

    job: str | None = Field(description="The job that made it; it may be deleted by now.")
    dataset: str | None = Field(description="Id or name of the data set that it was trained on.")
    dataset_sha256: str | None
    parent: str | None = Field(description="The model (or job) whose weights it started from.")
    teacher: str | None = Field(description="The model (or job) that it learned from besides the labels.")


_MODEL_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "object": "model",
    "name": "digits 5-9",
    "source": "job",
    "format": "packed",
    "architecture": {"name": "resnet18", "width": 0.25, "image_size": 16, "channels": 1, "stem": "small"},
    "method": {"name": "fqt", "bits": 4},
    "classes": ["5", "6", "7", "8", "9"],
    "metrics": {"validation_accuracy": 0.987, "validation_loss": 0.06},
    "arithmetic": "integer",
    "parameters": 700000,
    "binary_parameters": 690000,
    "size": 166400,
    "sha256": _SHA256,
    "has_full_weights": True,
    "lineage": {
        "job": "job_01K9ZQ6V3X0000000000000000",
        "dataset": "digits",
        "dataset_sha256": None,
        "parent": None,
        "teacher": None,
    },
    "facts": {},
    "evaluation": None,
    "created_at": "2026-11-20T10:00:00Z",
}


class ModelObject(Schema):
    """A model of the registry."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_MODEL_EXAMPLE]})

    id: str
    object: Literal["model"] = "model"
    name: str | None
    source: Literal["job", "upload"]
    format: Literal["packed", "weights", "trees"] = Field(
        description="`packed`: one bit per binarised weight, predicts. `weights`: full precision, to train from. "
        "`trees`: LightGBM's text, predicts from rows of a table."
    )
    architecture: dict[str, Any] = Field(
        description="The network and its options; of uploaded weights its name alone; of `trees` target and columns."
    )
    method: dict[str, Any] | None
    classes: list[str] | None
    metrics: dict[str, Any] | None = Field(description="Figures of its training; of an upload as its file says.")
    arithmetic: str | None = Field(description="Of the gradients' products: float, simulated, integer or binary.")
    parameters: int | None
    binary_parameters: int | None = Field(description="Those of one bit.")
    size: int = Field(description="Bytes of its file.")
    sha256: str
    has_full_weights: bool = Field(description="Whether jobs can start from it (`initial_weights`).")
    lineage: Lineage
    facts: dict[str, Any] = Field(description="Everything else that is known of it.")
    evaluation: dict[str, Any] | None = Field(description="Curves and confusion matrix; null in lists.")
    created_at: datetime

    @classmethod
    def of(cls, row: Model) -> Self:
        """Show a model of the store."""
        facts = dict(row.facts)
        shown = ("architecture", "method", "classes", "metrics", "arithmetic", "parameters", "binary_parameters")
        return cls(
            id=row.id,
            name=row.name,
            source=row.source,
            format=row.format,
            **{name: facts.pop(name, None) for name in shown},
            size=row.size,
            sha256=row.sha256,
            has_full_weights=row.weights_sha256 is not None,
            lineage=Lineage(
                job=row.job_id,
                dataset=row.dataset_id,
                dataset_sha256=row.dataset_sha256,
                parent=row.parent_id,
                teacher=row.teacher_id,
            ),
            facts=facts,
            evaluation=row.evaluation,
            created_at=row.created_at,
        )


class ModelList(ListOf[ModelObject]):
    """One page of models, newest first."""


class ExportRequest(BaseModel):
    """What to export a model to."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"format": "onnx"}]})

    format: ExportFormat = Field(description="`onnx`: opset 18, runs in onnxruntime.")


class ExportObject(Schema):
    """A model in another format."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "object": "model.export",
                    "model": _ID,
                    "format": "onnx",
                    "size": 750000,
                    "sha256": _SHA256,
                    "details": {"opset": 18, "input": "uint8", "shape": [1, 16, 16]},
                    "created_at": "2026-11-20T10:00:00Z",
                }
            ]
        },
    )

    object: Literal["model.export"] = "model.export"
    model: str
    format: ExportFormat
    size: int = Field(description="Bytes.")
    sha256: str
    details: dict[str, Any] = Field(description="Input, arithmetic, and how it compared with the model in onnxruntime.")
    created_at: datetime

    @classmethod
    def of(cls, row: ModelExport) -> Self:
        """Show an export of the store."""
        return cls(
            model=row.model_id,
            format=row.format,
            size=row.size,
            sha256=row.sha256,
            details=row.details,
            created_at=row.created_at,
        )


class ExportList(ListOf[ExportObject]):
    """What a model was exported to."""


class PredictRequest(BaseModel):
    """Images to classify."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"images": [_IMAGE], "top_k": 3}]},
    )

    images: list[Annotated[str, Field(min_length=1, json_schema_extra={"format": "byte"})]] = Field(
        min_length=1, max_length=MAX_IMAGES, description="PNG, JPEG, WebP or BMP files, each in base64."
    )
    top_k: int = Field(default=5, ge=1, le=MAX_TOP_K, description="Classes to name per image, most probable first.")


class PredictRowsRequest(BaseModel):
    """Rows of a table, for a model of trees."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"rows": [{"size": 2.5, "town": "Bath", "open": True}], "top_k": 3}]},
    )

    rows: list[dict[str, float | str | bool | None]] = Field(
        min_length=1,
        max_length=MAX_ROWS,
        description="Values by column name: numbers, strings, truth values. What is left out or null is missing.",
    )
    top_k: int = Field(default=5, ge=1, le=MAX_TOP_K, description="Classes to name per row, most probable first.")


class ClassShare(Schema):
    """A class and its probability."""

    label: str
    probability: float


class ValueObject(Schema):
    """What a model of trees in regression predicts for one row."""

    value: float


class PredictionObject(Schema):
    """What one image shows, or the class of one row."""

    label: str = Field(description="The most probable class.")
    probability: float
    top: list[ClassShare]


class PredictAnswer(Schema):
    """The predictions, in the order of the images or rows."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "object": "prediction",
                    "model": _ID,
                    "predictions": [
                        {"label": "8", "probability": 0.97, "top": [{"label": "8", "probability": 0.97}]},
                    ],
                }
            ]
        },
    )

    object: Literal["prediction"] = "prediction"
    model: str
    predictions: list[PredictionObject | ValueObject]
