"""What ``python -m fqt_core.parallel`` trains. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fqt_core.config import AnyArchitecture, AnyMethod, Fqt, ParallelConfig, Resnet18, TrainConfig


class RunSpec(BaseModel):
    """What ``python -m fqt_core.parallel`` trains; fields as of a job's spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: AnyArchitecture = Field(default_factory=Resnet18)
    method: AnyMethod = Field(default_factory=Fqt)
    training: TrainConfig = Field(default_factory=TrainConfig)
    parallel: ParallelConfig
    classes: list[str] | None = None


class Work(BaseModel):
    """What each process is told on its command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: RunSpec
    data: str
    output: Path
    device: str
    threads: int
