"""Errors of the job domain. Every error that ``jobs`` raises on purpose is a :class:`JobsError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class JobsError(Exception):
    """Something is wrong with a job, a data set, a key or a file of the store."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class UnsupportedDatabaseError(JobsError, ValueError):
    """The database URL is for a database that is not supported."""


class NotFoundError(JobsError):
    """There is no such object. ``kind`` is its type, ``id`` what was asked for."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"there is no {kind} {id!r}")
        self.kind = kind
        self.id = id


class OrganisationExistsError(JobsError):
    """There is an organisation of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is an organisation {name!r} already")


class IllegalMoveError(JobsError):
    """A job cannot go from the state it is in to the state that was asked for."""

    def __init__(self, job_id: str, source: str, target: str) -> None:
        super().__init__(f"job {job_id} is {source} and cannot become {target}")
        self.job_id = job_id
        self.source = source
        self.target = target


class LeaseLostError(JobsError):
    """The job belongs to another attempt by now (or to none): nothing of this one may be written."""

    def __init__(self, job_id: str, epoch: int) -> None:
        super().__init__(f"the lease of job {job_id} with epoch {epoch} is lost")
        self.job_id = job_id
        self.epoch = epoch


@dataclass(frozen=True)
class SpecFault:
    """One wrong field of a job spec: its JSON path, what is wrong, and what would be allowed."""

    field: str
    message: str
    allowed: Any = None


class InvalidSpecError(JobsError):
    """A job spec does not fit what the store holds. ``errors`` has every fault, not only the first."""

    def __init__(self, errors: Sequence[SpecFault]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = list(errors)


class DatasetInUseError(JobsError):
    """A data set cannot be deleted while unfinished jobs need it. ``jobs`` names them."""

    def __init__(self, dataset_id: str, jobs: Sequence[str]) -> None:
        super().__init__(f"data set {dataset_id} is needed by unfinished jobs: {', '.join(jobs)}")
        self.dataset_id = dataset_id
        self.jobs = list(jobs)


class UrlRefusedError(JobsError):
    """A URL names what is not connected to."""


class HostUnknownError(JobsError):
    """The host of a URL cannot be resolved."""

    def __init__(self) -> None:
        super().__init__("its host cannot be resolved")


class JobNotFinishedError(JobsError):
    """A job can be deleted only when it has ended; cancel it first."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state}; cancel it before you delete it")
        self.job_id = job_id
        self.state = state


class SweepEndedError(JobsError):
    """A sweep has ended already."""

    def __init__(self, sweep_id: str, state: str) -> None:
        super().__init__(f"sweep {sweep_id} is {state} and cannot be cancelled")
        self.sweep_id = sweep_id
        self.state = state


class SweepNotFinishedError(JobsError):
    """A sweep can be deleted only when it has ended; cancel it first."""

    def __init__(self, sweep_id: str) -> None:
        super().__init__(f"sweep {sweep_id} is running; cancel it before you delete it")
        self.sweep_id = sweep_id


class QuotaExceededError(JobsError):
    """As many jobs of one key wait as may. ``limit`` is how many that are."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} job{'' if limit == 1 else 's'} of this key may wait at the same time, queued or paused, and that "
            "many do; wait until one has started, or cancel one"
        )
        self.limit = limit


class KeyEndedError(JobsError):
    """A key that is revoked or has ended cannot be given a new secret."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key {key_id} is revoked or has ended; make a new one")
        self.key_id = key_id


class AnswerTooLargeError(JobsError):
    """A comparison would have too many points. ``limit`` is how many it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the curves would have more than {limit:,} points together; ask for fewer points, metrics or jobs"
        )
        self.limit = limit


class BackupError(JobsError):
    """A backup cannot be made, or not be restored."""


class IdempotencyConflictError(JobsError):
    """The same Idempotency-Key came with another request before."""


class BlobError(JobsError):
    """A stored file cannot be used."""


class StorageAwayError(JobsError, OSError):
    """The object store of the stored files does not answer, or does not let us in."""


class BlobTooLargeError(BlobError):
    """More bytes came than are allowed. ``limit`` is the bound in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the file is larger than the limit of {limit} bytes")
        self.limit = limit


class BlobDamagedError(BlobError):
    """The bytes of a stored file do not have the digest that it is kept under."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"the stored file {sha256} is damaged: its bytes have another SHA-256")
        self.sha256 = sha256


class BlobMissingError(BlobError):
    """A stored file is not where it should be."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"the stored file {sha256} is missing")
        self.sha256 = sha256


class TooManyWebhooksError(JobsError):
    """An organisation has as many webhooks as it may. ``limit`` is how many that are."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an organisation has at most {limit} webhooks; delete one first")
        self.limit = limit


class WebhookDisabledError(JobsError):
    """Nothing is sent to a webhook that is disabled."""
