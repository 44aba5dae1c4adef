"""Errors of the client. Every error that it raises on purpose is an :class:`FqtClientError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class FqtClientError(Exception):
    """Something went wrong in the client."""

    def __init__(self, message: str | None = None, *, remedy: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.remedy = remedy


class NotConfiguredError(FqtClientError):
    """No service is configured."""


class CannotConnectError(FqtClientError):
    """The service cannot be reached."""


class UnexpectedAnswerError(FqtClientError):
    """The service answered something that this client does not understand."""


class UnusableValueError(FqtClientError, ValueError):
    """A value cannot be sent to the service: it is no id, no number, or no text that a request can hold."""


class LocalFileError(FqtClientError):
    """A file or folder on this machine cannot be used."""


class ChecksumError(FqtClientError):
    """A downloaded file is not what the service announced."""


class WaitTimeoutError(FqtClientError):
    """The job did not end within the given time."""


class JobFailedError(FqtClientError):
    """The job ended without succeeding. ``state`` is `failed` or `cancelled`."""

    def __init__(self, message: str, *, job_id: str, state: str) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.state = state


@dataclass(frozen=True)
class FieldFault:
    """One offending field of a refused request: its JSON path, what is wrong, and what is allowed."""

    field: str
    message: str
    allowed: str | None = None

    def __str__(self) -> str:
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        return f"{self.field}: {self.message}{allowed}" if self.field else f"{self.message}{allowed}"


FAULTS_TOLD = 5


def faults_text(faults: Sequence[FieldFault]) -> str:
    """The first few faults in words, and how many more there are."""
    told = [str(fault) for fault in faults[:FAULTS_TOLD]]
    more = len(faults) - FAULTS_TOLD
    return "; ".join([*told, f"and {more} more"] if more > 0 else told)


class ApiError(FqtClientError):
    """The service refused the request."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        faults: tuple[FieldFault, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.code = code
        self.faults = faults
        self.request_id = request_id
        self.retry_after = retry_after
        self.problem = dict(problem or {})

    def __str__(self) -> str:
        message = super().__str__()
        faults = [fault for fault in self.faults if fault.message not in message]
        return f"{message.rstrip('.:')}: {faults_text(faults)}" if faults else message


class BadRequestError(ApiError):
    """400: the request is malformed."""


class AuthenticationError(ApiError):
    """401: the key is missing, unknown or revoked."""


class PermissionDeniedError(ApiError):
    """403: the key does not have the scope for this."""


class NotFoundError(ApiError):
    """404: there is no such thing."""


class ConflictError(ApiError):
    """409: the request does not fit the present state."""


class TooLargeError(ApiError):
    """413: the upload is larger than the service allows."""


class InvalidRequestError(ApiError):
    """422: fields have values that are not allowed; ``faults`` lists every one."""


class RateLimitedError(ApiError):
    """429: too many requests; ``retry_after`` says how many seconds to wait."""


class ServerFaultError(ApiError):
    """5xx: the service itself failed; ``request_id`` finds the entry in its log."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidRequestError,
    429: RateLimitedError,
}


def error_from_problem(
    status: int, body: Any, *, reason: str = "", request_id: str | None = None, retry_after: float | None = None
) -> ApiError:
    """The typed error of one refused request.

    Args:
        status: HTTP status, 400 to 599.
        body: the decoded problem+json (RFC 9457) document, or anything else if a proxy answered.
        reason: the status line's phrase, used when the body says nothing.
        request_id: id from the response's headers, used when the body has none.
        retry_after: seconds from the ``Retry-After`` header.
    """
    problem = body if isinstance(body, Mapping) else {}
    detail, title = problem.get("detail"), problem.get("title")
    message = next((text for text in (detail, title) if isinstance(text, str) and text), "")
    message = message or f"the service answered {status} {reason}".strip()
    listed = problem.get("errors")
    faults = (
        tuple(fault_from_json(entry) for entry in listed if isinstance(entry, Mapping))
        if isinstance(listed, list)
        else ()
    )
    kind = _BY_STATUS.get(status, ServerFaultError if status >= 500 else ApiError)
    return kind(
        message,
        status=status,
        code=str(problem.get("code") or f"http_{status}"),
        faults=faults,
        request_id=problem.get("request_id") or request_id,
        retry_after=retry_after,
        problem=problem,
    )


def fault_from_json(entry: Mapping[str, Any]) -> FieldFault:
    """Read one entry of a problem's ``errors``, or of a plan's ``warnings``."""
    return FieldFault(
        field=str(entry.get("field") or entry.get("where") or ""),
        message=str(entry.get("message") or "is not allowed"),
        allowed=_allowed(entry.get("allowed")),
    )


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "minLength": "length at least",
    "maxLength": "length at most",
    "minItems": "entries at least",
    "maxItems": "entries at most",
    "pattern": "matches",
}


def _allowed(value: Any) -> str | None:
    """What is allowed, in words: the values, or the bounds by their JSON Schema names."""
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_BOUNDS.get(name, name)} {bound}" for name, bound in value.items())
    return None if value is None else str(value)
