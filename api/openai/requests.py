"""From OpenAI's request for a fine-tuning job to a job spec. What is wrong in it is told by the spec's own check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.problems import FieldError, Invalid
from fqt_core.config import METHODS, TrainConfig

_JOB = re.compile(r"job_[0-9A-Za-z]{26}")
_SUPERVISED = "supervised"
# OpenAI's names of hyperparameters; all others go by the names of `training`.
_HYPERPARAMETERS = {"n_epochs": "epochs"}
_MULTIPLIER = "learning_rate_multiplier"
_NOT_HERE = {
    "validation_file": "a data set holds its validation images, or `training.validation_fraction` sets some aside",
    "integrations": "the service sends nothing elsewhere but by webhooks",
}
_EXAMPLE: dict[str, Any] = {
    "model": "resnet18",
    "training_file": "digits",
    "method": {"type": "fqt", "fqt": {"bits": 4, "hyperparameters": {"n_epochs": 10, "batch_size": 64}}},
    "seed": 7,
    "suffix": "digits at one bit",
    "metadata": {"project": "digits"},
}

MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class NewFineTuningJob(BaseModel):
    """A fine-tuning job as OpenAI's clients ask for it. Further fields (`extra_body`) are those of a job spec."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, json_schema_extra={"examples": [_EXAMPLE]})

    model: str = Field(
        min_length=1,
        max_length=200,
        description="Name of an architecture, or the id of a succeeded job to go on from. `architecture` has options.",
    )
    training_file: str = Field(
        min_length=1, max_length=200, description="Id of an uploaded file, or the name of a built-in data set."
    )
    hyperparameters: dict[str, Any] | None = Field(
        default=None,
        description="`n_epochs`, `batch_size`, `learning_rate_multiplier` (`auto`: the default), and any field of a "
        "job spec's `training`.",
    )
    method: dict[str, Any] | None = Field(
        default=None,
        description="`type` names a method, or is `supervised`; its options, and `hyperparameters`, stand under that "
        "name.",
    )
    seed: int | None = None
    suffix: str | None = Field(default=None, min_length=1, max_length=64, description="A name for the job.")
    metadata: dict[MetadataKey, MetadataValue] | None = Field(
        default=None, max_length=16, description="Shown again, and otherwise not looked at."
    )
    validation_file: None = Field(default=None, description="Always null: " + _NOT_HERE["validation_file"] + ".")
    integrations: Annotated[list[Any], Field(max_length=0)] | None = Field(
        default=None, description="Always null or empty: " + _NOT_HERE["integrations"] + "."
    )

    @property
    def parent(self) -> str | None:
        """Id of the job to go on from, if `model` is one."""
        return self.model if _JOB.fullmatch(self.model) else None

    def spec(self, network: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the body of a job spec, not yet validated. ``network``: the parent's, which options are added to.

        Raises:
            Invalid: `method` is put together wrongly, or two fields say the same.
        """
        extra = dict(self.model_extra or {})
        method, hyperparameters = self._method()
        training = {**_mapping(extra.pop("training", None), "training")}
        for part in (self.hyperparameters or {}, hyperparameters):
            training |= _training(part)
        if self.seed is not None:
            training["seed"] = self.seed
        spec: dict[str, Any] = {**extra, "dataset": self.training_file}
        if method:
            spec["method"] = method
        if training:
            spec["training"] = training
        if self.suffix is not None:
            spec["name"] = self.suffix
        options = _mapping(extra.get("architecture"), "architecture")
        if self.parent is not None:
            spec |= {"initial_weights": self.parent, "architecture": {**(network or {}), **options}}
        else:
            spec["architecture"] = {**options, "name": self.model}
        if doubled := sorted({"dataset", "name"} & set(extra)):
            raise Invalid(errors=[FieldError(field=name, message="has another name here") for name in doubled])
        return spec

    def _method(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The method of the spec (empty: the default one), and the hyperparameters that stand within it."""
        given = dict(self.method or {})
        if not given:
            return {}, {}
        kind = given.pop("type", None)
        known = [_SUPERVISED, *METHODS]
        if kind not in known:
            raise Invalid(errors=[FieldError(field="method.type", message="unknown method", allowed=known)])
        options = dict(_mapping(given.pop(kind, None), f"method.{kind}"))
        if given:
            message = f"options stand under the method's own name: method.{kind}"
            raise Invalid(errors=[FieldError(field=f"method.{name}"[:200], message=message) for name in sorted(given)])
        hyperparameters = dict(_mapping(options.pop("hyperparameters", None), f"method.{kind}.hyperparameters"))
        if kind == _SUPERVISED:
            return ({"name": "fqt", **options} if options else {}), hyperparameters
        return {**options, "name": kind}, hyperparameters


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(errors=[FieldError(field=field, message="must be an object")])
    return value


def _training(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    found = {_HYPERPARAMETERS.get(name, name): value for name, value in hyperparameters.items() if value != "auto"}
    if (multiplier := found.pop(_MULTIPLIER, None)) is not None:
        if isinstance(multiplier, bool) or not isinstance(multiplier, int | float):
            raise Invalid(errors=[FieldError(field=f"hyperparameters.{_MULTIPLIER}", message="must be a number")])
        base = found.get("learning_rate", TrainConfig().learning_rate)
        found["learning_rate"] = multiplier * base if isinstance(base, int | float) else base
    return found
