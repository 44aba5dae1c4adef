"""The states of a job and the one table of legal moves. Pure: no SQL here; :mod:`jobs.moves` applies it."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life. ``pausing`` and ``cancelling`` are asked for and not yet reached."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        """Whether a worker holds the job: it has a lease."""
        return self in ACTIVE

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return not LEGAL[self]


_S = JobState

# A job that was asked to stop may still end by itself first: then what it reached counts.
LEGAL: dict[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.PAUSED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.QUEUED, _S.PAUSING, _S.CANCELLING}),
    _S.PAUSING: frozenset({_S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLING}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.SUCCEEDED}),
    _S.CANCELLED: frozenset(),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
}

ACTIVE: frozenset[JobState] = frozenset({_S.RUNNING, _S.PAUSING, _S.CANCELLING})
TERMINAL: frozenset[JobState] = frozenset(state for state, targets in LEGAL.items() if not targets)
