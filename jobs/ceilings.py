"""What a job may be predicted to take: steps and memory, by the settings and by its key, the lesser of both."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from jobs.errors import SpecFault
from jobs.memory import memory_bytes, teacher_network, trained_network
from jobs.spec import JobSpec
from jobs.steps import steps_per_epoch


def lesser(mine: int | None, everybodys: int | None) -> int | None:
    """The ceiling that counts: a key's own lies below everybody's, not above. ``None``: no ceiling."""
    return min((limit for limit in (mine, everybodys) if limit is not None), default=None)


def too_many_steps(spec: JobSpec, train_images: int, most: int) -> list[SpecFault]:
    """What is wrong with the number of optimiser steps, if they are more than ``most``."""
    an_epoch = steps_per_epoch(train_images, spec)
    steps = an_epoch * spec.training.epochs
    if steps <= most:
        return []
    message = f"the job would take {steps} steps, and may take {most}"
    if an_epoch <= most:
        return [SpecFault("training.epochs", message, {"maximum": most // an_epoch})]
    return [
        SpecFault("training.batch_size", f"{message}: one epoch has {an_epoch}", {"minimum": -(-train_images // most)})
    ]


def too_much_memory(
    connection: Connection, spec: JobSpec, classes: int, train_images: int, images: int, most: int
) -> list[SpecFault]:
    """What is wrong with the memory that the job would take, if it is more than ``most`` bytes."""
    network = trained_network(spec, classes)
    teacher = teacher_network(connection, spec, classes)

    def bytes_with(batch_size: int) -> int:
        training = spec.training.model_copy(update={"batch_size": batch_size})
        changed = spec.model_copy(update={"training": training})
        return memory_bytes(changed, network, teacher, train_images, images)

    planned = bytes_with(spec.training.batch_size)
    if planned <= most:
        return []
    message = f"the job would take about {planned} bytes of memory, and may take {most}"
    fits = _largest(lambda size: bytes_with(size) <= most, spec.training.accumulate, spec.training.batch_size)
    if fits is not None:
        return [SpecFault("training.batch_size", message, {"maximum": fits})]
    smaller = "use a smaller width or image_size, or fewer images"
    return [SpecFault("architecture", f"{message}, whatever its batch size is; {smaller}")]


def _largest(fits: Callable[[int], bool], first: int, beyond: int) -> int | None:
    """The largest number from ``first`` on and below ``beyond`` that fits, where all smaller ones fit too."""
    if first >= beyond or not fits(first):
        return None
    low, high = first, beyond
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
