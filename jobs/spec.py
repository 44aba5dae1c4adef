"""The one description of a job: REST body, SQL column, the child's input, and the record inside the model file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fqt_core.config import AnyArchitecture, AnyMethod, Fqt, Resnet18, TrainConfig
from fqt_core.config.class_names import LONGEST_CLASS_NAME

ClassName = Annotated[str, Field(min_length=1, max_length=LONGEST_CLASS_NAME)]


def _distinct(classes: list[str]) -> list[str]:
    if len(set(classes)) != len(classes):
        raise ValueError("every class may be named once only")
    return classes


class JobSpec(BaseModel):
    """What to train, on what, and how. Complete: same spec, same data, same seed, same result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200, description="A name for people.")
    dataset: str = Field(
        pattern=r"^(ds_[0-9A-Za-z]{26}|digits|fashion-mnist)$",
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
    initial_weights: str | None = Field(
        default=None,
        pattern=r"^job_[0-9A-Za-z]{26}$",
        description="Start from the weights of this succeeded job (fine-tuning); a head of another size starts fresh. "
        "null: start from a random initialisation.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to train; `auto` is settled when a worker claims the job."
    )
