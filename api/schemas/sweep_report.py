"""Reports of sweeps on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Schema
from fqt_core.config.cost import StepCost
from jobs.records import Sweep, SweepState, TrialState
from jobs.sweep_spec import Metric

if TYPE_CHECKING:  # it imports NumPy, which the API process does without until someone asks for a report
    from jobs.sweep_report import Row, Spread


class SpreadObject(Schema):
    """Mean over the succeeded jobs of a row, and their sample standard deviation."""

    mean: float
    deviation: float | None = Field(description="null with a single value.")
    count: int

    @classmethod
    def of(cls, spread: Spread | None) -> Self | None:
        """Show a spread of the domain."""
        return None if spread is None else cls(**vars(spread))


class RunObject(Schema):
    """One job of a row. Jobs that failed are here too, with the reason."""

    number: int = Field(description="Of its trial.")
    job: str | None = Field(description="Its id; null if none could be made, or if it was deleted.")
    state: TrialState
    seed: Any = Field(description="Its `training.seed`, if that is searched.")
    value: float | None = Field(description="The metric's best value over its epochs.")
    reason: str | None = Field(description="Why it did not succeed.")
    seconds_per_epoch: float | None = Field(description="Median over its epochs.")
    memory_bytes: int | None = Field(description="Peak of its process beyond what it had before data and network.")
    gradient_variance: float | None = Field(description="See the row.")
    model_bytes: int | None = Field(description="Size of its packed model.")


class CostObject(Schema):
    """What one training step multiplies and moves, and proxies of the energy (not measured: see docs)."""

    images: int = Field(description="Of the step.")
    binary_macs: int = Field(description="Multiply-accumulates of single bits; a b-bit code with a sign counts as b.")
    byte_macs: int = Field(description="Those of two codes of up to eight bits.")
    float_macs: int = Field(description="Those of 32-bit floats, simulated products included.")
    bytes_moved: int = Field(description="Operands read and results written, each once per product, and the optimiser.")
    operation_joules: float = Field(description="Proxy of the energy of the operations: 45 nm, Horowitz, ISSCC 2014.")
    movement_joules: float = Field(description="Proxy of the energy of the bytes, all from DRAM, by the same source.")

    @classmethod
    def of(cls, cost: StepCost | None) -> Self | None:
        """Show a cost of the library."""
        if cost is None:
            return None
        return cls(**vars(cost), operation_joules=cost.operation_joules, movement_joules=cost.movement_joules)


class ReportRowObject(Schema):
    """The jobs of a sweep that differ in nothing but the seed."""

    label: str = Field(description="What tells it from the other rows, in a few words.")
    parameters: dict[str, Any] = Field(description="Dotted name to value, without the seed.")
    runs: list[RunObject]
    arithmetic: str | None = Field(
        description="What the products of its jobs ran in, by their records: float, simulated, integer or binary."
    )
    kernels: str | None = Field(description="The kernels that its jobs used.")
    cost: CostObject | None = Field(description="null before a job has succeeded.")
    steps_per_epoch: int | None
    value: SpreadObject | None = Field(description="Of the sweep's metric; null if no job has succeeded.")
    seconds_per_epoch: SpreadObject | None
    memory_bytes: SpreadObject | None
    gradient_variance: SpreadObject | None = Field(
        description="Relative variance of the gradients that arrive at binarised weights: the mean over a layer's "
        "telemetry reports, the median over layers. 0: they are exact. null where nothing is binarised."
    )
    model_bytes: int | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Show a row of the domain."""
        spreads = ("value", "seconds_per_epoch", "memory_bytes", "gradient_variance")
        return cls.model_validate(
            vars(row)
            | {name: SpreadObject.of(getattr(row, name)) for name in spreads}
            | {"cost": CostObject.of(row.cost), "runs": [RunObject(**vars(run)) for run in row.runs]}
        )


_SPREAD = {"mean": 0.91, "deviation": None, "count": 1}
_EXAMPLE: dict[str, Any] = {
    "object": "sweep_report",
    "sweep": "swp_01JD0000000000000000000001",
    "name": "methods on digits",
    "state": "finished",
    "metric": "validation_accuracy",
    "direction": "maximize",
    "base": {"dataset": "digits", "architecture": {"name": "convnet", "image_size": 16, "channels": 1}},
    "rows": [
        {
            "label": "fqt",
            "parameters": {"method": {"name": "fqt"}},
            "runs": [
                {
                    "number": 0,
                    "job": "job_01JD0000000000000000000001",
                    "state": "succeeded",
                    "seed": 0,
                    "value": 0.91,
                    "reason": None,
                    "seconds_per_epoch": 1.5,
                    "memory_bytes": 104857600,
                    "gradient_variance": 3.1,
                    "model_bytes": 45000,
                }
            ],
            "arithmetic": "integer",
            "kernels": "avx512",
            "cost": {
                "images": 128,
                "binary_macs": 2717908992,
                "byte_macs": 0,
                "float_macs": 53411840,
                "bytes_moved": 37620376,
                "operation_joules": 0.00025588662272,
                "movement_joules": 0.0061133111,
            },
            "steps_per_epoch": 12,
            "value": _SPREAD,
            "seconds_per_epoch": _SPREAD | {"mean": 1.5},
            "memory_bytes": _SPREAD | {"mean": 104857600},
            "gradient_variance": _SPREAD | {"mean": 3.1},
            "model_bytes": 45000,
        }
    ],
}


class SweepReportObject(Schema):
    """A sweep told by what differs beside the seed: means, deviations, costs."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})

    object: Literal["sweep_report"] = "sweep_report"
    sweep: str
    name: str | None
    state: SweepState
    metric: Metric
    direction: Literal["maximize", "minimize"]
    base: dict[str, Any] = Field(description="The job spec of all jobs, but for what is searched.")
    rows: list[ReportRowObject] = Field(description="In the order of their first trials.")

    @classmethod
    def of(cls, sweep: Sweep, rows: list[Row]) -> Self:
        """Show a report of the domain."""
        return cls(
            sweep=sweep.id,
            name=sweep.name,
            state=sweep.state,
            metric=sweep.spec.metric,
            direction="maximize" if sweep.spec.maximizes else "minimize",
            base=sweep.spec.base,
            rows=[ReportRowObject.of(row) for row in rows],
        )
