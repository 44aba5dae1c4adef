"""The client for asyncio: written once with the blocking one, so that only what differs is tried here."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fqt_client import AsyncClient, Client, RateLimitedError
from tests.client.fake import JOB_ID, Script, event, job, problem, stream

PATH = f"/v1/jobs/{JOB_ID}"
PREDICTION = {"label": "cat", "probability": 0.9, "top": [{"label": "cat", "probability": 0.9}]}


def _run(script: Script, body: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    async def sleep(seconds: float) -> None:
        script.waits.append(seconds)

    async def main() -> Any:
        transport = httpx.MockTransport(script)
        async with AsyncClient("http://127.0.0.1:1", "fqt_test", http=transport, sleep=sleep) as client:
            return await body(client)

    return asyncio.run(main())


def _surface(thing: object) -> dict[str, str]:
    names = [name for name in dir(thing) if not name.startswith("_")]
    methods = {name: getattr(thing, name) for name in names if callable(getattr(thing, name))}
    return {name: str(inspect.signature(method).replace(return_annotation="")) for name, method in methods.items()}


def test_both_clients_have_the_same_methods_with_the_same_parameters(client: Client) -> None:
    asynchronous = AsyncClient("http://127.0.0.1:1", "fqt_test")
    assert _surface(client) == _surface(asynchronous)
    parts = [name for name, value in vars(client).items() if not name.startswith("_") and name != "config"]
    assert parts == [name for name in vars(asynchronous) if not name.startswith("_") and name != "config"]
    assert {"jobs", "datasets", "models", "sweeps"} <= set(parts)
    for part in parts:
        assert _surface(getattr(client, part)) == _surface(getattr(asynchronous, part))
    assert client.jobs.submit.__doc__ == asynchronous.jobs.submit.__doc__


def test_a_submission_that_breaks_off_is_repeated_under_its_key(script: Script) -> None:
    script.on("POST", "/v1/jobs", httpx.ReadTimeout("slow"), httpx.Response(201, json=job("queued")))
    made = _run(script, lambda client: client.jobs.submit("digits"))
    assert made.id == JOB_ID
    first, second = script.seen("POST", "/v1/jobs")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(script.waits) == 1


def test_a_broken_stream_goes_on_after_the_last_event(script: Script) -> None:
    answers = stream(event(1), event(2)), httpx.ReadError("reset"), stream(event(2), event(3), end=True)
    script.on("GET", f"{PATH}/events/stream", *answers)

    async def body(client: AsyncClient) -> list[int]:
        return [entry.seq async for entry in client.jobs.events(JOB_ID)]

    assert _run(script, body) == [1, 2, 3]
    seen = [request.headers["last-event-id"] for request in script.seen("GET", f"{PATH}/events/stream")]
    assert seen == ["0", "2", "2"]


def test_pages_uploads_and_downloads(script: Script, tmp_path: Path) -> None:
    content = bytes(range(256)) * 99
    entry = {"name": "m", "kind": "model", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [entry], "has_more": False}))
    script.on("GET", f"{PATH}/artifacts/m", httpx.Response(200, content=content))
    pages = ({"data": [job()], "has_more": True}, {"data": [job()], "has_more": False})
    script.on("GET", "/v1/jobs", *(httpx.Response(200, json=page) for page in pages))
    script.on("POST", "/v1/datasets", httpx.Response(201, json={"id": "ds_1", "state": "ready"}))
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "1.png").write_bytes(content)
    told: list[tuple[int, int]] = []

    async def body(client: AsyncClient) -> None:
        assert len([entry async for entry in client.jobs.list()]) == 2
        assert (await client.datasets.upload(tmp_path / "photos", progress=lambda *at: told.append(at))).id == "ds_1"
        path = await client.jobs.download(JOB_ID, "model", tmp_path, progress=lambda *at: told.append(at))
        assert path.read_bytes() == content

    _run(script, body)
    assert content[:1000] in script.seen("POST", "/v1/datasets")[0].content
    assert told[-1] == (len(content), len(content))
    assert told[0][1] > len(content)  # the archive, on its way up


def test_models_sweeps_and_comparisons(script: Script, tmp_path: Path) -> None:
    models = [{"id": f"mdl_{index}", "format": "packed", "size": 1, "sha256": "0"} for index in range(3)]
    sweep = {"id": "swp_1", "state": "running", "jobs": 2}
    pages = ({"data": models[:2], "has_more": True}, {"data": models[2:], "has_more": False})
    script.on("GET", "/v1/models", *(httpx.Response(200, json=page) for page in pages))
    script.on("GET", "/v1/models/mdl_0/card", httpx.Response(200, text="# card"))
    script.on("POST", "/v1/models/mdl_0/predict", httpx.Response(200, json={"predictions": [PREDICTION]}))
    script.on("POST", "/v1/sweeps", httpx.Response(201, json=sweep))
    script.on(
        "GET", "/v1/sweeps/swp_1", *(httpx.Response(200, json=sweep | {"state": s}) for s in ("running", "failed"))
    )
    script.on("POST", "/v1/compare", httpx.Response(200, json={"align": "step", "differing": ["seed"], "jobs": []}))
    (tmp_path / "1.png").write_bytes(b"an image")

    async def body(client: AsyncClient) -> None:
        assert [model.id async for model in client.models.list()] == ["mdl_0", "mdl_1", "mdl_2"]
        assert await client.models.card("mdl_0") == "# card"
        [found] = await client.models.predict("mdl_0", [tmp_path / "1.png"])
        assert found.top == [("cat", 0.9)]
        made = await client.sweeps.create(
            {"dataset": "digits"}, {"training.seed": {"type": "choice", "values": [1, 2]}}
        )
        assert [found.state async for found in client.sweeps.follow(made.id)] == ["running", "failed"]
        assert (await client.sweeps.wait(made.id)).state == "failed"
        assert (await client.compare(sweep=made.id)).differing == ["seed"]

    _run(script, body)
    assert script.seen("GET", "/v1/models")[1].url.params["after"] == "mdl_1"
    assert b"an image" in script.seen("POST", "/v1/models/mdl_0/predict")[0].content
    assert len(script.waits) == 1  # between the two looks at the sweep


def test_many_calls_wait_at_the_same_time(script: Script) -> None:
    async def slowly(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.2)
        return httpx.Response(200, json=job())

    async def body() -> float:
        begin = time.monotonic()
        async with AsyncClient("http://127.0.0.1:1", "fqt_test", http=httpx.MockTransport(slowly)) as client:
            await asyncio.gather(*(client.jobs.get(JOB_ID) for _ in range(20)))
        return time.monotonic() - begin

    assert asyncio.run(body()) < 2  # one after the other they would take 4 s


def test_a_blocking_client_works_while_an_event_loop_runs(client: Client, script: Script) -> None:
    """As in a notebook."""
    script.on("GET", f"{PATH}/events/stream", stream(event(1), event(2), end=True))

    async def cell() -> int:
        return next(iter(client.jobs.events(JOB_ID))).seq

    assert asyncio.run(cell()) == 1


def test_a_service_that_asks_for_more_patience_than_a_call_has_is_told_at_once(client: Client, script: Script) -> None:
    script.on("GET", PATH, problem(429, "rate_limited", "Too many.", headers={"retry-after": "3600"}))
    with pytest.raises(RateLimitedError) as caught:
        client.jobs.get(JOB_ID)
    assert (caught.value.retry_after, script.waits) == (3600, [])


def test_retry_after_may_be_a_moment_and_counts_for_what_was_not_done(client: Client, script: Script) -> None:
    past = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}
    script.on("DELETE", "/v1/datasets/ds_1", problem(429, "rate_limited", "Wait.", headers=past), httpx.Response(204))
    client.datasets.delete("ds_1")
    assert script.waits == [0.0]
