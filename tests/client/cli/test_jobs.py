from __future__ import annotations

import json

import httpx
import pytest

from tests.client.cli.running import PATH, Run
from tests.client.fake import JOB_ID, Script, event, job, problem, stream


def test_lists_are_tables_for_people_and_json_for_programs(fqt: Run, script: Script) -> None:
    rows = [job("succeeded", name="first", result={"validation_accuracy": 0.5})]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": rows, "has_more": False}))
    _, out, _ = fqt("jobs")
    assert out.splitlines()[0].split()[:3] == ["id", "name", "state"]
    assert {JOB_ID, "first", "succeeded", "50.0"} <= set(out.splitlines()[1].split())
    _, out, _ = fqt("jobs", "--json")
    assert json.loads(out) == rows
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [], "has_more": False}))
    assert "fqt submit" in fqt("jobs")[1]
    assert fqt("show", "last")[0] == 4


def test_a_failed_job_is_shown_with_its_last_lines(fqt: Run, script: Script) -> None:
    error = {"code": "child_crashed", "message": "it ended", "attempts": 3, "log": ["Traceback", "\x1b[31mValueError"]}
    script.on("GET", PATH, httpx.Response(200, json=job("failed", error=error)))
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    _, out, _ = fqt("show", JOB_ID)
    assert "it ended" in out
    assert "Its last lines:\n  Traceback\n" in out
    assert "ValueError" in out
    assert "\x1b" not in out


def test_a_job_that_ended_below_its_parent_is_shown_with_what_to_try(fqt: Run, script: Script) -> None:
    result = {"validation_accuracy": 0.5, "setback": {"message": "below the 90.0% of its parent: try more epochs"}}
    script.on("GET", PATH, httpx.Response(200, json=job("succeeded", result=result)))
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    warning = next(line for line in fqt("show", JOB_ID)[1].splitlines() if line.startswith("warning"))
    assert warning.split(maxsplit=1)[1] == "below the 90.0% of its parent: try more epochs"


@pytest.mark.parametrize(("verb", "state"), [("pause", "pausing"), ("resume", "queued"), ("cancel", "cancelling")])
def test_a_job_is_steered_and_a_request_that_broke_off_is_repeated(
    fqt: Run, script: Script, verb: str, state: str
) -> None:
    script.on("POST", f"{PATH}/{verb}", httpx.ReadError("reset"), httpx.Response(200, json=job(state)))
    assert fqt(verb, JOB_ID) == (0, f"{JOB_ID} is {state}\n", "")
    assert len(script.seen("POST", f"{PATH}/{verb}")) == 2
    assert json.loads(fqt(verb, JOB_ID, "--json")[1])["state"] == state
    script.on("POST", f"{PATH}/{verb}", problem(409, "conflict", f"Job {JOB_ID} has ended."))
    code, _, error = fqt(verb, JOB_ID)
    assert (code, "has ended" in error) == (4, True)


def test_pages_are_read_on_only_as_far_as_needed(fqt: Run, script: Script) -> None:
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [job()] * 3, "has_more": True}))
    _, out, _ = fqt("jobs", "--limit", "5", "--json")
    assert len(json.loads(out)) == 5
    assert len(script.requests) == 2


def test_logs_are_a_line_each_without_the_single_steps(fqt: Run, script: Script) -> None:
    events = [
        event(1, "state", **{"from": "queued", "to": "running", "reason": "claimed"}),
        event(2, kind="step", step=1, loss=1.0),
        event(3, kind="epoch", epoch=1, train_loss=0.25, validation_accuracy=0.75),
        event(4, "log", message="hello"),
        event(5, "artifact", kind="model", size=9),
    ]
    script.on("GET", f"{PATH}/events", httpx.Response(200, json={"data": events, "has_more": False}))
    _, out, _ = fqt("logs", JOB_ID)
    texts = [line.split(maxsplit=2)[2] for line in out.splitlines()]
    assert texts == [
        "queued → running (claimed)",
        "epoch 1: loss 0.250, accuracy 75.0 %",
        "hello",
        "kind model, size 9",
    ]


def test_logs_go_on_over_a_broken_connection(fqt: Run, script: Script) -> None:
    answers = stream(event(1, "log", message="one")), httpx.ReadError("reset"), problem(503, "unavailable", "Starting.")
    script.on("GET", f"{PATH}/events/stream", *answers, stream(event(2, "log", message="two"), end=True))
    code, out, err = fqt("logs", "-f", JOB_ID)
    assert (code, err, [line.split()[-1] for line in out.splitlines()]) == (0, "", ["one", "two"])
