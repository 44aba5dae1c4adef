"""Every refusal is a problem document with a request id, whoever refuses."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from api import problems
from api.problems import Problem, ProblemDocument
from fqt_core.config import METHODS
from jobs.store import Store
from tests.api.conftest import SPEC, RecordingDoorbell


def _check(response: object, status: int, code: str) -> ProblemDocument:
    assert response.status_code == status, response.text  # type: ignore[attr-defined]
    assert response.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    document = ProblemDocument.model_validate(response.json())  # type: ignore[attr-defined]
    assert (document.status, document.code, document.type) == (status, code, f"/problems/{code}")
    assert document.request_id == response.headers["x-request-id"]  # type: ignore[attr-defined]
    return document


def _kinds(kind: type[Problem] = Problem) -> list[type[Problem]]:
    return [
        kind,
        *(inner for sub in kind.__subclasses__() if sub.__module__ == "api.problems" for inner in _kinds(sub)),
    ]


def test_codes_are_unique_and_each_kind_documents_itself() -> None:
    kinds = [kind for kind in _kinds() if kind is not Problem]
    assert len(kinds) > 12
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        entry = problems.responses(kind)[kind.status]
        example = entry["content"]["application/problem+json"]["examples"][kind.code]["value"]
        ProblemDocument.model_validate(example)
        assert kind().detail == example["detail"]


def test_refusals_of_the_framework(client: TestClient) -> None:
    _check(client.get("/v1/nothing"), 404, "not_found")
    response = client.put("/v1/jobs")
    _check(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    assert client.put("/docs").headers["allow"] == "GET"
    for operation in ("from-url", "from-folder"):  # is no data set, though it stands where their ids stand
        for method in ("GET", "DELETE", "OPTIONS"):
            response = client.request(method, f"/v1/datasets/{operation}")
            _check(response, 405, "method_not_allowed")
            assert response.headers["allow"] == "POST"
    assert client.put("/v1/datasets/digits").headers["allow"] == "DELETE, GET"
    _check(client.get("/v1/jobs/"), 404, "not_found")
    _check(
        client.post("/v1/jobs", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type"
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "line 1"),
        (b"{", "line 1"),
        (b'{"dataset": NaN}', "NaN"),
        (b'{"training": {"learning_rate": Infinity}}', "Infinity"),
        (b'{"training": {"learning_rate": 1e999}}', "out of range"),
        (b'{"dataset": "digits", "dataset": "x"}', "twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"[" * 100_000, "deeper"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "deeper"),
        (b'{"name": "\xff"}', "UTF-8"),
        (b'{"name": "\\ud800"}', "surrogate"),
        (b'{"name": "a\\u0000b"}', "NUL"),
        (b"\xef\xbb\xbf{}", "not JSON"),
    ],
)
def test_malformed_json(client: TestClient, body: bytes, says: str) -> None:
    response = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert says in _check(response, 400, "malformed_body").detail


def test_brackets_in_strings_are_no_depth(client: TestClient) -> None:
    response = client.post("/v1/jobs", json={**SPEC, "name": "[" * 150 + '\\"' + "{" * 40})
    assert response.status_code == 201


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"3"])
def test_json_that_is_no_object(client: TestClient, body: bytes) -> None:
    _check(client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}), 422, "validation_error")


def test_a_body_too_large_is_refused_by_its_header_and_by_its_bytes(client: TestClient) -> None:
    big = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    headers = {"Content-Type": "application/json"}
    _check(client.post("/v1/jobs", content=big, headers=headers), 413, "too_large")
    _check(client.post("/v1/jobs", content=iter([big[:1000], big[1000:]]), headers=headers), 413, "too_large")


def test_every_wrong_field_in_one_answer(client: TestClient) -> None:
    spec = {
        "dataset": "ds_" + "0" * 26,
        "classes": ["a"],
        "initial_weights": "job_" + "0" * 26,
        "architecture": {"name": "resnet18", "width": 99, "stemm": 1, "channels": 2},
        "method": {"name": "fqt", "bits": 3, "keep": 0},
        "training": {"epochs": 0, "optimizer": "adamw", "augment": {"pad_crop": -1}},
        "devices": "cpu",
    }
    errors = {
        error.field: error for error in _check(client.post("/v1/jobs", json=spec), 422, "validation_error").errors
    }
    assert set(errors) == {
        "dataset",
        "classes",
        "initial_weights",
        "architecture.width",
        "architecture.stemm",
        "architecture.channels",
        "method.bits",
        "method.keep",
        "training.epochs",
        "training.optimizer",
        "training.augment.pad_crop",
        "devices",
    }
    assert errors["method.bits"].allowed == [1, 2, 4, 8, "auto"]
    assert errors["training.optimizer"].allowed == ["adam", "sgd", "muon"]
    assert errors["training.epochs"].allowed == {"minimum": 1}
    assert errors["classes"].allowed == {"minItems": 2}
    assert "stem" in errors["architecture.stemm"].message
    assert "device" in errors["devices"].message


def test_a_class_named_twice_is_told_together_with_other_faults(client: TestClient) -> None:
    spec = {"dataset": "digits", "classes": ["1", "1"], "training": {"epochs": 0}}
    document = _check(client.post("/v1/jobs", json=spec), 422, "validation_error")
    assert {error.field: error.message for error in document.errors} == {
        "classes": "every class may be named once only",
        "training.epochs": "input should be greater than or equal to 1",
    }


def test_faults_of_parameters_headers_and_body_come_in_one_answer(client: TestClient) -> None:
    spec = {"dataset": f"ds_{'0' * 26}", "training": {"epochs": 0}}
    response = client.post("/v1/jobs?dry_run=maybe", json=spec, headers={"Idempotency-Key": "a b"})
    document = _check(response, 422, "validation_error")
    fields = ["Idempotency-Key", "dataset", "dry_run", "training.epochs"]
    assert sorted(error.field for error in document.errors) == fields
    document = _check(client.post("/v1/jobs?dryrun=1", json=spec), 422, "validation_error")
    assert sorted(error.field for error in document.errors) == ["dataset", "dryrun", "training.epochs"]


@pytest.mark.parametrize("name", ["path", "body", "query"])
def test_an_unknown_field_may_be_called_like_a_part_of_a_request(client: TestClient, name: str) -> None:
    response = client.post("/v1/jobs", json={"dataset": "digits", name: {}})
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["field"] == name
    assert error["message"].startswith("unknown field")


def test_under_an_unknown_name_the_options_that_no_name_mends_are_told(client: TestClient) -> None:
    spec = {
        "dataset": "digits",
        "architecture": {"name": "zz", "width": 99, "image_size": 16},
        "method": {"bits": 9, "keep": 0.5, "kept": 1},  # keep is an option of some methods: it may be meant
        "training": {"epochs": 0},
    }
    document = _check(client.post("/v1/jobs", json=spec), 422, "validation_error")
    errors = {error.field: error for error in document.errors}
    assert set(errors) == {
        "architecture.name",
        "architecture.width",
        "method.name",
        "method.bits",
        "method.kept",
        "training.epochs",
    }
    assert errors["method.bits"].allowed == [1, 2, 4, 8]


@pytest.mark.parametrize("method", [{"name": "fq4"}, {}, {"bits": 4}])
def test_an_unknown_method_names_those_there_are(client: TestClient, method: dict[str, object]) -> None:
    document = _check(client.post("/v1/jobs", json={**SPEC, "method": method}), 422, "validation_error")
    assert [(error.field, error.allowed) for error in document.errors] == [("method.name", sorted(METHODS))]


def test_what_is_no_id_is_told_in_words(client: TestClient) -> None:
    spec = {"dataset": "nope", "initial_weights": "nope", "teacher": "nope"}
    document = _check(client.post("/v1/jobs", json=spec), 422, "validation_error")
    assert {error.field: (error.message.split(":")[0], error.allowed) for error in document.errors} == {
        "dataset": ("there is no data set 'nope'", None),
        "initial_weights": ("there is no job or model 'nope'", None),
        "teacher": ("there is no job or model 'nope'", None),
    }


def test_a_misspelt_query_parameter_is_refused(client: TestClient) -> None:
    document = _check(client.post("/v1/jobs?dryrun=true", json=SPEC), 422, "validation_error")
    assert document.errors[0].field == "dryrun"
    assert "dry_run" in document.errors[0].message
    assert client.get("/v1/jobs").json()["data"] == []


def test_request_ids_come_back(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    for unfit in ("a b", "x" * 200, "<script>"):
        assert client.get("/healthz", headers={"X-Request-ID": unfit}).headers["x-request-id"].startswith("req_")


def test_a_fault_of_the_service_shows_nothing_of_itself(app: FastAPI, client: TestClient) -> None:
    @app.get("/healthz/broken")
    def broken() -> None:
        raise RuntimeError("secret detail")

    response = client.get("/healthz/broken")
    assert "secret" not in _check(response, 500, "internal_error").model_dump_json()
    assert "Traceback" not in response.text


def test_a_silent_database_is_told_as_such(app: FastAPI, client: TestClient) -> None:
    @app.get("/healthz/broken")
    def broken() -> None:
        raise OperationalError("SELECT secret", {}, Exception("locked"))

    response = client.get("/healthz/broken")
    assert "secret" not in _check(response, 503, "unavailable").model_dump_json()
    assert response.headers["retry-after"] == "2"


def test_a_database_that_is_silent_when_the_key_is_looked_up_is_told_as_such(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("connection refused"))

    monkeypatch.setattr("api.auth.keys.verify", away)
    response = client.get("/v1/jobs")
    assert "secret" not in _check(response, 503, "unavailable").model_dump_json()
    assert response.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b", "[::2]"]
)
def test_other_hosts_are_not_answered_for(client: TestClient, host: str) -> None:
    _check(client.get("/healthz", headers={"Host": host}), 400, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost:8000", "LOCALHOST", "127.0.0.1:1", "[::1]:80"])
def test_own_hosts_are(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_no_page_elsewhere_may_read_an_answer(client: TestClient) -> None:
    response = client.get("/v1/jobs", headers={"Origin": "https://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control-")]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_readiness(client: TestClient, doorbell: RecordingDoorbell) -> None:
    client.headers.pop("Authorization")
    parts = {"database": True, "broker": True, "files": True, "worker": True}
    assert client.get("/readyz").json() == {"status": "ready"} | parts
    doorbell.worker = False
    assert client.get("/readyz").json()["worker"] is False
    doorbell.broker = False
    assert "broker" in _check(client.get("/readyz"), 503, "unavailable").detail


def test_tables_of_an_older_version_are_not_ready_and_newer_ones_are(client: TestClient, store: Store) -> None:
    for revision, status in (("0006", 503), ("9999", 200), ("0001", 503)):
        with store.write() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        assert client.get("/readyz").status_code == status
        assert client.get("/healthz").status_code == 200
    assert "fqt migrate" in client.get("/readyz").json()["detail"]


@pytest.mark.parametrize("wrong", [True, "10", 10.5, [10]])
def test_only_a_number_is_a_number(client: TestClient, wrong: object) -> None:
    """A whole number may be written with a fraction of zero, as JSON Schema has it."""
    epochs = client.post("/v1/jobs?dry_run=true", json={**SPEC, "training": {"epochs": wrong}})
    assert [error.field for error in _check(epochs, 422, "validation_error").errors] == ["training.epochs"]
    key = client.post("/v1/keys", json={"name": "x", "scopes": ["read"], "max_queued": wrong})
    assert [error.field for error in _check(key, 422, "validation_error").errors] == ["max_queued"]
    body = b'{"dataset": "digits", "architecture": {"name": "resnet18", "channels": 1.0}, "training": {"epochs": 1e1}}'
    whole = client.post("/v1/jobs?dry_run=true", content=body, headers={"Content-Type": "application/json"})
    assert whole.json()["epochs"] == 10


def test_no_number_is_too_large_for_the_database(client: TestClient) -> None:
    huge = {"name": "x", "scopes": ["read"], "max_queued": 2**31, "max_running": 10**20}
    fields = {error.field for error in _check(client.post("/v1/keys", json=huge), 422, "validation_error").errors}
    assert fields == {"max_queued", "max_running"}
