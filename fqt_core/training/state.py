"""Where a run stands: everything but tensors that the next step, the next epoch and the result depend on."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fqt_core.config import TrainConfig


class RunState(BaseModel):
    """Counters and running sums of a run. Mutable; goes into checkpoints as JSON (floats survive exactly)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: int = Field(default=0, ge=0, description="Optimiser steps taken.")
    epoch: int = Field(default=0, ge=0, description="Epochs done, validation included.")
    batch: int = Field(default=0, ge=0, description="Batches done of the current epoch.")

    loss_sum: float = Field(default=0.0, description="Loss times images, summed over the current epoch.")
    correct: int = Field(default=0, ge=0, description="Training images of the current epoch classified right.")
    seen: int = Field(default=0, ge=0, description="Training images of the current epoch.")
    epoch_seconds: float = Field(default=0.0, ge=0, description="Time spent in the current epoch's steps.")
    seconds: float = Field(default=0.0, ge=0, description="Time spent training, validating and writing checkpoints.")

    best_epoch: int | None = Field(default=None, ge=1)
    best_accuracy: float | None = None
    best_loss: float | None = None
    best_train_accuracy: float | None = None
    last_train_accuracy: float | None = None
    epochs_without_gain: int = Field(default=0, ge=0, description="Epochs since the best validation accuracy.")

    accumulate: int | None = Field(
        default=None,
        ge=1,
        description="Micro-batches of a full batch, where the device's memory did not hold those that were asked for.",
    )

    noise_told: list[str] = Field(
        default_factory=list, description="Layers whose gradients were warned of, as `cause/layer`."
    )

    bits_chosen: dict[str, Any] | None = Field(
        default=None, description="What was chosen for bits `auto`, as its event told it."
    )

    def fitting(self, config: TrainConfig) -> TrainConfig:
        """The configuration with micro-batches that the device's memory has held so far."""
        return config if self.accumulate is None else config.model_copy(update={"accumulate": self.accumulate})

    def begin_epoch(self) -> None:
        """Clear the sums of the epoch that was closed."""
        self.batch = 0
        self.loss_sum = 0.0
        self.correct = 0
        self.seen = 0
        self.epoch_seconds = 0.0
