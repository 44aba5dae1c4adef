"""What a job would take, on the wire."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal, Self

from pydantic import Field

from api.problems import FieldError
from api.schemas.common import Schema
from api.specs import as_field_error
from jobs.plan import Plan
from jobs.spec import JobSpec


class PresetPlanObject(Schema):
    """What the job would cost with a preset of `fqt` in place of its method."""

    name: str
    summary: str
    gradient_bits: float = Field(description="As of the plan.")
    step_macs: int = Field(description="As of the plan.")
    seconds: float | None = Field(
        description="Predicted time, from jobs with the same options that ran here; null without any."
    )


class ShapeObject(Schema):
    """What the images of a data set are like."""

    width: int = Field(description="Median width in pixels.")
    height: int = Field(description="Median height in pixels.")
    channels: int = Field(description="1: all are grey; 3: RGB.")


class InputObject(Schema):
    """What the network sees of an image."""

    image_size: int = Field(description="Side in pixels of the square that each image is resized to.")
    channels: int = Field(description="1: grey, 3: RGB; images are converted.")
    found: ShapeObject | None = Field(description="The images before that; null where it is not known.")


class PlanObject(Schema):
    """The answer to a dry run: the spec is valid, and this is what the job would take."""

    object: Literal["plan"] = "plan"
    spec: JobSpec = Field(description="What was asked for, with every default filled in.")
    classes: list[str] = Field(description="The classes that would be trained on, in label order.")
    input: InputObject | None = Field(description="What the network sees of an image; null of a table.")
    train_images: int
    validation_images: int
    epochs: int
    steps_per_epoch: int
    steps: int = Field(description="Optimiser steps in all.")
    arithmetic: str = Field(description="What the least exact product runs in: float, simulated, integer or binary.")
    parameters: int = Field(description="Trainable parameters.")
    binary_parameters: int = Field(description="Those of them that are one bit in the finished model.")
    macs: int = Field(description="Multiply-accumulates of one image's forward pass.")
    step_macs: int = Field(
        description="Multiply-accumulates of one image's training step: forward, and backward over the groups of the "
        "gradient that are kept. Time is not in proportion to it."
    )
    gradient_bits: float = Field(
        description="Bits per gradient element, averaged over the layers that the method would binarise without "
        "overrides; 32 in full precision. With bits `auto` at most so many: they are chosen at the start."
    )
    bits_are_chosen: bool = Field(
        description="Whether bits, kept groups and clip of each layer are chosen when the job starts (bits `auto`): "
        "`step_macs` is then an upper bound, and `gradient_bits` counts the whole budget."
    )
    model_bytes: int = Field(description="Size of the finished model.")
    fp32_bytes: int = Field(description="Size of the same model in full precision.")
    memory_bytes: int = Field(description="Estimated memory of the training process.")
    seconds: float | None = Field(description="Predicted time, from like jobs that ran here; null without any.")
    seconds_reason: str | None = Field(description="Why there is no prediction.")
    presets: list[PresetPlanObject] = Field(description="What each preset of `fqt` would cost instead.")
    warnings: list[FieldError] = Field(
        description="What keeps the job from running on the workers of the moment, and what to do about it."
    )
    advice: list[FieldError] = Field(description="What speaks against a good result, and what to do about it.")

    @classmethod
    def of(cls, spec: JobSpec, plan: Plan) -> Self:
        """Show a plan of the domain."""
        told = {
            "warnings": [as_field_error(fault) for fault in plan.warnings],
            "advice": [as_field_error(fault) for fault in plan.advice],
        }
        return cls.model_validate(asdict(plan) | {"spec": spec} | told)
