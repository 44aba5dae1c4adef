"""What a training run reports while it runs, as typed events that survive JSON. Imports no torch.

The trainer yields them; a child process writes them as JSON lines; the supervisor reads them back with
:func:`parse_event`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Event(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Started(Event):
    """Training is about to take its first step (or its first one after a resume)."""

    type: Literal["started"] = "started"
    step: int = Field(description="Steps already taken: 0, or the checkpoint's.")
    total_steps: int
    steps_per_epoch: int
    epochs: int
    train_images: int
    validation_images: int
    classes: list[str]
    parameters: int
    binary_parameters: int
    arithmetic: str = Field(description="float, simulated, integer or binary: what the products run in.")
    isa: str = Field(
        description="The kernels in use: reference, portable, neon, avx2, avx512 or amx; torch if nothing is binarised."
    )
    threads: int
    device: str
    report: list[dict[str, Any]] = Field(description="One row per layer of the conversion report.")


class StepDone(Event):
    """One optimiser step."""

    type: Literal["step"] = "step"
    step: int
    epoch: float = Field(description="Epochs done so far, with the fraction of the current one.")
    loss: float
    learning_rate: float
    images_per_second: float


class EpochDone(Event):
    """One pass over the training images, with validation."""

    type: Literal["epoch"] = "epoch"
    epoch: int = Field(description="Epochs done, from 1.")
    step: int
    train_loss: float
    train_accuracy: float = Field(description="Share of training images classified right, 0 to 1.")
    validation_loss: float | None
    validation_accuracy: float | None
    best: bool = Field(description="Whether this is the best epoch so far.")
    learning_rate: float
    images_per_second: float
    seconds: float


class QuantizationStatistics(Event):
    """Per-layer statistics of the quantisers at one step."""

    type: Literal["quantization"] = "quantization"
    step: int
    layers: dict[str, dict[str, float]] = Field(
        description="Layer name to named figures, e.g. window_share, kept_samples, kept_channels, "
        "gradient_range, flipped_share."
    )


class GradientTelemetry(Event):
    """How far each layer's quantised gradients are from the exact ones, on a few images of one step's batch."""

    type: Literal["telemetry"] = "telemetry"
    step: int
    images: int = Field(description="How many images were probed.")
    layers: dict[str, dict[str, float]] = Field(
        description="Layer name to named figures: relative_variance, squared_bias and cosine of dx and dw, and of "
        "accumulated_dx and accumulated_dw. A layer whose gradient is zero has none."
    )


class BitsChosen(Event):
    """With bits ``auto``: what was chosen for each layer before the first step; told again when a run goes on."""

    type: Literal["bits_chosen"] = "bits_chosen"
    budget: float = Field(description="Average bits per gradient element that could be spent.")
    average_bits: float = Field(description="Those that are spent, over the layers that were chosen for.")
    seconds: float = Field(description="What the choice took.")
    layers: dict[str, dict[str, float | None]] = Field(
        description="Layer name to bits (32: full precision), keep, clip, and the relative variances that are "
        "expected: of dx and dw by the layer itself, and of accumulated_dw."
    )
    method: dict[str, Any] = Field(description="The method with the choice written as overrides: the same run by hand.")

    @property
    def summary(self) -> str:
        """In a line for people."""
        rows = [f"{name}: {_setting(row)}" for name, row in self.layers.items()]
        return (
            f"gradient bits, chosen in {self.seconds:.1f} s: {self.average_bits:.3g} per element on average of a "
            f"budget of {self.budget:g}; {'; '.join(rows)}"
        )


def _setting(row: dict[str, float | None]) -> str:
    if row["bits"] == 32:
        return "full precision"
    clip = "" if row["clip"] is None else f", clip {row['clip']:g}"
    return (
        f"{row['bits']:g} bits, {row['keep']:.4g} kept{clip} (variance {row['accumulated_dw_relative_variance']:.2g})"
    )


class WidthsSearched(Event):
    """Where a search of widths stands."""

    type: Literal["search"] = "search"
    step: int
    layers: dict[str, dict[str, float]] = Field(
        description="Layer name to expected_width, likeliest_width, widest and widest_probability; under `network` "
        "macs_of_budget and parameters_of_budget, expected counts as shares of their budgets."
    )


class StructureFound(Event):
    """What a search of widths came to."""

    type: Literal["structure"] = "structure"
    architecture: dict[str, Any] = Field(description="The network that was found, as a job spec has it.")
    widths: dict[str, int] = Field(description="Layer name to channels,")
    began: dict[str, int] = Field(description="and those of the network that the search began with.")
    macs: int
    parameters: int
    macs_budget: int
    parameters_budget: int

    @property
    def summary(self) -> str:
        """In a line for people."""
        rows = ", ".join(f"{name} {self.began[name]} to {width}" for name, width in self.widths.items())
        return (
            f"found widths: {rows}; {self.macs} of {self.macs_budget} multiply-accumulates, {self.parameters} of "
            f"{self.parameters_budget} parameters"
        )


class CheckpointWritten(Event):
    """A checkpoint was written and synced."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: float
    path: str
    sha256: str
    size: int


class ArtifactWritten(Event):
    """A result file was written and synced."""

    type: Literal["artifact"] = "artifact"
    kind: str = Field(description="`model` (packed), `weights` (full precision), `report` or `examples`.")
    path: str
    sha256: str
    size: int
    details: dict[str, Any] = Field(default_factory=dict)


class LogLine(Event):
    """A line for people."""

    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: str


class WarningRaised(Event):
    """Something that the user should know and can act on."""

    type: Literal["warning"] = "warning"
    code: str
    message: str


class Confused(BaseModel):
    """So many images of one class that were taken for another one; classes by their number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    true: int
    predicted: int
    count: int


class Confusion(BaseModel):
    """Which classes a network takes for which. ``matrix[true][predicted]`` counts images; not with many classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Literal["validation"] = "validation"
    images: int
    classes: list[str]
    right: list[int] = Field(description="Of each class: how many were classified right,")
    of: list[int] = Field(description="of how many.")
    matrix: list[list[int]] | None
    most_confused: list[Confused]


class Done(Event):
    """Training ended by itself."""

    type: Literal["done"] = "done"
    reason: Literal["completed", "early_stopped"]
    step: int
    epochs: int
    best_epoch: int | None
    validation_accuracy: float | None = Field(description="Of the model that was kept: the best one.")
    validation_loss: float | None
    train_accuracy: float | None
    seconds: float
    memory_bytes: int | None = Field(
        default=None,
        description="The most memory of the training process at once, beyond what it had before data and network; null "
        "if it was not measured.",
    )
    confusion: Confusion | None = Field(default=None, description="Of the model that was kept, if it was asked for.")


class Stopped(Event):
    """Training was asked to stop and wrote a checkpoint first."""

    type: Literal["stopped"] = "stopped"
    step: int


class Failed(Event):
    """Training cannot go on. ``param`` is the JSON path of the offending field, if one is to blame."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    param: str | None = None


AnyEvent = Annotated[
    Started
    | StepDone
    | EpochDone
    | QuantizationStatistics
    | GradientTelemetry
    | BitsChosen
    | WidthsSearched
    | StructureFound
    | CheckpointWritten
    | ArtifactWritten
    | LogLine
    | WarningRaised
    | Done
    | Stopped
    | Failed,
    Field(discriminator="type"),
]
_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(line: str | bytes) -> AnyEvent:
    """Read one JSON line back into its event.

    Raises:
        pydantic.ValidationError: the line is no event (a ``ValueError``).
    """
    return _ADAPTER.validate_json(line)
