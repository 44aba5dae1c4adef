"""Sweeps: searches over fields of a job spec. Written once, for both kinds of clients."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from fqt_client.display import sweep_html
from fqt_client.errors import WaitTimeoutError
from fqt_client.follow import polled
from fqt_client.models import Identified, JobState, Page, Resource, brief
from fqt_client.paging import every, page
from fqt_client.paths import sweep_path
from fqt_client.reports import SweepReport
from fqt_client.transport import AsyncTransport, once
from fqt_client.wire import Blocking, sync, sync_iterator

SweepState: TypeAlias = Literal["running", "finished", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial(Resource):
    """One point of a sweep and what became of its job. ``value``: the metric's best, once the job has succeeded."""

    number: int
    state: str
    job: str | None = None
    job_state: JobState | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    epochs: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Sweep(Identified):
    """A search over fields of a job spec. ``jobs``: how many there will be. ``trials`` are empty in a list."""

    SHORT = ("id", "name", "state", "jobs")
    __repr__ = brief

    state: SweepState
    name: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    direction: str | None = None
    jobs: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    best: Trial | None = None
    reason: Mapping[str, Any] | None = None
    trials: Sequence[Trial] = ()
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("best") is not None:
            values["best"] = Trial.from_json(values["best"])
        values["trials"] = [Trial.from_json(entry) for entry in values.get("trials") or []]
        return super()._convert(values)

    def _repr_html_(self) -> str:
        return sweep_html(self)

    @property
    def ended(self) -> bool:
        """Whether it has reached its last state."""
        return self.state != "running"

    @property
    def done(self) -> int:
        """How many of its jobs have ended, in whatever way."""
        return sum(count for state, count in self.counts.items() if state != "running")

    @property
    def seconds_left(self) -> float | None:
        """Time that the jobs to come take at the pace of those that have ended; None before the first has."""
        ends = [trial.finished_at for trial in self.trials if trial.finished_at is not None]
        if not ends or self.created_at is None:
            return None
        return (max(ends) - self.created_at).total_seconds() / len(ends) * (self.jobs - len(ends))


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Resource):
    """What a dry run answers. ``seconds``: of all jobs one after another; None without like jobs to go by."""

    jobs: int
    checked: int
    spec: Mapping[str, Any] = field(default_factory=dict)
    seconds_per_job: list[float] | None = None
    seconds: float | None = None
    seconds_reason: str | None = None


class AsyncSweeps:
    """The sweeps of a service; ``client.sweeps`` of an :class:`fqt_client.AsyncClient`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        base: Mapping[str, Any],
        space: Mapping[str, Mapping[str, Any]],
        /,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Sweep:
        """Start a sweep.

        Args:
            base: the job spec of all its jobs, but for the fields of ``space``.
            space: dotted name of a field to its values, e.g. ``{"training.learning_rate": {"type": "log_uniform",
                "low": 1e-4, "high": 1e-2}}``; other types are ``choice``, ``uniform`` and ``int``.
            idempotency_key: the same key with the same sweep gives the same sweep. Made up if None.
            options: ``name``, ``algorithm`` (grid, random, tpe), ``metric``, ``direction``, ``max_jobs``, ``parallel``,
                ``pruning``, ``seed``, as the service's OpenAPI document gives them (``SweepSpec``).

        Raises:
            InvalidRequestError: fields have values that are not allowed; ``faults`` lists every one.
        """
        body = _body(base, space, options)
        headers = once(idempotency_key)
        return Sweep.from_json(await self._transport.json("POST", "/v1/sweeps", json=body, headers=headers))

    async def plan(
        self, base: Mapping[str, Any], space: Mapping[str, Mapping[str, Any]], /, **options: Any
    ) -> SweepPlan:
        """How many jobs a sweep would have, and what they would take, without making it; see :meth:`create`."""
        body, params = _body(base, space, options), {"dry_run": "true"}
        answer = await self._transport.json("POST", "/v1/sweeps", json=body, params=params, headers=once())
        return SweepPlan.from_json(answer)

    async def list_page(self, *, after: str | None = None, limit: int | None = None) -> Page[Sweep]:
        """One page of sweeps, newest first."""
        return await page(self._transport, Sweep, "/v1/sweeps", after=after, limit=limit)

    def list(self) -> AsyncIterator[Sweep]:
        """All sweeps, newest first, fetched page by page."""
        return every(self._transport, Sweep, "/v1/sweeps")

    async def get(self, sweep_id: str) -> Sweep:
        """One sweep, with its trials.

        Raises:
            NotFoundError: there is none with this id.
        """
        return Sweep.from_json(await self._transport.json("GET", sweep_path(sweep_id)))

    async def report(self, sweep_id: str) -> SweepReport:
        """What a sweep came to as it stands: a row for all its jobs that differ in nothing but the seed.

        Raises:
            NotFoundError: there is none with this id.
        """
        return SweepReport.from_json(await self._transport.json("GET", sweep_path(sweep_id, "report")))

    async def cancel(self, sweep_id: str) -> Sweep:
        """Cancel a sweep and those of its jobs that have not ended.

        Raises:
            ConflictError: it has ended already.
        """
        return Sweep.from_json(await self._transport.json("POST", sweep_path(sweep_id, "cancel"), headers=once()))

    async def delete(self, sweep_id: str) -> None:
        """Delete a sweep that has ended; its jobs stay.

        Raises:
            ConflictError: it has not ended.
        """
        await self._transport.request("DELETE", sweep_path(sweep_id))

    async def wait(self, sweep_id: str, *, timeout: float | None = None) -> Sweep:
        """Wait until the sweep has ended, however that is.

        Raises:
            WaitTimeoutError: it did not end within so many seconds (it goes on).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        async with aclosing(polled(self._transport, lambda: self.get(sweep_id))) as states:
            async for sweep in states:
                if sweep.ended:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    raise WaitTimeoutError(f"sweep {sweep_id} is still running after {timeout:g} s")
        return sweep

    async def follow(self, sweep_id: str) -> AsyncIterator[Sweep]:
        """The sweep as it is, then again whenever something of it has changed, until it has ended.

        It goes on over restarts of the service.

        Raises:
            NotFoundError: there is none with this id.
        """
        seen: Mapping[str, Any] | None = None
        async with aclosing(polled(self._transport, lambda: self.get(sweep_id))) as states:
            async for sweep in states:
                if sweep.raw != seen:
                    yield sweep
                if sweep.ended:
                    return
                seen = sweep.raw


def _body(
    base: Mapping[str, Any], space: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    return {"base": dict(base), "space": {name: dict(values) for name, values in space.items()}, **options}


class Sweeps(Blocking):
    """The sweeps of a service; ``client.sweeps``."""

    create = sync(AsyncSweeps.create)
    plan = sync(AsyncSweeps.plan)
    list_page = sync(AsyncSweeps.list_page)
    list = sync_iterator(AsyncSweeps.list)
    get = sync(AsyncSweeps.get)
    report = sync(AsyncSweeps.report)
    cancel = sync(AsyncSweeps.cancel)
    delete = sync(AsyncSweeps.delete)
    wait = sync(AsyncSweeps.wait)
    follow = sync_iterator(AsyncSweeps.follow)
