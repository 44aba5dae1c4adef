"""A browser's session: what its cookie is worth, and what it is not."""

from __future__ import annotations

import time

import pytest
from fastapi.testclient import TestClient

from api import session
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import SPEC, key_with


@pytest.fixture
def browser(client: TestClient) -> TestClient:
    """A client that has no key, only cookies."""
    client.headers.pop("Authorization")
    return client


def _plain(settings: Settings) -> str:
    return settings.key_path.read_text().strip()


def _open(browser: TestClient, key: str) -> dict[str, str]:
    """Open a session; return the headers that its changing requests need."""
    response = browser.post("/v1/session", json={"key": key})
    assert response.status_code == 201, response.text
    return {"X-CSRF-Token": response.json()["csrf_token"]}


def test_a_key_is_entered_once(browser: TestClient, settings: Settings) -> None:
    assert browser.get("/v1/session").json()["active"] is False
    response = browser.post("/v1/session", json={"key": _plain(settings)})
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie, "not over plain HTTP, where it would never be sent"
    assert "no-store" in response.headers["cache-control"]
    assert _plain(settings)[4:] not in cookie
    assert browser.get("/v1/jobs").status_code == 200
    told = browser.get("/v1/session").json()
    assert told["active"] is True
    assert told["csrf_token"] == response.json()["csrf_token"]
    assert told["scopes"] == ["read", "write", "admin"]


def test_a_wrong_key_opens_nothing(browser: TestClient) -> None:
    response = browser.post("/v1/session", json={"key": "fqt_wrong"})
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert browser.get("/v1/jobs").status_code == 401


def test_changes_need_the_token(browser: TestClient, settings: Settings) -> None:
    headers = _open(browser, _plain(settings))
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "ä".encode("latin-1")}):
        for verb, path in [("POST", "/v1/jobs"), ("DELETE", "/v1/datasets/digits"), ("DELETE", "/v1/session")]:
            response = browser.request(verb, path, headers=wrong)  # type: ignore[arg-type]
            assert response.status_code == 403, f"{verb} {path} {wrong}"
            assert response.json()["code"] == "csrf_token_needed"
    assert browser.post("/v1/jobs", json=SPEC, headers=headers).status_code == 201
    other = _open(browser, _plain(settings))
    assert browser.post("/v1/jobs", json=SPEC, headers=headers).status_code == 403, "a token is one session's"
    assert browser.post("/v1/jobs", json=SPEC, headers=other).status_code == 201


def test_a_session_may_do_what_its_key_may(browser: TestClient, store: Store) -> None:
    headers = _open(browser, key_with(store, "read")["Authorization"].removeprefix("Bearer "))
    assert browser.get("/v1/jobs").status_code == 200
    response = browser.post("/v1/jobs", json=SPEC, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


def test_revoking_the_key_ends_its_sessions(browser: TestClient, settings: Settings) -> None:
    admin = {"Authorization": f"Bearer {_plain(settings)}"}
    made = browser.post("/v1/keys", json={"name": "laptop", "scopes": ["read"]}, headers=admin).json()
    _open(browser, made["key"])
    assert browser.get("/v1/jobs").status_code == 200
    assert browser.delete(f"/v1/keys/{made['id']}", headers=admin).status_code == 200, "a key counts before a cookie"
    assert browser.get("/v1/jobs").status_code == 401
    assert browser.get("/v1/session").json()["active"] is False


def test_rotating_the_key_ends_the_sessions_of_its_old_secret(browser: TestClient, settings: Settings) -> None:
    admin = {"Authorization": f"Bearer {_plain(settings)}"}
    made = browser.post("/v1/keys", json={"name": "laptop", "scopes": ["read"]}, headers=admin).json()
    rotate = f"/v1/keys/{made['id']}/rotate"
    _open(browser, made["key"])
    newer = browser.post(rotate, params={"overlap_seconds": 600}, headers=admin).json()["key"]
    assert browser.get("/v1/jobs").status_code == 200, "the secret of before opens for a while"
    newest = browser.post(rotate, headers=admin).json()["key"]
    for _ in (made["key"], newer):
        assert browser.get("/v1/jobs").status_code == 401
        assert browser.get("/v1/session").json()["active"] is False
    _open(browser, newest)
    assert browser.get("/v1/jobs").status_code == 200


def test_forged_damaged_and_old_cookies_are_refused(
    browser: TestClient, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(browser, _plain(settings))
    name, token = next(iter(browser.cookies.items()))
    browser.cookies.clear()
    key_id, expires, nonce, mac = token.split(".")
    for forged in (
        f"{key_id}.{int(expires) + 1}.{nonce}.{mac}",
        f"{key_id[:-1]}{'1' if key_id[-1] == '0' else '0'}.{expires}.{nonce}.{mac}",
        f"{key_id}.{expires}.{nonce}.{'0' * 64}",
        f"{key_id}.{expires}.{nonce}",
        token + "0",
        "",
        "x" * 4000,
    ):
        response = browser.get("/v1/jobs", headers={"Cookie": f"{name}={forged}"})
        assert response.status_code == 401, forged
    among_others = {"Cookie": f'other=1; bad]=2; {name}={token}; third="x'}
    assert browser.get("/v1/jobs", headers=among_others).status_code == 200
    now = time.time()
    monkeypatch.setattr(session.time, "time", lambda: now + session.LIFETIME_SECONDS + 1)
    response = browser.get("/v1/jobs", headers={"Cookie": f"{name}={token}"})
    assert (response.status_code, "enter the API key" in response.text) == (401, True)


def test_a_session_is_ended(browser: TestClient, settings: Settings) -> None:
    headers = _open(browser, _plain(settings))
    response = browser.delete("/v1/session", headers=headers)
    assert response.status_code == 204
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert browser.get("/v1/session").json()["active"] is False
    assert browser.delete("/v1/session").status_code == 204


def test_over_https_the_cookie_stays_there(browser: TestClient, settings: Settings) -> None:
    response = browser.post("https://localhost/v1/session", json={"key": _plain(settings)})
    assert "Secure" in response.headers["set-cookie"]
