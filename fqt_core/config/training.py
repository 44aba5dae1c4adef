"""Options of a training run. Torch-free; every field is bounded and says its unit."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AugmentConfig(BaseModel):
    """What is done to training batches (validation images are only normalised)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pad_crop: int = Field(
        default=0, ge=0, le=32, description="Pad by this many pixels on each side, then crop at random. 0: off."
    )
    horizontal_flip: bool = Field(default=False, description="Mirror half of the images, left to right.")
    normalize: bool = Field(
        default=True, description="Subtract each channel's training mean and divide by its deviation."
    )


class TrainConfig(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=10, ge=1, le=10_000, description="Passes over the training images.")
    batch_size: int = Field(
        default=128, ge=1, le=4096, description="Images per step. A last batch of one image joins the one before it."
    )
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="Adam, or SGD with momentum.")
    learning_rate: float = Field(
        default=3e-3,
        gt=0,
        le=10,
        description="Learning rate of everything but the head. The paper fine-tunes with 1e-5 over many steps; "
        "short runs want 1e-3 to 6e-3.",
    )
    head_learning_rate: float = Field(
        default=3e-3, gt=0, le=10, description="Learning rate of the last (full-precision) layer."
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD; ignored by Adam.")
    weight_decay: float = Field(default=1e-5, ge=0, le=1, description="L2 penalty added to the gradients.")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="Cosine decay to zero over all steps, or a constant learning rate."
    )
    validation_fraction: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="Share of the images of each class that is set aside for validation, when the data set has no "
        "validation part of its own.",
    )
    early_stopping_patience: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Stop after this many epochs without a better validation accuracy; null: never.",
    )
    augment: AugmentConfig = Field(default_factory=AugmentConfig, description="Augmentation of training batches.")
    checkpoint_every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Checkpoint after this many steps; null: after each epoch."
    )
    statistics_every_steps: int = Field(
        default=50,
        ge=1,
        le=1_000_000,
        description="Report each layer's quantisation statistics after this many steps.",
    )
    telemetry_every_steps: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Measure the noise of each layer's quantised gradients after the first step and then after this "
        "many; null: so seldom that it takes less than 2 % of the time; 0: never.",
    )
    seed: int = Field(
        default=0, ge=0, le=2**63 - 1, description="Seed of everything random: same spec, data and seed, same result."
    )
