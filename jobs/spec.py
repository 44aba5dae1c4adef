"""The one description of a job: REST body, SQL column, the child's input, and the record inside the model file."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fqt_core.config import AnyArchitecture, AnyMethod, Fqt, ParallelConfig, Resnet18, TrainConfig
from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.config.class_names import LONGEST_CLASS_NAME
from jobs.names import QUEUE_PATTERN, check_queue

ClassName = Annotated[str, Field(min_length=1, max_length=LONGEST_CLASS_NAME)]


_DATASET = r"^(ds_[0-9A-Za-z]{26}|digits|fashion-mnist)$"
_SOURCE = r"^(job|mdl)_[0-9A-Za-z]{26}$"


# What is no id is told in words: a pattern helps nobody who typed a name.
def _a_dataset(reference: str) -> str:
    if not re.fullmatch(_DATASET, reference):
        builtin = ", ".join(BUILTIN_DATASETS)
        raise ValueError(
            f"there is no data set {reference[:100]!r}: name an uploaded one by its id (ds_…, as `fqt datasets list` "
            f"shows it), or a built-in one ({builtin})"
        )
    return reference


def _a_source(reference: str) -> str:
    if not re.fullmatch(_SOURCE, reference):
        raise ValueError(
            f"there is no job or model {reference[:100]!r}: name one by its id (job_…, as `fqt jobs` shows it, or "
            "mdl_…, as `fqt models list` does)"
        )
    return reference


def _distinct(classes: list[str]) -> list[str]:
    if len(set(classes)) != len(classes):
        raise ValueError("every class may be named once only")
    return classes


class CheckpointPolicy(BaseModel):
    """Which checkpoints of a job are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_last: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="The newest so many; null: as many as the service keeps by default. With two or more, a damaged "
        "file costs only the steps since the one before.",
    )
    keep_best: bool = Field(
        default=False,
        description="Also that of the epoch with the best validation accuracy so far, if one was written at its end.",
    )


class JobSpec(BaseModel):
    """What to train, on what, and how. Complete: same spec, same data, same seed, same result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200, description="A name for people.")
    dataset: Annotated[str, AfterValidator(_a_dataset)] = Field(
        json_schema_extra={"pattern": _DATASET},
        description="Id of an uploaded data set (`ds_…`), or a built-in one: `digits`, `fashion-mnist`.",
    )
    # The list itself is checked, not the whole spec, so that a fault is told together with those of other fields.
    classes: Annotated[list[ClassName], AfterValidator(_distinct)] | None = Field(
        default=None,
        min_length=2,
        max_length=10_000,
        json_schema_extra={"uniqueItems": True},
        description="Train on these classes only, in this order; null: on all classes of the data set.",
    )
    architecture: AnyArchitecture = Field(default_factory=Resnet18, description="The network and its options.")
    method: AnyMethod = Field(default_factory=Fqt, description="The training method and its options.")
    training: TrainConfig = Field(default_factory=TrainConfig, description="Epochs, optimiser, seed and so on.")
    parallel: ParallelConfig | None = Field(
        default=None, description="Train in several processes of one worker; null: in one process."
    )
    initial_weights: Annotated[str, AfterValidator(_a_source), Field(json_schema_extra={"pattern": _SOURCE})] | None = (
        Field(
            default=None,
            description="Start from the weights of this succeeded job (`job_…`) or model (`mdl_…`): fine-tuning. A "
            "head of another size starts fresh. null: start from a random initialisation.",
        )
    )
    teacher: Annotated[str, AfterValidator(_a_source), Field(json_schema_extra={"pattern": _SOURCE})] | None = Field(
        default=None,
        description="Learn from the model of this succeeded job (`job_…`), or from this one (`mdl_…`), as well "
        "(distillation): of any network and method, but for the same classes, channels and image size. null: learn "
        "from the labels only.",
    )
    queue: Annotated[str, AfterValidator(check_queue), Field(json_schema_extra={"pattern": QUEUE_PATTERN})] | None = (
        Field(
            default=None,
            description="Only workers that serve this queue take the job (`FQT_QUEUES`); null: that of its device.",
        )
    )
    priority: int = Field(
        default=0,
        ge=-100,
        le=100,
        description="Among the waiting jobs of the same API key, higher ones go first. Keys take turns whatever it is.",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=10 * 365 * 86400,
        description="Longest time that the job may run, all attempts together; waiting and pauses do not count. "
        "null: as long as the service allows.",
    )
    checkpoints: CheckpointPolicy = Field(
        default_factory=CheckpointPolicy, description="Which checkpoints are kept. Has no influence on the result."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to train; `auto` is settled when a worker claims the job."
    )
