"""What a job would take, told before it is submitted: steps, memory, and time as this installation has measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from fqt_core.config import PRESETS, Fqt, TrainConfig
from fqt_core.config.method_base import OneBitForward
from fqt_core.config.plan import network_plan
from fqt_core.config.preset import PresetName
from jobs import tabular, validation
from jobs.datasets import ImageShape
from jobs.errors import SpecFault
from jobs.memory import memory_bytes, teacher_network, trained_network
from jobs.offers import Offer, shortcomings
from jobs.organisations import within
from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.steps import steps_per_epoch, too_few_steps
from jobs.tables import jobs
from jobs.validation import UNBOUNDED, Bounds, Sources

_MEASURED_JOBS = 5
_SEARCHED_JOBS = 500
_PASSES_OF_A_STEP = 3  # one forward, and a backward one of twice its work
_Kind: TypeAlias = tuple[str, str, bool, str]


@dataclass(frozen=True)
class PresetPlan:
    """What the job would cost with a preset of ``fqt`` in place of its method; fields as in :class:`Plan`.

    ``seconds`` are those of jobs with the same options that ran here, ``None`` without any: the share of ``step_macs``
    is not one of the time, for much of a step is no product.
    """

    name: str
    summary: str
    gradient_bits: float
    step_macs: int
    seconds: float | None


@dataclass(frozen=True)
class InputPlan:
    """What the network sees: squares of ``image_size`` pixels, with 1 channel (grey) or 3; ``found``: the images."""

    image_size: int
    channels: int
    found: ImageShape | None


@dataclass(frozen=True)
class Plan:
    """What a job would take. Sizes are in bytes; ``macs`` are multiply-accumulates of one image's forward pass,
    ``step_macs`` those of its training step, over kept groups alone; ``gradient_bits`` are bits per gradient element,
    averaged over the layers that the method would binarise without overrides. ``bits_are_chosen``: only when the job
    starts, so that ``gradient_bits`` has the budget and ``step_macs`` is over all groups.

    ``seconds`` is ``None`` where nothing comparable has run here yet, and then ``seconds_reason`` says so. ``warnings``
    name the fields that keep the job from running on the workers of the moment, ``advice`` those that keep it from a
    good result. ``input`` is ``None`` of a table.
    """

    classes: list[str]
    input: InputPlan | None
    train_images: int
    validation_images: int
    epochs: int
    steps_per_epoch: int
    steps: int
    arithmetic: str
    parameters: int
    binary_parameters: int
    macs: int
    step_macs: int
    gradient_bits: float
    bits_are_chosen: bool
    model_bytes: int
    fp32_bytes: int
    memory_bytes: int
    seconds: float | None
    seconds_reason: str | None
    presets: list[PresetPlan]
    warnings: list[SpecFault]
    advice: list[SpecFault]


def plan(
    connection: Connection, spec: JobSpec, offers: Sequence[Offer] | None = None, bounds: Bounds = UNBOUNDED
) -> Plan:
    """Validate the spec as ``jobs.create`` does, and tell what the job would take.

    ``offers`` are those of the workers that run now, if they could be asked: what they lack becomes a warning.

    Raises:
        InvalidSpecError: the spec does not fit what the store holds; it has every fault.
    """
    sources = validation.check(connection, spec, bounds)
    if spec.task == "tabular":
        return _plan_of_trees(spec, sources, offers)
    network = network_plan(spec.network, len(sources.classes), spec.method)
    train, held = sources.train, sources.held
    per_epoch = steps_per_epoch(train, spec)
    measured = _Measured(connection, bounds.organisation)
    teacher = teacher_network(connection, spec, len(sources.classes))
    memory = memory_bytes(spec, trained_network(spec, len(sources.classes)), teacher, train, train + held)
    seconds = measured.seconds(spec, train, network.macs) if spec.search is None else None
    reason = "no job with this architecture, image size and method, options included, has finished here yet"
    if spec.search is not None:
        reason = "the time of a search is not predicted"
    return Plan(
        classes=sources.classes,
        input=InputPlan(spec.network.image_size, spec.network.channels, sources.dataset.shape),
        train_images=train,
        validation_images=held,
        epochs=spec.training.epochs,
        steps_per_epoch=per_epoch,
        steps=per_epoch * spec.training.epochs,
        arithmetic=spec.method.arithmetic if spec.search is None else spec.search.arithmetic,
        parameters=network.parameters,
        binary_parameters=network.binary_parameters,
        macs=network.macs,
        step_macs=network.step_macs,
        gradient_bits=network.gradient_bits,
        bits_are_chosen=spec.method.chooses_bits,
        model_bytes=network.model_bytes,
        fp32_bytes=network.fp32_bytes,
        memory_bytes=memory,
        seconds=seconds,
        seconds_reason=reason if seconds is None else None,
        presets=[_preset(spec, name, len(sources.classes), train, measured) for name in PRESETS],
        warnings=shortcomings(spec, memory, offers),
        advice=too_few_steps(spec, train) if spec.search is None else [],
    )


def _plan_of_trees(spec: JobSpec, sources: Sources, offers: Sequence[Offer] | None) -> Plan:
    """There is no network: what counts its weights and products is 0."""
    method, table = tabular.method_of(spec), sources.dataset.table or {"rows": 0, "columns": []}
    memory, size = tabular.memory_bytes(table), tabular.model_bytes(method, sources.classes)
    return Plan(
        classes=sources.classes,
        input=None,
        train_images=sources.train,
        validation_images=sources.held,
        epochs=method.iterations,
        steps_per_epoch=1,
        steps=method.iterations,
        arithmetic=method.arithmetic,
        parameters=0,
        binary_parameters=0,
        macs=0,
        step_macs=0,
        gradient_bits=method.average_bits,
        bits_are_chosen=False,
        model_bytes=size,
        fp32_bytes=size,
        memory_bytes=memory,
        seconds=None,
        seconds_reason="how long trees grow is not predicted",
        presets=[],
        warnings=shortcomings(spec, memory, offers),
        advice=[],
    )


def _preset(spec: JobSpec, name: PresetName, classes: int, images: int, measured: _Measured) -> PresetPlan:
    """The same job with a preset; what does not belong to a preset stays as the spec has it, as far as it goes."""
    method = Fqt(preset=name)
    if isinstance(spec.method, OneBitForward):
        method = Fqt(preset=name, weight_scale=spec.method.weight_scale)
    with_preset = spec.model_copy(update={"method": method})
    network = network_plan(spec.network, classes, method)
    seconds = measured.seconds(with_preset, images, network.macs)
    return PresetPlan(name, PRESETS[name].summary, network.gradient_bits, network.step_macs, seconds)


@dataclass(frozen=True)
class _Finished:
    """A job that has succeeded, and its result."""

    spec: JobSpec
    result: Mapping[str, Any]

    @classmethod
    def of(cls, spec: Any, result: Any) -> _Finished | None:
        """From the columns of these names; ``None`` if the result does not say what the job took."""
        if result is None or not {"train_images", "classes", "epochs", "seconds"} <= result.keys():
            return None
        return cls(JobSpec.model_validate(spec), result)

    @property
    def passes(self) -> float:
        """Images that went through its network, forward and backward."""
        return _passes(self.spec.training, self.result["train_images"], self.result["epochs"])

    @property
    def macs(self) -> int:
        """Of one image's forward pass."""
        return network_plan(self.spec.network, len(self.result["classes"]), self.spec.method).macs


