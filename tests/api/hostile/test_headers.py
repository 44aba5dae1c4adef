"""Headers that mean harm."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from jobs.settings import Settings
from tests.api.conftest import SPEC, RecordingDoorbell, submit
from tests.api.hostile.refusal import refused

JSON = [(b"Content-Type", b"application/json")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("hostile") / "data", reaper_seconds=600)


@pytest.fixture(scope="module")
def app(settings: Settings) -> FastAPI:
    return create_app(settings, doorbell=RecordingDoorbell())


@pytest.fixture(scope="module")
def client(app: FastAPI, settings: Settings) -> Any:
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        yield client


@pytest.mark.parametrize(
    "values",
    [
        [b"Bearer a", b"Bearer b"],
        [b""],
        [b"Bearer"],
        [b"Bearer " + b"A" * 20_000],
        [b"Bearer fqt_" + b"\xff" * 46],
        [b"Bearer fqt_" + "ⁿ".encode() * 46],
        [b"bearer fqt_' OR 1=1 --"],
        [b"Bearer " + b" " * 10_000 + b"x"],
        [b"Negotiate YII="],
    ],
)
def test_authorization(client: TestClient, values: list[bytes]) -> None:
    sent = [(b"Authorization", value) for value in values]
    key = client.headers.pop("Authorization")
    try:
        refused(lambda: client.get("/v1/jobs", headers=sent), 401)
    finally:
        client.headers["Authorization"] = key


def test_a_good_key_beside_another_is_no_good_key(client: TestClient) -> None:
    good = client.headers["Authorization"].encode()
    for values in ([good, good], [good, b"Bearer x"], [b"Bearer x", good]):
        refused(lambda sent=values: client.get("/v1/jobs", headers=[(b"Authorization", one) for one in sent]), 401)


@pytest.mark.parametrize(
    "hosts",
    [
        [b"localhost", b"evil.example"],
        [b"evil.example", b"localhost"],
        [b"localhost@evil.example"],
        [b"localhost:80:80"],
        [b"localhost#.evil.example"],
        [b"localhost/evil"],
        [b"localhost."],
        [b"[::1"],
        [b"2130706433"],
        [b"169.254.169.254"],
        [b"localhost\t"],
        [b"l\xf6calhost"],
        [b""],
    ],
)
def test_hosts(client: TestClient, hosts: list[bytes]) -> None:
    found = refused(lambda: client.get("/v1/jobs", headers=[(b"Host", host) for host in hosts]), 400)
    assert found.code == "host_not_allowed"


def test_a_host_that_is_no_url_is_survived_where_any_host_is_answered_for(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": "*"}), doorbell=RecordingDoorbell())
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        refused(lambda: client.get("/v1/none", headers={"Host": "[::1"}), 401)
        key = {"Authorization": f"Bearer {settings.key_path.read_text().strip()}", "Host": "[::1"}
        refused(lambda: client.get("/v1/none", headers=key), 404)
        refused(lambda: client.put("/v1/jobs", headers=key), 405)


@pytest.mark.parametrize(
    "values", [[b""], [b"k" * 256], [b"a b"], [b"a\x7f"], [b"\xff\xfe"], ["ключ".encode()], [b"a", b"b"], [b"a", b"a"]]
)
def test_idempotency_keys(client: TestClient, values: list[bytes]) -> None:
    sent = [(b"Idempotency-Key", value) for value in values]
    refused(lambda: client.post("/v1/jobs", json=SPEC, headers=sent), 422 if len(values) == 1 else 400)


@pytest.mark.parametrize("value", [b"-1", b"9" * 16, b"1e3", b"abc", b"1\xb2", b"0x10", b" "])
def test_last_event_ids(client: TestClient, value: bytes) -> None:
    path = f"/v1/jobs/{submit(client)}/events/stream"
    refused(lambda: client.get(path, headers=[(b"Last-Event-ID", value)]), 422)


def test_a_last_event_that_is_yet_to_come(client: TestClient) -> None:
    path = f"/v1/jobs/{submit(client)}/events/stream"
    refused(lambda: client.get(path, headers={"Last-Event-ID": "9" * 15}), 422)


@pytest.mark.parametrize(
    "value",
    [b"", b"x" * 101, b"a b", b"a\tb", b'"><script>', b"%0d%0aSet-Cookie: a=b", b"\xff", b"../../etc/passwd", b"a;b"],
)
def test_request_ids_that_are_none_are_not_given_back(client: TestClient, value: bytes) -> None:
    response = client.get("/v1/none", headers=[(b"X-Request-ID", value)])
    assert response.status_code == 404
    assert re.fullmatch(r"req_[0-9a-f]{24}", response.headers["x-request-id"])
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b"application/jsonp",
        b"application/json+x",
        b"application/json; charset=utf-16",
        b"application/json;charset=latin-1",
        b"multipart/form-data; boundary=x",
        b"application/x-www-form-urlencoded",
        b"*/*",
        b"",
        b"application/json, text/html",
        b";" * 5000,
    ],
)
def test_content_types(client: TestClient, value: bytes) -> None:
    refused(lambda: client.post("/v1/jobs", content=b"{}", headers=[(b"Content-Type", value)]), 415)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/keys", "/v1/datasets"])
@pytest.mark.parametrize("value", ["gzip", "br, gzip", "identity, gzip", "x" * 100])
def test_bodies_are_not_unpacked(client: TestClient, path: str, value: str) -> None:
    headers = {"Content-Encoding": value, "Content-Type": "application/json"}
    refused(lambda: client.post(path, content=b"\x1f\x8b", headers=headers), 415)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"X-Large", b"x" * 40_000)], 431),
        ([(b"X-%d" % number, b"x") for number in range(10_000)], 431),
        ([(b"Cookie", b"a=" + b"b" * 33_000)], 431),
        ([(b"X-Forwarded-For", b"1.1.1.1," * 5000)], 431),
        ([*JSON, *JSON], 400),
        ([(b"X-Request-ID", b"a"), (b"X-Request-ID", b"b")], 400),
        ([(b"Last-Event-ID", b"1"), (b"Last-Event-ID", b"2")], 400),
        ([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")], 400),
        ([(b"Content-Length", b"5"), (b"Content-Length", b"6")], 400),
    ],
)
def test_headers_that_are_too_many_or_contradict(
    client: TestClient, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    found = refused(lambda: client.get("/v1/jobs", headers=headers), status)
    assert found.code in {"headers_too_large", "bad_headers"}


@pytest.mark.parametrize("path", ["/v1/jobs?after=" + "x" * 20_000, "/v1/" + "a" * 20_000, "/v1/jobs?" + "a=1&" * 6000])
def test_targets_that_are_too_long(client: TestClient, path: str) -> None:
    refused(lambda: client.get(path), 414)


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/..%2f..%2fetc%2fpasswd", "/v1/jobs/%00", "/v1//jobs", "/v1/jobs/job_%C0%AE", "/v1/jobs/' OR '1'='1",
     "/v1/jobs/{}/artifacts/..%2fsecret", "/v1/jobs/{}/artifacts/%2e%2e", "/v1/datasets/%F0%9F%92%A9"],
)  # fmt: skip
def test_paths_that_lead_elsewhere(client: TestClient, path: str) -> None:
    refused(lambda: client.get(path.replace("{}", "job_" + "0" * 26)), 404)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8000"])
def test_no_page_elsewhere_may_ask_anything(client: TestClient, origin: str) -> None:
    """There is no CORS: no answer of any path carries a header of it."""
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "*"}
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/v1/jobs", "/v1/keys", "/v1/none"):
        for method in ("OPTIONS", "GET", "POST"):
            response = client.request(method, path, headers=preflight)
            assert not [name for name in response.headers if name.startswith("access-control")], (method, path)
            assert method != "OPTIONS" or response.status_code in {404, 405}
