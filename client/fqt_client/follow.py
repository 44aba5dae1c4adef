"""Follow a job's event log to its end: a stream that reconnects where it broke off, or polling."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator

import httpx

from fqt_client.errors import (
    ApiError,
    CannotConnectError,
    NotFoundError,
    RateLimitedError,
    ServerFaultError,
    UnexpectedAnswerError,
)
from fqt_client.models import Event, Job, Page
from fqt_client.paths import job_path
from fqt_client.sse import parse
from fqt_client.transport import Transport, backoff

# The service sends a ping at least every 15 s: three missed ones mean that the connection is dead.
SILENCE_SECONDS = 50.0
POLL_SECONDS = 1.0
PAGE = 500


class EventFollower:
    """Yields the events of one job, each exactly once and in order, until the job has ended.

    Args:
        transport: where to ask.
        job_id: the job.
        after: ``seq`` of the last event that is known already.
        patience: seconds without any answer after which it gives up. A restart of the service takes less.
        clock: seconds that only grow, for tests.
    """

    def __init__(
        self,
        transport: Transport,
        job_id: str,
        *,
        after: int = 0,
        patience: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = transport
        self.path = job_path(job_id)
        self.after = after
        self.patience = patience
        self.clock = clock
        self._finished = False
        self._last_answer = clock()

    def __iter__(self) -> Iterator[Event]:
        attempt = 0
        while not self._finished:
            before = self.after
            error: Exception | None = None
            try:
                if (yield from self._stream()):
                    yield from self._poll()
                    return
            except httpx.TransportError as broken:
                error = self.transport.cannot_connect(broken)
            except (RateLimitedError, ServerFaultError) as refused:
                error = refused
            if self._finished:
                return
            attempt = 0 if self.after > before else attempt + 1
            if self.clock() - self._last_answer > self.patience:
                raise error or CannotConnectError(f"the event stream of {self.path} ends again and again")
            wait = error.retry_after if isinstance(error, ApiError) else None
            self.transport.sleep(backoff(attempt, wait))

    def _stream(self) -> Generator[Event, None, bool]:
        """Yield what one connection brings; return whether the service has no stream at all."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.after)}
        try:
            with self.transport.stream(f"{self.path}/events/stream", headers=headers, timeout=SILENCE_SECONDS) as reply:
                if not reply.headers.get("content-type", "").startswith("text/event-stream"):
                    return True
                for message in parse(reply.iter_lines()):
                    self._last_answer = self.clock()
                    if message.event == "end":
                        self._finished = True
                        return False
                    yield from self._accept(_event(message.data))
        except ApiError as refused:
            # 404 is an unknown job, unless the job can be read: then it is the stream that is missing.
            if refused.status in {405, 406, 501}:
                return True
            if isinstance(refused, NotFoundError):
                self.transport.request("GET", self.path)
                return True
            raise
        return False

    def _poll(self) -> Iterator[Event]:
        while True:
            # The state is read first: whatever happened until a job ended is in the log by then.
            ended = Job.from_json(self.transport.json("GET", self.path)).ended
            while True:
                params = {"after": self.after, "limit": PAGE}
                page = Page.from_json(Event, self.transport.json("GET", f"{self.path}/events", params=params))
                for event in page.data:
                    yield from self._accept(event)
                if not (page.has_more and page.data):
                    break
            if ended:
                return
            self.transport.sleep(POLL_SECONDS)

    def _accept(self, event: Event) -> Iterator[Event]:
        if event.seq > self.after:
            self.after = event.seq
            yield event


def _event(data: str) -> Event:
    try:
        return Event.from_json(json.loads(data))
    except ValueError as error:
        raise UnexpectedAnswerError(f"the event stream holds something that is no JSON: {data[:80]!r}") from error
