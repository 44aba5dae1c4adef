"""Every path is closed, with keys of odd shapes too. Which key opens which operation: test_authorisation.py."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.auth import PUBLIC_PATHS
from api.openapi import render


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


def test_every_route_is_in_the_document_or_on_the_public_list(app: FastAPI) -> None:
    routed = {re.sub(r":\w+}", "}", path) for path in _leaves(app.routes)}  # a parameter's converter is not documented
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


@pytest.mark.parametrize(("field", "count"), [("method", 9), ("architecture", 3)])
def test_the_document_demands_the_name_that_tells_variants_apart(field: str, count: int) -> None:
    schemas = json.loads(render())["components"]["schemas"]
    found = schemas["JobSpec"]["properties"][field]
    [variants] = [part["oneOf"] for part in (found, *found.get("anyOf", ())) if "oneOf" in part]
    names = [variant["$ref"].rsplit("/", 1)[-1] for variant in variants]
    assert len(names) >= count
    assert all("name" in schemas[name]["required"] for name in names)
