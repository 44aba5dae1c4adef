"""Options of a training run. Torch-free; every field is bounded and says its unit."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

MUON_LEARNING_RATE = 8e-3
"""Learning rate of the latents with Muon, unless another one is asked for."""


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


class EmaConfig(BaseModel):
    """A running average of the weights, which is what is validated and exported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decay: float = Field(
        default=0.99,
        gt=0,
        lt=1,
        description="What the average keeps of itself in each step t (from 1), once it has warmed up: "
        "min(decay, t / (t + 9)). It looks back over about 1 / (1 - decay) steps; a tenth of the run or less is sound.",
    )
    batches: int = Field(
        default=20,
        ge=1,
        le=10_000,
        description="Training batches that batch normalisation is estimated from anew, for the averaged weights, "
        "before each validation: forward passes, in addition to the training itself.",
    )


class DistillationConfig(BaseModel):
    """How much is learned from the teacher: the loss is (1 - w)·CE + w·T²·KL(teacher ‖ student), both softened by T."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(
        default=0.5, gt=0, le=1, description="Weight w of the teacher's part of the loss; 1: labels are not used."
    )
    temperature: float = Field(
        default=2.0,
        gt=0,
        le=100,
        description="Temperature T that logits are divided by: the higher, the more the wrong classes tell.",
    )


class TrainConfig(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=10, ge=1, le=10_000, description="Passes over the training images.")
    batch_size: int = Field(
        default=128, ge=1, le=4096, description="Images per step. A last batch of one image joins the one before it."
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="Micro-batches that each step's images are gone through in, one after another: memory of "
        "activations falls by this factor, and the loss is still the mean over the whole batch. Batch normalisation "
        "and gradient quantisers see one micro-batch at a time: statistics are of its images, and pruning keeps a "
        "share of its groups.",
    )
    optimizer: Literal["adam", "sgd", "muon"] = Field(
        default="adam",
        description="Adam; SGD with momentum; or Muon (orthogonalised momentum) for the weights of binarised layers "
        "with Adam for everything else.",
    )
    learning_rate: float = Field(
        default=3e-3,
        gt=0,
        le=10,
        description="Learning rate of everything but the head. The paper fine-tunes with 1e-5 over many steps; "
        "short runs want 1e-3 to 6e-3.",
    )
    binary_learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="Learning rate of the weights of binarised layers; null: that of `learning_rate`, or 8e-3 with "
        "Muon, whose steps have another length than Adam's. Of no effect where nothing is binarised.",
    )
    head_learning_rate: float = Field(
        default=3e-3, gt=0, le=10, description="Learning rate of the last (full-precision) layer."
    )
    momentum: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Momentum of SGD (null: 0.9) or Muon (null: 0.95); ignored by Adam.",
    )
    weight_decay: float = Field(default=1e-5, ge=0, le=1, description="L2 penalty added to the gradients.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="Cosine or linear decay to zero over all steps after the warm-up, or a constant learning rate.",
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Steps in which the learning rate rises linearly to its full value; fewer than the run has.",
    )
    warmup_epochs: float = Field(
        default=0,
        ge=0,
        lt=10_000,
        description="The same in epochs (fractions too), rounded to steps; fewer than `epochs`. Use one of both.",
    )
    label_smoothing: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Share of each label that is spread evenly over all classes, in the training loss only.",
    )
    ema: EmaConfig | None = Field(
        default=None,
        description="Validate and export a running average of the weights; null: the weights as they are.",
    )
    distillation: DistillationConfig | None = Field(
        default=None, description="How to learn from the teacher; null: the defaults, if there is a teacher."
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
        default=None,
        ge=1,
        le=1_000_000,
        description="Checkpoint after this many steps; null: after each epoch, but so seldom that writing them "
        "takes less than 1 % of the time.",
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

    # Fields are checked against earlier ones, not the whole model, so that a fault is told together with others.

    @field_validator("accumulate")
    @classmethod
    def _fits_the_batch(cls, value: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if batch_size is not None and value > batch_size:
            raise ValueError(
                f"a batch of {batch_size} images cannot be split into {value} micro-batches; use at most batch_size"
            )
        return value

    @field_validator("warmup_epochs")
    @classmethod
    def _one_warmup_within_the_run(cls, value: float, info: ValidationInfo) -> float:
        epochs = info.data.get("epochs")
        if value and info.data.get("warmup_steps"):
            raise ValueError("warmup_steps is set as well; use one of both")
        if epochs is not None and value >= epochs:
            raise ValueError(f"the warm-up must be shorter than the run's {epochs} epochs")
        return value

    @property
    def latent_learning_rate(self) -> float:
        """Learning rate of the weights of binarised layers, with the default resolved."""
        if self.binary_learning_rate is not None:
            return self.binary_learning_rate
        return MUON_LEARNING_RATE if self.optimizer == "muon" else self.learning_rate

    @property
    def settled_momentum(self) -> float:
        """Momentum of the optimiser, with the default resolved."""
        if self.momentum is not None:
            return self.momentum
        return 0.95 if self.optimizer == "muon" else 0.9

    @property
    def micro_batch_size(self) -> int:
        """Images of a micro-batch of a full batch, rounded up."""
        return -(-self.batch_size // self.accumulate)

    def micro_batches(self, images: int) -> int:
        """How many micro-batches a batch of so many images is gone through in: ``accumulate`` if the batch is full.

        A smaller batch has fewer. No micro-batch is a single image, over which batch normalisation may have no
        variance, unless micro-batches of full batches are.
        """
        count = min(self.accumulate, -(-images * self.accumulate // self.batch_size))
        return count if self.batch_size < 2 * self.accumulate else min(count, max(1, images // 2))

    def warmup(self, steps_per_epoch: int) -> int:
        """Steps of warm-up in a run of so many steps per epoch."""
        return self.warmup_steps or round(self.warmup_epochs * steps_per_epoch)
