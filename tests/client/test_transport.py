from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from fqt_client import (
    Artifact,
    AuthenticationError,
    CannotConnectError,
    Client,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ServerFaultError,
    UnexpectedAnswerError,
    UnusableValueError,
)
from tests.client.fake import JOB_ID, Script, job, problem

PATH = f"/v1/jobs/{JOB_ID}"


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}, "\udcff"])
def test_what_json_has_not_is_an_error_of_the_client(client: Client, script: Script, value: object) -> None:
    with pytest.raises(UnusableValueError, match=r"^training\.learning_rate: "):
        client.jobs.submit("digits", training={"learning_rate": value})
    assert script.requests == []


def test_names_from_the_service_lead_to_no_other_route(client: Client, script: Script, tmp_path: Path) -> None:
    found = Artifact(name="../../keys?x#y", kind="report", size=0, sha256="0" * 64)
    with pytest.raises(NotFoundError):
        client.jobs.download(JOB_ID, found, tmp_path / "x")
    assert script.requests[0].url.raw_path == f"{PATH}/artifacts/..%2F..%2Fkeys%3Fx%23y".encode()


def test_a_get_is_repeated_until_the_service_is_back(client: Client, script: Script) -> None:
    script.on(
        "GET",
        PATH,
        problem(503, "unavailable", "Starting."),
        httpx.ReadError("reset"),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(200, json=job()),
    )
    assert client.jobs.get(JOB_ID).state == "running"
    assert len(script.waits) == 3
    assert all(0 < wait <= 8 for wait in script.waits)


def test_retry_after_is_honoured_and_given_up_in_the_end(client: Client, script: Script) -> None:
    script.on("GET", PATH, problem(429, "rate_limited", "Too many.", headers={"retry-after": "7"}))
    with pytest.raises(RateLimitedError) as caught:
        client.jobs.get(JOB_ID)
    assert caught.value.retry_after == 7
    assert script.waits == [7.0] * 4


def test_every_try_of_a_submission_carries_the_same_idempotency_key(client: Client, script: Script) -> None:
    script.on("POST", "/v1/jobs", httpx.ReadTimeout("slow"), httpx.Response(201, json=job("queued")))
    client.jobs.submit("digits")
    keys = {request.headers["idempotency-key"] for request in script.seen("POST", "/v1/jobs")}
    assert len(script.seen("POST", "/v1/jobs")) == 2
    assert len(keys) == 1
    client.jobs.submit("digits")
    assert script.requests[-1].headers["idempotency-key"] not in keys


def test_an_answer_still_being_made_under_the_same_key_is_waited_for(client: Client, script: Script) -> None:
    script.on("POST", "/v1/jobs", problem(409, "request_in_progress", "Wait."), httpx.Response(201, json=job("queued")))
    assert client.jobs.submit("digits").id == JOB_ID


def test_what_might_be_done_twice_is_not_repeated(client: Client, script: Script) -> None:
    script.on("DELETE", "/v1/datasets/ds_1", httpx.ReadError("reset"))
    with pytest.raises(CannotConnectError):
        client.datasets.delete("ds_1")
    assert len(script.requests) == 1
    script.on("DELETE", "/v1/datasets/ds_1", httpx.ConnectError("refused"), httpx.Response(204))
    script.on("GET", PATH, httpx.Response(200, json=job()))
    client.jobs.get(JOB_ID)
    client.datasets.delete("ds_1")  # the connection was never made, so nothing can have been done


def test_other_refusals_are_not_repeated(client: Client, script: Script) -> None:
    for status, kind in ((401, AuthenticationError), (409, ConflictError), (500, ServerFaultError)):
        script.on("GET", PATH, problem(status, "code", "No."))
        with pytest.raises(kind):
            client.jobs.get(JOB_ID)
    assert script.waits == []


def test_a_refusal_lists_every_fault(client: Client, script: Script) -> None:
    faults = [
        {"field": "training.epochs", "message": "too small", "allowed": {"minimum": 1, "maximum": 10000}},
        {"field": "method.bits", "message": "not allowed", "allowed": [1, 2, 4, 8]},
    ]
    script.on(
        "POST", "/v1/jobs", problem(422, "validation_error", "2 fields are wrong.", errors=faults, request_id="r1")
    )
    with pytest.raises(InvalidRequestError) as caught:
        client.jobs.submit("digits")
    assert [fault.field for fault in caught.value.faults] == ["training.epochs", "method.bits"]
    assert str(caught.value) == (
        "2 fields are wrong: training.epochs: too small (allowed: at least 1, at most 10000); "
        "method.bits: not allowed (allowed: 1, 2, 4, 8)"
    )
    assert caught.value.request_id == "r1"


def test_no_connection_names_the_service_and_the_remedy(client: Client, script: Script) -> None:
    script.on("GET", PATH, httpx.ConnectError("connection refused"))
    with pytest.raises(CannotConnectError, match=r"http://127\.0\.0\.1:1 \(connection refused\)") as caught:
        client.jobs.get(JOB_ID)
    assert "fqt up" in str(caught.value.remedy)
    assert script.waits == []  # whoever was never there is not waited for; who has answered once may be back soon
    script.on(
        "GET", PATH, httpx.Response(200, json=job()), httpx.ConnectError("refused"), httpx.Response(200, json=job())
    )
    assert [client.jobs.get(JOB_ID).id for _ in range(2)] == [JOB_ID] * 2
    assert len(script.waits) == 1


def test_an_answer_that_is_no_service_of_ours_is_told(client: Client, script: Script) -> None:
    script.on("GET", PATH, httpx.Response(200, text="<html>hello</html>", headers={"content-type": "text/html"}))
    with pytest.raises(UnexpectedAnswerError, match="text/html instead of JSON"):
        client.jobs.get(JOB_ID)
    script.on("GET", PATH, httpx.Response(200, json={"id": JOB_ID}))
    with pytest.raises(UnexpectedAnswerError, match="lacks state"):
        client.jobs.get(JOB_ID)


def test_the_key_is_sent_and_never_shown(client: Client, script: Script) -> None:
    script.on("GET", PATH, httpx.Response(200, json=job()))
    client.jobs.get(JOB_ID)
    assert script.requests[0].headers["authorization"] == "Bearer fqt_test"
    assert Client("http://127.0.0.1:1", "fqt_0123456789secret").config.__repr__().count("secret") == 0
