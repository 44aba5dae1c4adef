"""What each refusal of a hostile request is held to."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection
from typing import Any

from api.problems import ProblemDocument

MOST_SECONDS = 2.0
PATIENCE_SECONDS = 20.0  # other tests want the processor too
MOST_BYTES = 256 << 20
MOST_ANSWER_BYTES = 256 << 10


def refused(send: Callable[[], Any], *statuses: int) -> ProblemDocument:
    """Send a request; it must be refused with a problem document of one of these statuses (none given: any 4xx).

    In less than two seconds of work, with less than 256 MB of memory beyond what the process had taken before, and
    with an answer that is no burden itself.
    """
    before = _peak()
    begin, worked = time.monotonic(), time.process_time()
    response = send()
    assert time.process_time() - worked < MOST_SECONDS
    assert time.monotonic() - begin < PATIENCE_SECONDS
    assert _peak() - before < MOST_BYTES
    assert len(response.content) < MOST_ANSWER_BYTES
    return told(response.status_code, response.headers, response.json(), statuses or range(400, 500))


def told(status: int, headers: Any, body: Any, statuses: Collection[int]) -> ProblemDocument:
    """Check that an answer is a whole problem document with a request id."""
    assert status in statuses, (status, body)
    assert headers["content-type"] == "application/problem+json"
    document = ProblemDocument.model_validate(body)
    assert document.status == status
    assert document.request_id
    assert document.request_id == headers["x-request-id"]
    assert "Traceback" not in document.detail
    return document


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
