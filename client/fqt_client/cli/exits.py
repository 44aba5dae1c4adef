"""Exit codes of the `fqt` command, and the one line that tells an error."""

from __future__ import annotations

from enum import IntEnum

from fqt_client.errors import (
    ApiError,
    AuthenticationError,
    CannotConnectError,
    FqtClientError,
    JobFailedError,
    NotConfiguredError,
    NotFoundError,
    PermissionDeniedError,
    ServerFaultError,
    UnexpectedAnswerError,
    UnusableValueError,
    WaitTimeoutError,
    faults_text,
)


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    LOCAL = 5
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.JOB_FAILED: "a job or a sweep failed or was cancelled",
    ExitCode.USAGE: "wrong usage",
    ExitCode.UNREACHABLE: "the service cannot be reached",
    ExitCode.REFUSED: "the service refused",
    ExitCode.LOCAL: "something on this machine is missing or damaged",
    ExitCode.INTERNAL: "a fault in fqt itself; `FQT_DEBUG=1` shows where",
    ExitCode.INTERRUPTED: "interrupted",
}

_CODES: tuple[tuple[type[FqtClientError], ExitCode], ...] = (
    (JobFailedError, ExitCode.JOB_FAILED),
    (UnusableValueError, ExitCode.USAGE),
    (NotConfiguredError, ExitCode.UNREACHABLE),
    (CannotConnectError, ExitCode.UNREACHABLE),
    (ApiError, ExitCode.REFUSED),
    (UnexpectedAnswerError, ExitCode.REFUSED),
    (WaitTimeoutError, ExitCode.REFUSED),
)


def exit_code_of(error: FqtClientError) -> ExitCode:
    """The exit code of a command that ended with ``error``."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.LOCAL)


_LISTS = {"jobs": "fqt jobs", "sweeps": "fqt sweep list", "datasets": "fqt datasets list", "models": "fqt models list"}


def _listing(path: str) -> str | None:
    """How to find what there is instead of what was not found at this path."""
    parts = path.split("/")
    command = _LISTS.get(parts[2]) if len(parts) > 3 else None
    return f"`{command}` shows what there is" if command is not None else None


def line_of(error: FqtClientError) -> str:
    """One line: what went wrong, which field, and what to do about it."""
    text = str(error)
    if isinstance(error, ApiError) and error.code == "validation_error" and error.faults:
        # The faults say it all; the sentence in front of them only announces them.
        text = faults_text(error.faults)
    parts = [" ".join(text.split()).rstrip(".")]
    remedy = error.remedy
    if remedy is None and isinstance(error, AuthenticationError):
        remedy = "set FQT_API_KEY to a valid key (`fqt up` writes one to its client configuration)"
    if remedy is None and isinstance(error, PermissionDeniedError):
        remedy = "use a key with that scope"
    if remedy is None and isinstance(error, NotFoundError):
        remedy = _listing(str(error.problem.get("instance")))
    if isinstance(error, ServerFaultError) and error.request_id:
        parts.append(f"request id {error.request_id} in the service's log")
    if remedy:
        parts.append(remedy)
    return " — ".join(parts)
