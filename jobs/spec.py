"""The one description of a job: REST body, SQL column, the child's input, and the record inside the model file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from fqt_core.config import (
    AnyArchitecture,
    AnyMethod,
    AnySearch,
    Fqt,
    Gbdt,
    ParallelConfig,
    Resnet18,
    TableConfig,
    TrainConfig,
)
from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.config.class_names import LONGEST_CLASS_NAME
from fqt_core.config.method_base import Task
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


def _default_network(given: Mapping[str, Any]) -> Resnet18 | None:
    return None if given.get("task") == "tabular" else Resnet18()


def _default_method(given: Mapping[str, Any]) -> Fqt | Gbdt:
    return Gbdt() if given.get("task") == "tabular" else Fqt()


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
        description="Also that of the epoch with the best validation accuracy so far.",
    )


class JobSpec(BaseModel):
    """What to train, on what, and how. Complete: same spec, same data, same seed, same result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200, description="A name for people.")
    task: Task = Field(
        default="images",
        description="`images`: train a network to tell classes of images apart. `tabular`: grow trees that predict one "
        "column of a table from the others.",
    )
    dataset: Annotated[str, AfterValidator(_a_dataset)] = Field(
        json_schema_extra={"pattern": _DATASET},
        description="Id of an uploaded data set (`ds_…`), or a built-in one: `digits`, `fashion-mnist`.",
    )
    table: TableConfig | None = Field(
        default=None, description="With task `tabular`: which column is predicted. null: the data set holds images."
    )
    # The list itself is checked, not the whole spec, so that a fault is told together with those of other fields.
    classes: Annotated[list[ClassName], AfterValidator(_distinct)] | None = Field(
        default=None,
        min_length=2,
        max_length=10_000,
        json_schema_extra={"uniqueItems": True},
        description="Train on these classes only, in this order; null: on all classes of the data set.",
    )
    architecture: AnyArchitecture | None = Field(
        default_factory=_default_network,
        description="The network and its options; null with task `tabular`, and with that only.",
    )
    method: AnyMethod = Field(
        default_factory=_default_method,
        description="The training method and its options; with task `tabular` it is `gbdt`.",
    )
    training: TrainConfig = Field(
        default_factory=TrainConfig,
        description="Epochs, optimiser, seed and so on. Of task `tabular` only `seed`, `validation_fraction` and "
        "`early_stopping_patience`; the others keep their defaults.",
    )
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
    search: AnySearch | None = Field(
        default=None,
        description="Search the structure of the network instead of training it: the job's record has the network that "
        "was found, for a training job's `architecture`. null: train.",
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

    @field_validator("architecture")
    @classmethod
    def _a_network_for_images(cls, network: AnyArchitecture | None, info: ValidationInfo) -> AnyArchitecture | None:
        task = info.data.get("task")
        if task == "tabular" and network is not None:
            raise ValueError("trees have no network: leave out architecture, or use task 'images'")
        if task == "images" and network is None:
            raise ValueError("a job on images trains a network: name one, or leave out architecture for the default")
        return network

    @property
    def network(self) -> AnyArchitecture:
        """The network of a job on images.

        Raises:
            ValueError: the job grows trees.
        """
        if self.architecture is None:
            raise ValueError("a job on a table has no network")
        return self.architecture

    @property
    def epochs(self) -> int:
        """Epochs that the job has at most; boosting iterations where it grows trees."""
        return self.method.iterations if isinstance(self.method, Gbdt) else self.training.epochs

    @property
    def learner(self) -> str:
        """What learns: the network's name, or ``trees``."""
        return "trees" if self.architecture is None else self.architecture.name