def _passes(training: TrainConfig, images: int, epochs: int) -> float:
    """Images that go through the network, forward and backward; a forward pass alone counts for a third."""
    again = 0 if training.ema is None else min(images, training.ema.batches * training.batch_size)
    return epochs * (images + again / _PASSES_OF_A_STEP)


class _Measured:
    """What the organisation's newest finished jobs tell of time: how long others' took is nobody's business."""

    def __init__(self, connection: Connection, organisation: str | None) -> None:
        self._connection = connection
        rows = connection.execute(
            select(jobs.c.spec, jobs.c.result)
            .where(jobs.c.state == JobState.SUCCEEDED.value, within(jobs, organisation))
            .order_by(jobs.c.id.desc())
            .limit(_SEARCHED_JOBS)
        )
        self._finished: dict[_Kind, list[_Finished]] = {}
        for row in rows:
            theirs = _Finished.of(row.spec, row.result)
            if theirs is None or theirs.spec.task != "images":
                continue
            if theirs.spec.teacher is None and theirs.spec.search is None:
                self._finished.setdefault(_kind(theirs.spec), []).append(theirs)

    def seconds(self, spec: JobSpec, images: int, macs: int) -> float | None:
        """Seconds to train so many images, by the median of the newest comparable jobs."""
        comparable = self._finished.get(_kind(spec), [])[:_MEASURED_JOBS]
        if not comparable:
            return None
        rate = median(theirs.result["seconds"] / (theirs.passes * theirs.macs) for theirs in comparable)
        own = float(rate * _passes(spec.training, images, spec.training.epochs) * macs)
        return round(own + self._teaching_seconds(spec, images), 1)

    def _teaching_seconds(self, spec: JobSpec, images: int) -> float:
        """Of the teacher's forward passes, by what its own training took here."""
        if spec.teacher is None:
            return 0.0
        row = self._connection.execute(select(jobs.c.spec, jobs.c.result).where(jobs.c.id == spec.teacher)).one()
        taught = _Finished.of(row.spec, row.result)
        if taught is None:
            return 0.0
        return float(taught.result["seconds"] / taught.passes / _PASSES_OF_A_STEP * images * spec.training.epochs)


def _kind(spec: JobSpec) -> _Kind:
    """What must agree for times to be comparable: a preset's name tells nothing that its options do not."""
    network = spec.network.model_dump_json(exclude={"width", "channels"})
    parallel = "" if spec.parallel is None else spec.parallel.model_dump_json()
    method = spec.method.model_dump_json(exclude={"preset"})
    return network, method, spec.training.optimizer == "muon", parallel
