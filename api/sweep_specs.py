"""From a sweep's spec to the assurance that its jobs can be made: every wrong field in one answer, named where it is.

Nothing of a sweep is created before the job specs at the extremes of its space have been built and checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sqlalchemy import Connection

from api.problems import FieldError, Invalid
from api.schemas.sweeps import SweepPlanObject
from api.specs import read_spec
from jobs import plan
from jobs.spec import JobSpec
from jobs.sweep_spec import MOST_JOBS, SweepSpec
from jobs.validation import Bounds, Sources

_PLANNED = 8


def check_sweep(connection: Connection, spec: SweepSpec, bounds: Bounds) -> list[JobSpec]:
    """The job specs at the extremes of the space.

    Raises:
        Invalid: with every wrong field.
    """
    found = list(_of_the_space(spec))
    made: list[JobSpec] = []
    for parameters in spec.corners() if not found else ():
        try:
            job, sources = read_spec(connection, spec.body(parameters), bounds)
        except Invalid as problem:
            found += [error.model_copy(update={"field": _place(spec, error.field)}) for error in problem.errors]
        else:
            made.append(job)
            found += _of_the_metric(spec, job, sources)
    if found:
        raise Invalid(errors=_distinct(found))
    return made


def plan_sweep(connection: Connection, spec: SweepSpec, bounds: Bounds) -> SweepPlanObject:
    """What a sweep would take.

    Raises:
        Invalid: with every wrong field.
    """
    made = check_sweep(connection, spec, bounds)
    plans = [plan.plan(connection, job, None, bounds) for job in islice(made, 0, None, -(-len(made) // _PLANNED))]
    seconds = [found.seconds for found in plans if found.seconds is not None]
    known = len(seconds) == len(plans)
    return SweepPlanObject(
        spec=spec,
        jobs=spec.jobs,
        checked=len(made),
        seconds_per_job=[min(seconds), max(seconds)] if known else None,
        seconds=round(spec.jobs * sum(seconds) / len(seconds), 1) if known else None,
        seconds_reason=None if known else next(found.seconds_reason for found in plans if found.seconds is None),
    )


def _of_the_space(spec: SweepSpec) -> Iterator[FieldError]:
    """What is wrong with the space as such."""
    for outer, inner in spec.overlaps():
        yield FieldError(field=f"space.{inner}", message=f"{outer!r} is searched as well, and holds this field")
    if "name" in spec.space:
        yield FieldError(field="space.name", message="jobs are named after their sweep and numbered")
    if spec.algorithm != "grid":
        return
    for name, dimension in spec.space.items():
        if dimension.grid() is None:
            message = "a grid needs values that can be counted: use `choice`, `int`, or `uniform` with a step"
            yield FieldError(field=f"space.{name}", message=message)
    size = spec.grid_size
    if size is not None and size > MOST_JOBS and spec.max_jobs is None:
        message = f"the grid has more than the {MOST_JOBS} combinations that one sweep may try; say how many of them"
        yield FieldError(field="max_jobs", message=message, allowed={"maximum": MOST_JOBS})


def _of_the_metric(spec: SweepSpec, job: JobSpec, sources: Sources) -> Iterator[FieldError]:
    if spec.metric.endswith("accuracy") and not sources.classes:
        message = f"the target is a number, so that no job would report {spec.metric}"
        yield FieldError(field="metric", message=message, allowed=["validation_loss", "train_loss"])
    elif spec.metric.startswith("validation") and (job.search is not None or not sources.held):
        why = "there are no validation images" if job.search is None else "a structure search validates nothing"
        message = f"{why}, so that no job would report {spec.metric}"
        yield FieldError(field="metric", message=message, allowed=["train_accuracy", "train_loss"])


def _place(spec: SweepSpec, field: str) -> str:
    """The path in the sweep's spec of a field of a job spec; of one below a searched field the whole."""
    owner = spec.owner(field)
    below = field.removeprefix(owner.removeprefix("space.")) if owner.startswith("space.") else ""
    return owner + below if below.startswith(".") else owner


def _distinct(errors: list[FieldError]) -> list[FieldError]:
    """Each fault once, however many corners have it."""
    return list({(error.field, error.message): error for error in errors}.values())
