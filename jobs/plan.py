"""What a job would take, told before it is submitted: steps, memory, and time as this installation has measured it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from jobs.spec import JobSpec


@dataclass(frozen=True)
class Plan:
    """What a job would take. Sizes are in bytes; ``macs`` are multiply-accumulates of one image's forward pass.

    ``seconds`` is ``None`` where nothing comparable has run here yet, and then ``seconds_reason`` says so.
    """

    classes: list[str]
    train_images: int
    validation_images: int
    epochs: int
    steps_per_epoch: int
    steps: int
    arithmetic: str
    parameters: int
    binary_parameters: int
    macs: int
    model_bytes: int
    fp32_bytes: int
    memory_bytes: int
    seconds: float | None
    seconds_reason: str | None


def plan(connection: Connection, spec: JobSpec) -> Plan:
    """Validate the spec as ``jobs.create`` does, and tell what the job would take.

    Raises:
        InvalidSpecError: the spec does not fit what the store holds; it has every fault.
    """
    raise NotImplementedError
