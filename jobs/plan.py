"""What a job would take, told before it is submitted: steps, memory, and time as this installation has measured it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, select

from fqt_core.config.plan import NetworkPlan, network_plan
from jobs import validation
from jobs.errors import SpecFault
from jobs.offers import Offer, shortcomings
from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.tables import jobs
from jobs.validation import Sources

_MEASURED_JOBS = 5
_SEARCHED_JOBS = 500
_PROCESS_BYTES = 400 * 2**20  # Python, torch and its libraries, before any data
_FLOAT_BYTES = 4
# Float values per parameter: weight, gradient, two moments of Adam, and the copy of the best epoch.
_VALUES_PER_PARAMETER = {"adam": 5, "sgd": 4}
_PASSING_OUTPUTS = 4  # float tensors of a layer's output size that exist at the same time, forward or backward


@dataclass(frozen=True)
class Plan:
    """What a job would take. Sizes are in bytes; ``macs`` are multiply-accumulates of one image's forward pass.

    ``seconds`` is ``None`` where nothing comparable has run here yet, and then ``seconds_reason`` says so. ``warnings``
    name the fields that keep the job from running on the workers of the moment.
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
    warnings: list[SpecFault]


def plan(connection: Connection, spec: JobSpec, offers: Sequence[Offer] | None = None) -> Plan:
    """Validate the spec as ``jobs.create`` does, and tell what the job would take.

    ``offers`` are those of the workers that run now, if they could be asked: what they lack becomes a warning.

    Raises:
        InvalidSpecError: the spec does not fit what the store holds; it has every fault.
    """
    sources = validation.check(connection, spec)
    network = network_plan(spec.architecture, len(sources.classes), spec.method)
    train, held = _split(sources, spec.training.validation_fraction)
    per_epoch = steps_per_epoch(train, spec.training.batch_size)
    seconds = _seconds(connection, spec, train * spec.training.epochs * network.macs)
    memory = _memory(spec, network, train, train + held)
    reason = "no job with this architecture, image size and method has finished here yet"
    return Plan(
        classes=sources.classes,
        train_images=train,
        validation_images=held,
        epochs=spec.training.epochs,
        steps_per_epoch=per_epoch,
        steps=per_epoch * spec.training.epochs,
        arithmetic=spec.method.arithmetic,
        parameters=network.parameters,
        binary_parameters=network.binary_parameters,
        macs=network.macs,
        model_bytes=network.model_bytes,
        fp32_bytes=network.fp32_bytes,
        memory_bytes=memory,
        seconds=seconds,
        seconds_reason=reason if seconds is None else None,
        warnings=shortcomings(spec, memory, offers),
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches of one pass; a last batch of a single image is merged into the one before it."""
    full, rest = divmod(images, batch_size)
    return max(1, full + (rest > 1 or (rest == 1 and full == 0)))


def _split(sources: Sources, fraction: float) -> tuple[int, int]:
    """Images that train and images that validate, as the trainer will split them (built-in sets: nearly so)."""
    dataset = sources.dataset
    if dataset.validation_images:
        share = len(sources.classes) / len(dataset.classes)
        return sources.images, round(dataset.validation_images * share)
    if fraction == 0:
        return sources.images, 0
    if dataset.counts is None:
        members = [sources.images / len(sources.classes)] * len(sources.classes)
    else:
        members = [float(dataset.counts[name]) for name in sources.classes]
    held = sum(max(0, min(max(round(count * fraction), 1), round(count) - 1)) for count in members)
    return sources.images - held, held


def _memory(spec: JobSpec, network: NetworkPlan, train: int, images: int) -> int:
    batch = min(spec.training.batch_size, train)
    pixels = spec.architecture.channels * spec.architecture.image_size**2
    largest = max(layer.out_channels * layer.output_size**2 for layer in network.layers)
    return (
        _PROCESS_BYTES
        + images * pixels
        + _VALUES_PER_PARAMETER[spec.training.optimizer] * _FLOAT_BYTES * network.parameters
        + batch * (network.activation_bytes + _PASSING_OUTPUTS * _FLOAT_BYTES * largest)
    )


def _seconds(connection: Connection, spec: JobSpec, work: int) -> float | None:
    """Seconds for so many image-MACs, by the median of the newest comparable jobs."""
    finished = connection.execute(
        select(jobs.c.spec, jobs.c.result)
        .where(jobs.c.state == JobState.SUCCEEDED.value)
        .order_by(jobs.c.id.desc())
        .limit(_SEARCHED_JOBS)
    )
    rates: list[float] = []
    for row in finished:
        theirs, result = JobSpec.model_validate(row.spec), row.result or {}
        if _kind(theirs) != _kind(spec) or not {"train_images", "classes", "epochs", "seconds"} <= result.keys():
            continue
        macs = network_plan(theirs.architecture, len(result["classes"]), theirs.method).macs
        rates.append(result["seconds"] / (result["train_images"] * result["epochs"] * macs))
        if len(rates) == _MEASURED_JOBS:
            break
    return round(median(rates) * work, 1) if rates else None


def _kind(spec: JobSpec) -> tuple[dict[str, Any], str]:
    """What must agree for times to be comparable."""
    return spec.architecture.model_dump(exclude={"width", "channels"}), spec.method.name
