"""Reports of sweeps, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fqt_client.models import Resource


@dataclass(frozen=True, kw_only=True)
class Spread(Resource):
    """Mean and sample standard deviation (None of a single value) over ``count`` succeeded jobs."""

    mean: float
    deviation: float | None = None
    count: int


@dataclass(frozen=True, kw_only=True)
class ReportRun(Resource):
    """One job of a row; with the reason, where it did not succeed. Fields as in the service's ``RunObject``."""

    number: int
    state: str
    job: str | None = None
    seed: Any = None
    value: float | None = None
    reason: str | None = None
    seconds_per_epoch: float | None = None
    memory_bytes: int | None = None
    gradient_variance: float | None = None
    model_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepCost(Resource):
    """Multiply-accumulates and bytes of one training step, and proxies of their energy in joules."""

    images: int
    binary_macs: int
    byte_macs: int
    float_macs: int
    bytes_moved: int
    operation_joules: float
    movement_joules: float

    @property
    def joules(self) -> float:
        """Both proxies together."""
        return self.operation_joules + self.movement_joules


@dataclass(frozen=True, kw_only=True)
class ReportRow(Resource):
    """The jobs of a sweep that differ in nothing but the seed. Fields as in the service's ``ReportRowObject``."""

    label: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    runs: Sequence[ReportRun] = ()
    arithmetic: str | None = None
    kernels: str | None = None
    cost: StepCost | None = None
    steps_per_epoch: int | None = None
    value: Spread | None = None
    seconds_per_epoch: Spread | None = None
    memory_bytes: Spread | None = None
    gradient_variance: Spread | None = None
    model_bytes: int | None = None

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("value", "seconds_per_epoch", "memory_bytes", "gradient_variance"):
            if values.get(name) is not None:
                values[name] = Spread.from_json(values[name])
        if values.get("cost") is not None:
            values["cost"] = StepCost.from_json(values["cost"])
        values["runs"] = [ReportRun.from_json(run) for run in values.get("runs") or []]
        return super()._convert(values)

    @property
    def succeeded(self) -> int:
        """How many of its jobs have."""
        return sum(run.state == "succeeded" for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class SweepReport(Resource):
    """What a sweep came to: a row for each point of its space, over the seeds."""

    sweep: str
    state: str
    metric: str
    name: str | None = None
    direction: str | None = None
    base: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[ReportRow] = ()

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        values["rows"] = [ReportRow.from_json(row) for row in values.get("rows") or []]
        return super()._convert(values)
