"""JSON that means harm: in its shape, in its numbers and strings, and in hyperparameters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import SPEC
from tests.api.hostile.refusal import refused
from tests.api.hostile.test_headers import app, client, settings  # noqa: F401 - one API for all of them

_BODIES = {
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
    "deep, closed": b"[" * 65 + b"]" * 65,
    "brackets without end": b"[{" * 250_000,
    "an open string": b'{"a": "' + b"\\" * 500_000,
    "a name twice": b'{"dataset": "digits", "dataset": "digits"}',
    "a name twice, spelt otherwise": rb'{"dataset": "digits", "d\u0061taset": "digits"}',
    "a name twice, deep": b'{"dataset": "digits", "training": {"epochs": 1, "epochs": 2}}',
    "NaN": b'{"dataset": "digits", "training": {"learning_rate": NaN}}',
    "Infinity": b'{"dataset": "digits", "training": {"learning_rate": -Infinity}}',
    "a float that is infinite": b'{"dataset": "digits", "training": {"learning_rate": 1e999}}',
    "an integer of a million digits": b'{"dataset": "digits", "priority": ' + b"9" * 1_000_000 + b"}",
    "an integer of 4000 digits": b'{"dataset": "digits", "priority": ' + b"9" * 4000 + b"}",
    "a float of a million digits": b'{"dataset": "digits", "timeout_seconds": 0.' + b"1" * 900_000 + b"e999}",
    "NUL": rb'{"dataset": "digits", "name": "a\u0000b"}',
    "half a surrogate pair": rb'{"dataset": "digits", "name": "\ud800"}',
    "halves the wrong way round": rb'{"dataset": "digits", "name": "\udc00\ud800"}',
    "not UTF-8": b'{"dataset": "\xff"}',
    "overlong UTF-8": b'{"dataset": "\xc0\xaf"}',
    "UTF-16": '{"dataset": "digits"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"dataset": "digits"}',
    "a comment": b'{"dataset": "digits" /* and more */}',
    "a trailing comma": b'{"dataset": "digits",}',
    "single quotes": b"{'dataset': 'digits'}",
    "two values": b'{"dataset": "digits"} {"dataset": "digits"}',
    "nothing": b"",
    "spaces": b" " * 1_000_000,
    "no object": b'["digits"]',
    "a string": b'"digits"',
    "null": b"null",
    "too large": b'{"dataset": "' + b"x" * (1 << 20) + b'"}',
    "many names": b"{" + b",".join(b'"n%d":0' % number for number in range(60_000)) + b"}",
    "a long name": b'{"' + b"n" * 900_000 + b'": 1}',
    "a long string": b'{"dataset": "digits", "name": "' + b"x" * 900_000 + b'"}',
    "many classes": json.dumps({"dataset": "digits", "classes": [str(n) for n in range(60_000)]}).encode(),
    "the prototype": b'{"__proto__": {"dataset": "digits"}, "constructor": {}}',
    "pickle": b"\x80\x04\x95",
}


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_bodies(client: TestClient, body: bytes) -> None:  # noqa: F811
    headers = {"Content-Type": "application/json"}
    refused(lambda: client.post("/v1/jobs", content=body, headers=headers), 400, 413, 422)


_ODD: list[Any] = [None, True, "1", "x" * 1000, [], [1], {}, {"a": 1}, -1, 1.5, 2**70, -(2**70), 1e308, 5e-324, -0.0]


@pytest.mark.parametrize("field", ["epochs", "batch_size", "learning_rate", "seed", "optimizer", "augment"])
def test_hyperparameters_of_the_wrong_kind(client: TestClient, field: str) -> None:  # noqa: F811
    """Whatever stands there is a job that can be trained, or refused by name; never an error of ours."""
    seen = set()
    for value in _ODD:
        body = {**SPEC, "training": {field: value}}
        response = client.post("/v1/jobs?dry_run=true", json=body)
        seen.add(response.status_code)
        if response.status_code != 200:
            found = refused(lambda sent=body: client.post("/v1/jobs", json=sent), 422)
            assert found.errors[0].field.startswith(f"training.{field}"), (value, found.errors)
    assert seen <= {200, 422}
    assert 422 in seen


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"epochs": 2**53}},
        {"training": {"batch_size": 2**40}},
        {"training": {"learning_rate": 1e308}},
        {"training": {"learning_rate": -1e-3}},
        {"training": {"warmup_steps": 2**62}},
        {"architecture": {"name": "resnet18", "width": 1e9}},
        {"architecture": {"name": "resnet18", "width": 1e-300}},
        {"architecture": {"name": "resnet18", "image_size": 2**31}},
        {"architecture": {"name": "resnet18", "channels": 10**6}},
        {"architecture": {"name": "__import__('os').system('id')"}},
        {"method": {"name": "fqt", "bits": 10**9}},
        {"method": {"name": "fqt", "bits": 2.5}},
        {"method": {"name": "../../etc/passwd"}},
        {"method": "fqt"},
        {"method": {"name": ["fqt"]}},
        {"method": {"name": "fqt", "overrides": [{"pattern": "*" * 200 + "!", "bits": 2}]}},
        {"method": {"name": "fqt", "overrides": [{"pattern": "*a" * 100 + "!", "bits": 2}]}},
        {"method": {"name": "fqt", "overrides": [{"pattern": "none", "bits": 2}] * 20_000}},
        {"classes": ["5"]},
        {"classes": ["5", "5"]},
        {"classes": [["5"], ["6"]]},
        {"classes": "56"},
        {"dataset": "../../etc/passwd"},
        {"dataset": "ds_" + "0" * 26 + "' OR '1'='1"},
        {"dataset": {"$ne": None}},
        {"initial_weights": "file:///etc/passwd"},
        {"teacher": ["job_" + "0" * 26]},
        {"queue": "auto; DROP TABLE jobs"},
        {"priority": 2**63},
        {"timeout_seconds": 0},
        {"timeout_seconds": 1e300},
        {"checkpoints": {"keep_last": 10**12}},
        {"device": "cuda:0; rm -rf /"},
        {"name": ""},
        {"organisation": "org_default"},
        {"state": "succeeded"},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_specs(client: TestClient, changes: dict[str, Any]) -> None:  # noqa: F811
    found = refused(lambda: client.post("/v1/jobs", json={**SPEC, **changes}), 422)
    assert found.errors[0].field.split(".")[0] in changes


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["read", "read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": "admin"},
        {"name": "", "scopes": ["read"]},
        {"name": "x" * 10**5, "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "organisation": "org_default"},
        {"name": "x", "scopes": ["read"], "organisation_id": "org_default"},
        {"name": "x", "scopes": ["read"], "id": "key_" + "0" * 26},
        {"name": "x", "scopes": ["read"], "max_queued": 2**31},
        {"name": "x", "scopes": ["read"], "max_running": -1},
        {"name": "x", "scopes": ["read"], "max_steps": 2**63},
        {"name": "x", "scopes": ["read"], "max_memory_bytes": 0},
        {"name": "x", "scopes": ["read"], "expires_at": "9999999-01-01T00:00:00Z"},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_keys(client: TestClient, body: dict[str, Any]) -> None:  # noqa: F811
    refused(lambda: client.post("/v1/keys", json=body), 422)
