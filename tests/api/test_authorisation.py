"""Every operation of the OpenAPI document against every key that must not open it: none can be left out.

What stands for a path's parameters is in :mod:`tests.api.filler`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.app import create_app
from api.auth import PUBLIC_PATHS
from api.routes import openai
from jobs import keys, organisations
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import keys as key_table
from tests.api import filler
from tests.api.conftest import RecordingDoorbell
from tests.api.filler import Scene

_WEAKER: dict[str, list[keys.Scope]] = {"read": [], "write": ["read"], "admin": ["read", "write"]}
_ID = re.compile(r"([a-z]+_)[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    id: str
    method: str
    path: str
    scopes: list[str]
    path_parameters: tuple[str, ...]
    query_parameters: tuple[str, ...]
    body: str | None

    @property
    def public(self) -> bool:
        return self.path in PUBLIC_PATHS


@dataclass(frozen=True)
class Call:
    """An operation with everything filled in."""

    operation: Operation
    path: str
    arguments: dict[str, Any]

    def send(self, client: TestClient, headers: dict[str, str]) -> httpx.Response:
        return client.request(self.operation.method, self.path, headers=headers, **self.arguments)

    def of_nothing(self) -> Call:
        """The same about ids that nothing has."""
        arguments = dict(self.arguments)
        if "params" in arguments:
            arguments["params"] = {name: _absent(str(value)) for name, value in arguments["params"].items()}
        if "json" in arguments:
            arguments["json"] = json.loads(_absent(json.dumps(arguments["json"])))
        return replace(self, path=_absent(self.path), arguments=arguments)


def operations(document: dict[str, Any]) -> list[Operation]:
    found = []
    for path, verbs in document["paths"].items():
        for method, row in verbs.items():
            parameters = row.get("parameters", [])
            found.append(
                Operation(
                    id=row["operationId"],
                    method=method.upper(),
                    path=path,
                    scopes=[scope for entry in row.get("security", []) for scope in entry["api_key"]],
                    path_parameters=tuple(re.findall(r"{(\w+)}", path)),
                    query_parameters=tuple(p["name"] for p in parameters if p["in"] == "query" and p.get("required")),
                    body=next(iter(row.get("requestBody", {}).get("content", {})), None),
                )
            )
    return found


def fill(operation: Operation, scene: Scene) -> Call:
    """Make what the operation is about."""
    given = {name: _made(filler.PATH, name, operation, scene) for name in operation.path_parameters}
    arguments: dict[str, Any] = {"params": {}}
    if operation.id in filler.BODY:
        arguments |= filler.BODY[operation.id](scene)
    elif operation.body == "application/json":
        arguments["json"] = {}
    elif operation.body is not None:
        arguments["files"] = {"file": ("file", b"")}
    for name in operation.query_parameters:
        arguments["params"][name] = _made(filler.QUERY, name, operation, scene)
    return Call(operation, operation.path.format(**given), arguments)


def _made(table: Any, name: str, operation: Operation, scene: Scene) -> str:
    if name not in table:
        kind = "PATH" if table is filler.PATH else "QUERY"
        pytest.fail(
            f"{operation.method} {operation.path} has a parameter {name!r} that these tests know nothing about: "
            f"add to {kind} in tests/api/filler.py how one is made"
        )
    return str(table[name](scene))


def _absent(text: str) -> str:
    return _ID.sub(r"\g<1>" + "0" * 26, text)


@dataclass(frozen=True)
class Keys:
    """Headers with keys that must not open anything, by what is wrong with them, and with good ones."""

    refused: dict[str, dict[str, str]]
    scoped: dict[str, dict[str, str]]
    others: dict[str, str]
    own: dict[str, str]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Every operation is asked several times with keys that are none; and there is no worker to wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai, "_WAIT_SECONDS", 0)
        folder = tmp_path_factory.mktemp("matrix") / "data"
        settings = Settings(
            data_dir=folder,
            reaper_seconds=600,
            rate_limit_failures="off",
            dataset_urls="public",
            dataset_folders=f"pets={folder}",
            predict_seconds=1,
        )
        yield create_app(settings, doorbell=RecordingDoorbell())


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        key = app.state.context.settings.key_path.read_text().strip()
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest.fixture(scope="module")
def store(client: TestClient, app: FastAPI) -> Store:
    found = app.state.context.store
    assert isinstance(found, Store)
    return found


@pytest.fixture(scope="module")
def known(client: TestClient, store: Store) -> Keys:
    def header(plain: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {plain}"}

    with store.write() as connection:

        def made(*scopes: keys.Scope, **more: Any) -> tuple[keys.Key, str]:
            return keys.create(connection, store.key_secret, name="x", scopes=scopes, **more)

        good, plain = made("admin")
        forged = plain[:12] + "0" * 32
        expired, revoked, rotated, none = made("admin"), made("admin"), made("admin"), made("read")
        connection.execute(update(key_table).where(key_table.c.id == expired[0].id).values(expires_at=now(-1)))
        keys.revoke(connection, revoked[0].id)
        keys.rotate(connection, store.key_secret, rotated[0].id)
        # No key is made without a scope: this one shows that each operation asks for its own.
        connection.execute(update(key_table).where(key_table.c.id == none[0].id).values(scopes=[]))
        others = organisations.create(connection, "others")
        found = Keys(
            refused={
                "no key": {},
                "unknown": header(keys._plain()),
                "mistyped": header(plain[:-1] + ("A" if plain[-1] != "A" else "B")),
                "wrong secret": header(forged + keys._checksum(forged)),
                "another scheme": {"Authorization": f"Basic {plain}"},
                "expired": header(expired[1]),
                "revoked": header(revoked[1]),
                "rotated": header(rotated[1]),
            },
            scoped={"none": header(none[1]), "read": header(made("read")[1]), "write": header(made("write")[1])},
            others=header(made("read", "write", "admin", organisation=others.id)[1]),
            own=header(plain),
        )
        assert good.organisation_id != others.id
    return found


def _refused(response: httpx.Response, status: int, code: str | None, what: str) -> None:
    assert response.status_code == status, f"{what}: {response.status_code} {response.text[:300]}"
    assert response.headers["content-type"] == "application/problem+json", what
    body = response.json()
    assert body["request_id"], what
    assert body["request_id"] == response.headers["x-request-id"], what
    assert code is None or body["code"] == code, what


@pytest.fixture(scope="module")
def every(client: TestClient, app: FastAPI, store: Store, known: Keys) -> list[Call]:
    """A call of each operation that is not public, destructive ones last; and the client without a key of its own."""
    scene = Scene(client, store)
    found = [fill(operation, scene) for operation in operations(app.openapi()) if not operation.public]
    assert len(found) > 20
    client.headers.pop("Authorization")
    # Lists first: what another organisation asks for in vain stands in its own audit log. What destroys comes last.
    return sorted(found, key=lambda call: (call.operation.method == "DELETE", "{" in call.operation.path))


def test_no_operation_answers_without_a_valid_key(client: TestClient, every: list[Call], known: Keys) -> None:
    for call in every:
        for what, headers in known.refused.items():
            told = f"{call.operation.id} with {what}"
            response = call.send(client, headers)
            _refused(response, 401, "unauthenticated", told)
            assert response.headers["www-authenticate"].startswith("Bearer"), told


def test_every_operation_needs_its_scope(client: TestClient, every: list[Call], known: Keys) -> None:
    for call in every:
        assert len(call.operation.scopes) == 1, f"{call.operation.id} names {call.operation.scopes}, not one scope"
        for scope in ("none", *_WEAKER[call.operation.scopes[0]]):
            _refused(call.send(client, known.scoped[scope]), 403, "insufficient_scope", f"{call.operation.id}, {scope}")


def test_what_is_another_organisations_does_not_exist(
    client: TestClient, every: list[Call], known: Keys, store: Store
) -> None:
    for call in every:
        told, response = call.operation.id, call.send(client, known.others)
        if call.operation.id in filler.OPERATOR_ONLY:
            _refused(response, 403, "insufficient_scope", told)
        elif call.operation.path_parameters or call.operation.query_parameters or told in filler.ABOUT_BODY:
            _refused(response, 404, "not_found", told)
            nothing = call.of_nothing().send(client, known.others)
            assert _neutral(response) == _neutral(nothing), told
        else:  # a list, or something new: of the other organisation
            assert _answered(call, response) < 400, f"{told}: {response.text[:300]}"
            if call.operation.id in filler.TELLS_ATTEMPTS:
                continue
            mine = _ID.finditer(" ".join(other.path for other in every))
            assert not [match[0] for match in mine if match[0] in response.text], told


def test_the_owner_finds_what_others_do_not(client: TestClient, every: list[Call], known: Keys) -> None:
    """Or what the others get, 404, would show nothing."""
    for call in every:
        response = call.send(client, known.own)
        assert response.status_code not in {401, 403, 404, 422}, f"{call.operation.id}: {response.text[:300]}"
        assert _answered(call, response) < 500, f"{call.operation.id}: {response.text[:300]}"


def _answered(call: Call, response: httpx.Response) -> int:
    """The status; that of an answer where it was let in, and only no worker is there."""
    let_in = call.operation.id in filler.ASKS_WORKERS and response.status_code == 503
    return 200 if let_in else response.status_code


def _neutral(response: httpx.Response) -> str:
    """An answer without what names the request and what was asked for."""
    text = response.text.replace(response.headers["x-request-id"], "")
    return _absent(text)
