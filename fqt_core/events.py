"""What a training run reports while it runs, as typed events that survive JSON. Imports no torch.

The trainer yields them; a child process writes them as JSON lines; the supervisor reads them back with
:func:`parse_event`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fqt_core.files import file_sha256

MOST_MATRIX_CLASSES = 100
_MOST_PAIRS = 20


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
    train_images: int = Field(description="Images to train on, or rows of a table.")
    validation_images: int
    classes: list[str]
    parameters: int
    binary_parameters: int
    arithmetic: str = Field(description="float, simulated, integer or binary: what the products run in.")
    isa: str = Field(
        description="The kernels in use: reference, portable, neon, avx2, avx512, amx or cuda; torch if nothing is "
        "binarised; lightgbm if trees are grown. On a GPU reference if a layer has a product without a CUDA kernel; "
        "the report says which."
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
    images_per_second: float = Field(description="Training images, or rows of a table.")


class EpochDone(Event):
    """One pass over the training images with validation, or one boosting iteration."""

    type: Literal["epoch"] = "epoch"
    epoch: int = Field(description="Epochs done, from 1.")
    step: int
    train_loss: float
    train_accuracy: float | None = Field(
        description="Share of training images (rows of a table) classified right, 0 to 1; null in regression."
    )
    validation_loss: float | None
    validation_accuracy: float | None
    best: bool = Field(description="Whether this is the best epoch so far.")
    learning_rate: float
    images_per_second: float
    seconds: float


class FullPrecisionDone(Event):
    """One boosting iteration of the run in full precision that a quantised one is compared with."""

    type: Literal["full_precision"] = "full_precision"
    step: int = Field(description="The iteration, from 1.")
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None


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


class GradientsExchanged(Event):
    """What processes that train together have sent each other of their gradients, since they (last) started."""

    type: Literal["gradients_exchanged"] = "gradients_exchanged"
    step: int
    processes: int
    gradient_bits: int | None = Field(description="Bits per element that are sent; null: 32.")
    bytes_sent: int = Field(description="By each process.")
    full_precision_bytes: int = Field(description="What it would have been at 32 bits.")

    @property
    def summary(self) -> str:
        """In a line for people."""
        sent = f"each of {self.processes} processes has sent {self.bytes_sent / 1e6:.1f} MB of gradients"
        if self.gradient_bits is None:
            return f"{sent}, at 32 bits"
        saved = self.full_precision_bytes - self.bytes_sent
        return (
            f"{sent}, at {self.gradient_bits} bits: {saved / 1e6:.1f} MB "
            f"({saved / max(1, self.full_precision_bytes):.1%}) saved"
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

    @classmethod
    def of(cls, kind: str, path: Path, details: dict[str, Any]) -> Self:
        """What is told of a file that is written: digest and size."""
        return cls(kind=kind, path=str(path), sha256=file_sha256(path), size=path.stat().st_size, details=details)


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

    @classmethod
    def counted(cls, counts: Mapping[tuple[int, int], int], classes: Sequence[str]) -> Self:
        """From how often each (true, predicted) pair of classes occurred, in the order of the classes.

        With more than 100 classes there is no matrix, only the pairs that are confused most.
        """
        entries = [Confused(true=true, predicted=guess, count=count) for (true, guess), count in counts.items()]
        right, of = [0] * len(classes), [0] * len(classes)
        matrix = [[0] * len(classes) for _ in classes] if len(classes) <= MOST_MATRIX_CLASSES else None
        for entry in entries:
            of[entry.true] += entry.count
            if entry.true == entry.predicted:
                right[entry.true] += entry.count
            if matrix is not None:
                matrix[entry.true][entry.predicted] = entry.count
        wrong = sorted((entry for entry in entries if entry.true != entry.predicted), key=lambda entry: -entry.count)
        return cls(
            images=sum(of), classes=list(classes), right=right, of=of, matrix=matrix, most_confused=wrong[:_MOST_PAIRS]
        )


class TreesResult(BaseModel):
    """One of the two models of a job that grows trees: its best iteration, which is where it was cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(description="Those that were run.")
    best_iteration: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    validation_r2: float | None = Field(description="Share of the target's variance that is explained: regression.")
    seconds: float = Field(description="Growing and evaluating.")
    bytes: int = Field(description="Of its LightGBM text.")


class TabularResult(BaseModel):
    """What a job on a table led to: the kept model and, if it was compared, the one from full-precision gradients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["classification", "regression"]
    target: str
    columns: int = Field(description="Columns that were learned from.")
    rows_left_out: int = Field(description="Rows without a target.")
    kept: TreesResult
    full_precision: TreesResult | None
    agreement: float | None = Field(
        description="Of both models on the validation rows: share of equal classes, or correlation of the values."
    )


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
        description="The most memory of the training process at once, beyond what it had before data and network, and "
        "but for code on large pages; null if it was not measured.",
    )
    confusion: Confusion | None = Field(default=None, description="Of the model that was kept, if it was asked for.")
    tabular: TabularResult | None = Field(default=None, description="Of a job on a table.")


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
    | FullPrecisionDone
    | QuantizationStatistics
    | GradientTelemetry
    | BitsChosen
    | GradientsExchanged
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
