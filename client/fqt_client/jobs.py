"""Jobs: create, follow, pause, cancel, and what they leave behind. Written once, for both kinds of clients."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fqt_client.archive import ProgressCallback
from fqt_client.download import save
from fqt_client.errors import JobFailedError, NotFoundError, WaitTimeoutError
from fqt_client.follow import EventFollower, logged, polled
from fqt_client.models import Artifact, Event, Job, Listing, Page, Plan, Series
from fqt_client.paging import every, page
from fqt_client.paths import job_path
from fqt_client.transport import AsyncTransport, once
from fqt_client.wire import Blocking, finish, sync, sync_iterator

DISPLAY_SECONDS = 5.0
DISPLAY_POINTS = 200


class AsyncJobs:
    """The jobs of a service; ``client.jobs`` of an :class:`fqt_client.AsyncClient`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Submit a job.

        Args:
            spec: the job's description, as the service's OpenAPI document gives it (``JobSpec``).
            idempotency_key: the same key with the same spec gives the same job. Made up if None, so that a retry after
                a broken connection makes no second job.

        Raises:
            InvalidRequestError: fields have values that are not allowed; ``faults`` lists every one.
            UnusableValueError: the spec or the key holds what no request can hold, e.g. NaN.
        """
        answer = await self._transport.json("POST", "/v1/jobs", json=dict(spec), headers=once(idempotency_key))
        return self._job(answer)

    async def submit(
        self,
        dataset: str,
        *,
        architecture: str | Mapping[str, Any] | None = None,
        method: str | Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        initial_weights: str | None = None,
        teacher: str | None = None,
        name: str | None = None,
        device: str = "auto",
        queue: str | None = None,
        priority: int = 0,
        parallel: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job from its parts; what is left out takes the service's default.

        Args:
            dataset: id of an uploaded data set, or the name of a built-in one.
            architecture: name, or name and options, e.g. ``{"name": "resnet18", "width": 0.25}``.
            method: name, or name and options, e.g. ``{"name": "fqt", "bits": 4}``.
            training: options such as ``{"epochs": 10, "seed": 7}``.
            classes: train on these classes only.
            initial_weights: id of a succeeded job, or of a model, to start from.
            teacher: id of a succeeded job, or of a model, to learn from besides the labels.
            name: name for people.
            device: ``auto``, ``cpu`` or ``cuda``.
            queue: only workers that serve this queue take it; None: the queue of its device.
            priority: higher ones go first, among the waiting jobs of the same API key.
            parallel: train in several processes, e.g. ``{"processes": 2, "gradient_bits": 4}``; None: in one.
            idempotency_key: see :meth:`create`.

        Raises:
            InvalidRequestError: as :meth:`create`.
        """
        spec: dict[str, Any] = {"dataset": dataset, "device": device}
        for key, choice in (("architecture", architecture), ("method", method)):
            if choice is not None:
                spec[key] = {"name": choice} if isinstance(choice, str) else dict(choice)
        optional: dict[str, Any] = {
            "training": training,
            "classes": classes,
            "initial_weights": initial_weights,
            "teacher": teacher,
            "name": name,
            "queue": queue,
            "priority": priority or None,
            "parallel": parallel,
        }
        spec.update({key: value for key, value in optional.items() if value is not None})
        return await self.create(spec, idempotency_key=idempotency_key)

    async def plan(self, spec: Mapping[str, Any]) -> Plan:
        """What a job would do (steps, memory, predicted time), without making it.

        Raises:
            InvalidRequestError: as :meth:`create`.
        """
        params = {"dry_run": "true"}
        answer = await self._transport.json("POST", "/v1/jobs", json=dict(spec), params=params, headers=once())
        return Plan.from_json(answer)

    async def list_page(
        self, *, state: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Page[Job]:
        """One page of jobs, newest first."""
        return await page(self._transport, Job, "/v1/jobs", state=state, after=after, limit=limit)

    async def list(self, *, state: str | None = None) -> AsyncIterator[Job]:
        """All jobs, newest first, fetched page by page."""
        async for job in every(self._transport, Job, "/v1/jobs", state=state):
            yield self._job(job.raw)

    async def get(self, job_id: str, *, curves: bool = False) -> Job:
        """One job.

        Args:
            job_id: the job.
            curves: fetch its curves too, for a notebook that shows it. A blocking client does so when it is shown.

        Raises:
            NotFoundError: there is none with this id.
        """
        job = self._job(await self._transport.json("GET", job_path(job_id)))
        if not curves:
            return job
        series = await self._curves(job_id)
        return replace(job, load_curves=lambda: series)

    async def cancel(self, job_id: str) -> Job:
        """Ask for the job to be cancelled; a running one stops at its next step.

        Raises:
            ConflictError: it has ended already.
        """
        return await self._ask(job_id, "cancel")

    async def pause(self, job_id: str) -> Job:
        """Ask for the job to be paused; a running one is ``pausing`` until it has written a checkpoint.

        Raises:
            ConflictError: it has ended, or is being cancelled.
        """
        return await self._ask(job_id, "pause")

    async def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue; it goes on from its checkpoint, as if it had never been paused.

        Raises:
            ConflictError: it has ended, or is not paused yet.
        """
        return await self._ask(job_id, "resume")

    async def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its files, events and metrics. The model that it made stays.

        Raises:
            ConflictError: it has not ended.
        """
        await self._transport.request("DELETE", job_path(job_id))

    async def _ask(self, job_id: str, verb: str) -> Job:
        return self._job(await self._transport.json("POST", job_path(job_id, verb), headers=once()))

    def _job(self, data: Any) -> Job:
        """Read a job. In a notebook one of a blocking client fetches its curves when it is shown."""
        job = Job.from_json(data)
        if not self._transport.wire.blocking:
            return job
        return replace(job, load_curves=lambda: finish(self._curves(job.id)))

    async def _curves(self, job_id: str) -> Sequence[Series]:
        params = {"name": ["loss", "train_loss", "validation_accuracy"], "max_points": DISPLAY_POINTS}
        path = job_path(job_id, "metrics")
        answer = await self._transport.json("GET", path, params=params, timeout=DISPLAY_SECONDS, retries=0)
        return Page.from_json(Series, answer).data

    async def events(self, job_id: str, *, after: int = 0, follow: bool = True) -> AsyncIterator[Event]:
        """The job's events in order, each exactly once.

        Args:
            job_id: the job.
            after: leave out events up to this ``seq``.
            follow: go on until the job has ended, over broken connections and restarts of the service; else stop at
                what is there now.
        """
        if follow:
            found = EventFollower(self._transport, job_id, after=after).events()
        else:
            found = logged(self._transport, job_path(job_id), after)
        async with aclosing(found) as events:
            async for event in events:
                yield event

    async def metrics(
        self, job_id: str, *, names: Sequence[str] = (), kind: str | None = None, max_points: int | None = None
    ) -> Listing[Series]:
        """The job's curves.

        Args:
            job_id: the job.
            names: only these curves, e.g. ``["loss"]``; all if empty.
            kind: only those reported per ``step``, per ``epoch``, of ``quantization``, or of ``telemetry``.
            max_points: at most about so many points per curve.
        """
        params = {"name": [*names] or None, "kind": kind, "max_points": max_points}
        return (await page(self._transport, Series, job_path(job_id, "metrics"), **params)).data

    async def artifacts(self, job_id: str) -> Listing[Artifact]:
        """The job's result files."""
        return (await page(self._transport, Artifact, job_path(job_id, "artifacts"))).data

    async def artifact(self, job_id: str, name: str) -> Artifact:
        """The result file with this name, or of this kind.

        Raises:
            NotFoundError: the job has none (yet).
        """
        listed = await self.artifacts(job_id)
        for artifact in listed:
            if name in (artifact.name, artifact.kind):
                return artifact
        there = ", ".join(artifact.name for artifact in listed) or "none yet"
        raise NotFoundError(f"job {job_id} has no artifact {name} (it has: {there})", status=404, code="not_found")

    async def download(
        self,
        job_id: str,
        artifact: Artifact | str,
        target: Path | str,
        *,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Download a result file, checked against its sha256; a broken download is resumed.

        Args:
            job_id: the job.
            artifact: the artifact, its name or its kind.
            target: file to write, or an existing folder to write it into under its name.
            progress: called with the bytes so far and their total.

        Raises:
            NotFoundError: the job has no such artifact.
            ChecksumError: the bytes are not those that the service announced.
        """
        found = await self.artifact(job_id, artifact) if isinstance(artifact, str) else artifact
        url = job_path(job_id, "artifacts", found.name)
        return await save(self._transport, url, found, target, found.name or found.kind, progress)

    async def wait(self, job_id: str, *, timeout: float | None = None, check: bool = True) -> Job:
        """Wait until the job has ended.

        Args:
            job_id: the job.
            timeout: seconds to wait at most; None: for ever.
            check: raise unless it succeeded.

        Raises:
            JobFailedError: it failed or was cancelled, and ``check`` is set.
            WaitTimeoutError: it did not end in time (it goes on).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        async with aclosing(polled(self._transport, lambda: self.get(job_id))) as states:
            async for job in states:
                if job.ended:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    raise WaitTimeoutError(f"job {job_id} is still {job.state} after {timeout:g} s")
        if check and job.state != "succeeded":
            reason = f": {job.error.message}" if job.error and job.error.message else ""
            raise JobFailedError(f"job {job_id} {job.state}{reason}", job_id=job_id, state=job.state)
        return job


class Jobs(Blocking):
    """The jobs of a service; ``client.jobs``."""

    create = sync(AsyncJobs.create)
    submit = sync(AsyncJobs.submit)
    plan = sync(AsyncJobs.plan)
    list_page = sync(AsyncJobs.list_page)
    list = sync_iterator(AsyncJobs.list)
    get = sync(AsyncJobs.get)
    cancel = sync(AsyncJobs.cancel)
    pause = sync(AsyncJobs.pause)
    resume = sync(AsyncJobs.resume)
    delete = sync(AsyncJobs.delete)
    events = sync_iterator(AsyncJobs.events)
    metrics = sync(AsyncJobs.metrics)
    artifacts = sync(AsyncJobs.artifacts)
    artifact = sync(AsyncJobs.artifact)
    download = sync(AsyncJobs.download)
    wait = sync(AsyncJobs.wait)
