"""The API as a process of its own, with a real broker: what it survives, and how it ends."""

from __future__ import annotations

import base64
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import redis

from fqt_client import Client
from jobs.store import Store
from tests.api.conftest import SPEC, Attempt, archive, files_of
from tests.api.cutter import Cutter
from tests.api.process import ROOT, Api
from tests.api.test_stream import Message, read_messages
from tests.worker.helpers import until

_MEGABYTE = bytes(1 << 20)


def _sent(valkey_url: str, queue: str) -> list[dict[str, Any]]:
    """The keyword arguments of every message in a queue of the broker, with the task's name."""
    with redis.Redis.from_url(valkey_url) as connection:
        raw = [json.loads(message) for message in connection.lrange(queue, 0, -1)]  # type: ignore[union-attr]
    return [{"task": message["headers"]["task"], **json.loads(base64.b64decode(message["body"]))[1]} for message in raw]


def _follow(api: Api, job_id: str, after: int, into: list[Message]) -> threading.Thread:
    def work() -> None:
        headers = {"Last-Event-ID": str(after)}
        with api.client() as client, client.stream("GET", f"/v1/jobs/{job_id}/events/stream", headers=headers) as reply:
            assert reply.status_code == 200
            into.extend(read_messages(reply.iter_lines()))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_job_and_its_stream_survive_a_restart(api: Api, shared_store: Store, valkey_url: str) -> None:
    with api.client() as client:
        created = client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "one"})
        job_id = created.json()["id"]
    until(lambda: {"task": "fqt.run", "job_id": job_id} in _sent(valkey_url, "auto"))
    attempt = Attempt(shared_store, job_id)
    attempt.steps(1, 3)

    before: list[Message] = []
    thread = _follow(api, job_id, 0, before)
    time.sleep(0.5)
    attempt.steps(4, 5)
    time.sleep(0.5)
    seconds = api.stop()
    thread.join(5)
    assert seconds < 5
    assert api.process.returncode == 0
    assert [message.id for message in before] == [1, 2, 3, 4, 5, 6, 7]
    assert "end" not in {message.event for message in before}

    attempt.steps(6, 7)  # the worker goes on while no API is there
    api.start()
    after: list[Message] = []
    thread = _follow(api, job_id, before[-1].id, after)
    attempt.steps(8, 9)
    attempt.succeed()
    thread.join(20)
    assert [message.id for message in after] == [8, 9, 10, 11, 12, 12]
    assert (after[-1].event, after[-1].data["state"]) == ("end", "succeeded")
    with api.client() as client:
        again = client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "one"})
        assert (again.json()["id"], again.headers["idempotent-replayed"]) == (job_id, "true")


def _bare(url: str, job_id: str, headers: dict[str, str]) -> Iterator[tuple[int, Any]]:
    """What a client does that knows ``Last-Event-ID`` and nothing else: ask again from the last whole message on."""
    last = "0"
    while True:
        place = f"{url}/v1/jobs/{job_id}/events/stream"
        with suppress(httpx.TransportError), httpx.stream("GET", place, headers=headers | {"Last-Event-ID": last}) as r:
            for message in read_messages(r.iter_lines()):
                if message.event == "end":
                    return
                last = str(message.id)
                yield message.id, message.data


def _by_client(url: str, job_id: str, headers: dict[str, str]) -> Iterator[tuple[int, Any]]:
    with Client(url, headers["Authorization"].removeprefix("Bearer "), sleep=lambda _: None) as client:
        for event in client.jobs.events(job_id):
            yield event.seq, event.raw


def test_streams_that_are_cut_at_fifty_places_have_no_gap_and_nothing_twice(api: Api, shared_store: Store) -> None:
    _read_through_cuts(api, shared_store, _by_client)
    _read_through_cuts(api, shared_store, _bare)


