"""Every operation is closed: the matrix is made from the app itself, so that a new route cannot be left out."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.auth import PUBLIC_PATHS
from api.openapi import render
from jobs.store import Store
from tests.api.conftest import key_with

_PARTS = {
    "job_id": "job_" + "0" * 26,
    "dataset_id": "digits",
    "key_id": "key_" + "0" * 26,
    "name": "report.json",
    "webhook_id": "whk_" + "0" * 26,
    "delivery_id": "msg_" + "0" * 26,
}


def _operations(document: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Method, path with its parts filled in, and the scopes that it asks for."""
    found = []
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            scopes = [scope for entry in operation.get("security", []) for scope in entry["api_key"]]
            found.append((verb.upper(), path.format(**_PARTS), scopes))
    return found


def _leaves(routes: Any) -> set[str]:
    """Paths of every route of the app, in whatever way it was included."""
    paths: set[str] = set()
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if getattr(inner, "routes", None):
            paths |= _leaves(inner.routes)
        elif path := getattr(route, "path", None):
            paths.add(path)
    return paths


def test_every_operation_needs_its_scope(client: TestClient, app: FastAPI, store: Store) -> None:
    weaker = {"read": [], "write": ["read"], "admin": ["read", "write"]}
    headers = {scope: key_with(store, scope) for scope in ("read", "write")}
    client.headers.pop("Authorization")
    operations = _operations(app.openapi())
    assert len(operations) > 20
    for verb, path, scopes in operations:
        if path in PUBLIC_PATHS:
            assert scopes == []
            continue
        assert len(scopes) == 1, f"{verb} {path} names no scope"
        for sent in ({}, {"Authorization": "Bearer fqt_" + "0" * 46}, {"Authorization": "Basic Zm9v"}):
            response = client.request(verb, path, headers=sent)
            assert response.status_code == 401, f"{verb} {path} {sent}"
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.json()["code"] == "unauthenticated"
        for scope in weaker[scopes[0]]:
            response = client.request(verb, path, headers=headers[scope], json={})
            if verb == "POST" and path == "/v1/datasets":
                assert response.status_code == 403
            assert response.status_code == 403, f"{verb} {path} with {scope}: {response.text}"
            assert response.json()["code"] == "insufficient_scope"


def test_every_route_is_in_the_document_or_on_the_public_list(app: FastAPI) -> None:
    routed = _leaves(app.routes)
    documented = set(app.openapi()["paths"])
    assert len(routed) >= len(documented)
    assert routed - documented <= PUBLIC_PATHS
    assert "/v1/jobs" not in PUBLIC_PATHS


def test_a_path_that_nobody_thought_of_is_closed(client: TestClient) -> None:
    key = client.headers.pop("Authorization")
    for path in ("/v1/nothing", "/admin", "/docs/", "/healthz/"):
        assert client.get(path).status_code == 401, path
    assert client.get("/v1/nothing", headers={"Authorization": key}).status_code == 404


def test_a_revoked_key_is_refused_at_once(client: TestClient) -> None:
    made = client.post("/v1/keys", json={"name": "laptop", "scopes": ["read"]})
    assert made.status_code == 201
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    assert client.delete(f"/v1/keys/{made.json()['id']}").status_code == 200
    assert client.get("/v1/jobs", headers=headers).status_code == 401


@pytest.mark.parametrize("values", [["Bearer a", "Bearer b"], ["Bearer"], ["bearer  "], ["Bearer \xff"]])
def test_odd_authorization_headers(client: TestClient, values: list[str]) -> None:
    client.headers.pop("Authorization")
    response = client.get("/v1/jobs", headers=[("Authorization", value.encode("latin-1")) for value in values])
    assert response.status_code == 401


def test_the_committed_document_is_the_apps() -> None:
    from api.openapi import PATH

    assert PATH.read_text(encoding="utf-8") == render(), "run: make openapi"
