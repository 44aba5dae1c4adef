from __future__ import annotations

import httpx
import pytest

from fqt_client import CannotConnectError, Client, NotFoundError
from fqt_client.follow import EventFollower
from fqt_client.sse import Parser, ServerSentEvent
from fqt_client.wire import finish
from tests.client.fake import JOB_ID, Script, event, job, problem, stream

PATH = f"/v1/jobs/{JOB_ID}"
STREAM = f"{PATH}/events/stream"


def _seqs(client: Client, after: int = 0) -> list[int]:
    return [entry.seq for entry in client.jobs.events(JOB_ID, after=after)]


def test_messages_are_parsed_as_the_standard_says() -> None:
    lines = [
        ": ping",
        "",
        "id: 3",
        "event: metric",
        "data: a",
        "data:b",
        "",
        "data",
        "",
        "event: lost",
        "",
        "data: cut",
    ]
    parser = Parser()
    assert [message for line in lines if (message := parser.feed(line))] == [
        ServerSentEvent("metric", "a\nb", "3"),
        ServerSentEvent("message", "", "3"),
    ]


def test_a_broken_stream_goes_on_after_the_last_event(client: Client, script: Script) -> None:
    script.on(
        "GET",
        STREAM,
        stream(event(1), event(2)),
        httpx.ReadError("reset"),
        httpx.ConnectError("refused"),
        problem(503, "unavailable", "Restarting."),
        stream(event(2), event(3), event(4), end=True),
    )
    assert _seqs(client) == [1, 2, 3, 4]
    assert [request.headers["last-event-id"] for request in script.seen("GET", STREAM)] == ["0", "2", "2", "2", "2"]
    assert len(script.waits) == 4


def test_it_starts_where_it_is_told(client: Client, script: Script) -> None:
    script.on("GET", STREAM, stream(event(6), end=True))
    assert _seqs(client, after=5) == [6]
    assert script.requests[0].headers["last-event-id"] == "5"


def test_it_gives_up_after_its_patience(client: Client, script: Script) -> None:
    script.on("GET", STREAM, httpx.ConnectError("refused"))
    seconds = iter(range(0, 1000, 50))
    transport = client.jobs._core._transport
    follower = EventFollower(transport, JOB_ID, patience=120, clock=lambda: float(next(seconds)))
    with pytest.raises(CannotConnectError, match="refused"):
        finish(anext(follower.events()))
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "no_stream",
    [
        httpx.Response(405, json={}),
        httpx.Response(404, json={}),
        httpx.Response(200, text="<html>proxy</html>", headers={"content-type": "text/html"}),
    ],
    ids=["405", "404", "proxy"],
)
def test_without_a_stream_it_polls(client: Client, script: Script, no_stream: httpx.Response) -> None:
    script.on("GET", STREAM, no_stream)
    states = iter(["running", "running", "running", "succeeded"])
    script.on("GET", PATH, lambda _: httpx.Response(200, json=job(next(states, "succeeded"))))
    pages = [
        {"data": [event(1), event(2)], "has_more": True},
        {"data": [event(3)], "has_more": False},
        {"data": [], "has_more": False},
        {"data": [event(4)], "has_more": False},
    ]
    script.on("GET", f"{PATH}/events", *(httpx.Response(200, json=page) for page in pages))
    assert _seqs(client) == [1, 2, 3, 4]
    after = [request.url.params["after"] for request in script.seen("GET", f"{PATH}/events")]
    assert after[:4] == ["0", "2", "3", "3"]


def test_an_unknown_job_is_an_error_not_a_reason_to_poll(client: Client) -> None:
    with pytest.raises(NotFoundError):
        _seqs(client)


def test_what_is_there_now_is_listed_without_following(client: Client, script: Script) -> None:
    pages = [{"data": [event(1)], "has_more": True}, {"data": [event(2)], "has_more": False}]
    script.on("GET", f"{PATH}/events", *(httpx.Response(200, json=page) for page in pages))
    assert [entry.seq for entry in client.jobs.events(JOB_ID, follow=False)] == [1, 2]
