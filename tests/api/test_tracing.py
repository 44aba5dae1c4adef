"""One request from the client to the worker's child: the same trace and the same ids in spans and logs."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api.conftest import SPEC
from tests.api.process import Api
from tests.worker.processes import Process


class Collector(ThreadingHTTPServer):
    """A receiver of OTLP over HTTP: keeps each span with the name of its service."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, Any]] = []

    def named(self, service: str, name: str) -> list[Any]:
        return [span for owner, span in list(self.spans) if (owner, span.name) == (service, name)]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                owner = {row.key: row.value.string_value for row in part.resource.attributes}["service.name"]
                self.server.spans += [(owner, span) for scope in part.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_trace_and_a_request_id_go_from_the_client_to_the_child(collector: Collector, api: Api) -> None:
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Request-ID": "from-the-client"}
    worker = Process(api.settings, threads=1, poll_seconds=0.1, log_level="debug")
    try:
        with api.client() as client:
            job = client.post("/v1/jobs", json={**SPEC, "name": json.dumps({"steps": 2})}, headers=headers).json()["id"]
            bad = client.post("/v1/jobs", json={**SPEC, "name": json.dumps({"steps": 2, "fail": 1})}).json()["id"]
            deadline = time.monotonic() + 30
            while any(client.get(f"/v1/jobs/{each}").json()["finished_at"] is None for each in (job, bad)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        assert worker.end() == 0  # at its end it sends what it has
    deadline = time.monotonic() + 10
    while len(collector.named("fqt-api", "POST /v1/jobs")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)

    [request] = [span for span in collector.named("fqt-api", "POST /v1/jobs") if span.trace_id.hex() == trace]
    assert request.parent_span_id.hex() == parent
    attempts = collector.named("fqt-worker", "fqt.job.attempt")
    assert len(attempts) == 2
    [attempt] = [span for span in attempts if span.trace_id.hex() == trace]
    [endpoint] = [span for _, span in collector.spans if span.span_id == attempt.parent_span_id]
    assert (endpoint.name, endpoint.parent_span_id) == ("fastapi.endpoint", request.span_id)
    told = {row.key: row.value.string_value or row.value.int_value for row in attempt.attributes}
    assert told["fqt.job.id"] == job
    assert told["fqt.request.id"] == "from-the-client"
    assert (told["fqt.job.state"], told["fqt.job.attempt"]) == ("succeeded", 1)
    [failed] = [span for span in attempts if span.trace_id.hex() != trace]
    assert (failed.status.code, failed.status.message) == (2, "non_finite_gradient")

    ids = {"request_id": "from-the-client", "trace_id": trace}
    lines = _lines(worker.log)
    assert {"job claimed", "child: nearly done", "child printed", "child ended", "job given back"} <= {
        line["event"] for line in lines if line.items() >= (ids | {"job_id": job}).items()
    }
    [logged] = [line for line in _lines(api.settings.data_dir.parent / "api.log") if line.items() >= ids.items()]
    assert (logged["event"], logged["path"], logged["status"]) == ("request", "/v1/jobs", 201)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
