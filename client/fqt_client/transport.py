"""One HTTP exchange with the service: authentication, retries with back-off, and typed errors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from fqt_client.config import ClientConfig
from fqt_client.errors import ApiError, CannotConnectError, UnexpectedAnswerError, error_from_problem
from fqt_client.sendable import check_headers, json_bytes

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FIRST_DELAY = 0.25
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 60.0


def backoff(attempt: int, retry_after: float | None = None) -> float:
    """Seconds to wait before try ``attempt + 1`` (from 0): exponential with jitter, or what the service asked for."""
    if retry_after is not None:
        return min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
    ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2.0**attempt)
    # Jitter keeps many waiting clients from coming back at the same moment; it guards no secret.
    return ceiling * (0.5 + random.random() / 2)  # noqa: S311


class Transport:
    """Sends requests to one service.

    Args:
        config: URL and key.
        timeout: seconds without a byte after which a request is given up.
        retries: how often a safe or idempotent request is repeated after 429, 502, 503, 504 or a broken connection.
        http: transport under httpx, for tests.
        sleep: waits that many seconds, for tests.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        http: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self.retries = retries
        self.sleep = sleep
        self._http = httpx.Client(
            base_url=config.base_url,
            headers={"Authorization": f"Bearer {config.api_key}", "User-Agent": "fqt-client"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            transport=http,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request with :meth:`request` and decode its JSON answer.

        Raises:
            UnexpectedAnswerError: the answer is no JSON.
        """
        response = self.request(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            kind = response.headers.get("content-type", "no content type")
            raise UnexpectedAnswerError(
                f"{self.config.base_url}{path} answered {kind} instead of JSON",
                remedy="check that the URL is that of an fqt service",
            ) from error

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        build: Callable[[], Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send a request and return its successful answer.

        It is repeated when that cannot do a thing twice: the method is safe, an ``Idempotency-Key`` is sent, or the
        connection was never made.

        Args:
            method: HTTP method.
            path: path from the base URL, starting with ``/``.
            params: query parameters; those that are None are left out.
            json: body.
            build: gives further arguments of the request (``files``, ``content``), anew for each try.
            headers: further headers.
            timeout: seconds without a byte, if other than the client's.

        Raises:
            ApiError: the service refused it (the subclass says how).
            CannotConnectError: no answer came.
            UnusableValueError: the body or a header holds what cannot be sent.
        """
        content = None if json is None else json_bytes(json)
        check_headers(headers or {})
        repeatable = method in SAFE_METHODS or "Idempotency-Key" in (headers or {})
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            options: dict[str, Any] = {"params": _present(params), "headers": dict(headers or {})}
            if content is not None:
                options["content"] = content
                options["headers"]["Content-Type"] = "application/json"
            if timeout is not None:
                options["timeout"] = timeout
            if build is not None:
                options.update(build())
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if last or not (repeatable or never_sent):
                    raise self.cannot_connect(error) from error
                self.sleep(backoff(attempt))
                continue
            if response.is_success:
                return response
            refusal = self.refusal(response)
            transient = response.status_code in RETRIED_STATUSES or refusal.code == "request_in_progress"
            if last or not (repeatable and transient):
                raise refusal
            self.sleep(backoff(attempt, refusal.retry_after))
        raise AssertionError("unreachable: the last try returns or raises")

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[httpx.Response]:
        """GET with the body left to be read piece by piece. One try only: the caller knows where to resume.

        Raises:
            ApiError: the service refused it.
            httpx.TransportError: the connection failed, now or while reading.
        """
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        with self._http.stream("GET", path, params=_present(params), headers=dict(headers or {}), **options) as reply:
            if not reply.is_success:
                reply.read()
                raise self.refusal(reply)
            yield reply

    def cannot_connect(self, error: httpx.TransportError) -> CannotConnectError:
        """The client's error for a connection that failed."""
        reason = str(error) or type(error).__name__
        return CannotConnectError(
            f"cannot reach the service at {self.config.base_url} ({reason})",
            remedy="start it with `fqt up`, or check the URL "
            f"(from {'the ' if '/' not in self.config.source else ''}{self.config.source})",
        )

    @staticmethod
    def refusal(response: httpx.Response) -> ApiError:
        """The typed error of an answer with status 400 or more."""
        try:
            body = response.json()
        except ValueError:
            body = None
        wait = response.headers.get("retry-after", "")
        return error_from_problem(
            response.status_code,
            body,
            reason=response.reason_phrase,
            request_id=response.headers.get("x-request-id"),
            retry_after=float(wait) if wait.isdecimal() else None,
        )


def _present(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}