def _read_through_cuts(
    api: Api, shared_store: Store, follow: Callable[[str, str, dict[str, str]], Iterator[tuple[int, Any]]]
) -> None:
    """The connection breaks off wherever the bytes happen to be: in the head, in a message, while more are written."""
    with api.client() as client:
        job_id = client.post("/v1/jobs", json=SPEC).json()["id"]
        attempt, cutter = Attempt(shared_store, job_id), Cutter(api.port, cuts=50, longest=4000, seed=6)

        def write() -> None:
            for step in itertools.count(1, 30):
                attempt.steps(step, step + 29)
                if not cutter.left:
                    attempt.succeed()
                    return
                time.sleep(0.05)

        thread = threading.Thread(target=write)
        thread.start()
        found = list(
            follow(f"http://127.0.0.1:{cutter.port}", job_id, {"Authorization": client.headers["Authorization"]})
        )
        thread.join()
        cutter.close()
        assert len(cutter.cut) == 50
        assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
        for first in range(0, len(found), 1000):
            page = client.get(f"/v1/jobs/{job_id}/events", params={"after": first, "limit": 1000}).json()["data"]
            assert [data for _, data in found[first : first + 1000]] == page


def test_a_killed_api_leaves_a_store_that_works(api: Api) -> None:
    with api.client() as client:
        job_id = client.post("/v1/jobs", json=SPEC).json()["id"]
        api.stop(signal.SIGKILL)
    api.start()
    with api.client() as client:
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"


def test_readiness_asks_the_real_broker(api: Api) -> None:
    with api.client() as client:
        parts = {"database": True, "broker": True, "files": True, "worker": False}
        assert client.get("/readyz").json() == {"status": "ready"} | parts


def test_a_large_upload_is_not_held_in_memory(api: Api, valkey_url: str) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(150):
            yield _MEGABYTE
        yield b"\r\n--x--\r\n"

    with api.client() as client:
        client.get("/v1/jobs")
        before = api.peak_memory()
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = client.post("/v1/datasets?wait=0", content=body(), headers=headers)
        assert response.status_code == 202, response.text
        assert response.json()["size"] == 150 << 20
        assert api.peak_memory() - before < 40 << 20
        sent = {"task": "fqt.inspect", "dataset_id": response.json()["id"]}
        until(lambda: sent in _sent(valkey_url, "inspect"))


def _raw(api: Api, lines: list[str], body: bytes = b"", *, hang_up: bool = False) -> bytes:
    """Send bytes as they are, and return the beginning of the answer unless the client hangs up first."""
    key = api.settings.key_path.read_text().strip()
    head = ["POST /v1/datasets HTTP/1.1", f"Host: 127.0.0.1:{api.port}", f"Authorization: Bearer {key}", *lines, "", ""]
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        answer = b""
        while not hang_up and not answer.endswith(b"}") and (piece := connection.recv(1 << 16)):
            answer += piece
        return answer


def test_lies_about_the_length(api: Api) -> None:
    form = "Content-Type: multipart/form-data; boundary=x"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n' + archive()
    claimed = _raw(api, [form, f"Content-Length: {3 << 30}"])
    assert claimed.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in claimed
    _raw(api, [form, "Content-Length: 2000000000"], part, hang_up=True)  # far more than comes
    cut = _raw(api, [form, f"Content-Length: {len(part) - 100}"], part[:-100])
    assert cut.startswith(b"HTTP/1.1 400")
    for length in ("-1", "1e3", "99999999999999999999"):
        answer = _raw(api, [form, f"Content-Length: {length}"], part)
        assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 413", b""}, answer
    time.sleep(0.2)
    with api.client() as client:
        assert [row["builtin"] for row in client.get("/v1/datasets").json()["data"]] == [True, True]
    assert files_of(api.settings) == []


def test_neither_torch_nor_the_worker_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from api.app import create_app; from jobs.settings import Settings; "
        "create_app(Settings(data_dir=sys.argv[1])); "
        "sys.exit(repr({'torch', 'worker', 'numpy', 'PIL', 'sklearn'} & {m.split('.')[0] for m in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert run.stderr.strip() == "set()"
