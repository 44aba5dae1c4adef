"""A key that was verified a moment ago is trusted: how long, and what ends it before."""

from __future__ import annotations

import time

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import key_cache
from api.key_cache import TRUSTED_SECONDS, KeyCache
from jobs import keys
from jobs.keys import Key
from jobs.settings import Settings
from jobs.store import Store


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store.open(settings, migrate=True)


@pytest.fixture
def made(store: Store) -> tuple[Key, str]:
    with store.write() as connection:
        return keys.create(connection, store.key_secret, name="a", scopes=["read"])


def test_a_key_is_trusted_for_a_second_and_a_refusal_is_not_kept(
    store: Store, made: tuple[Key, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, plain = made
    cache = KeyCache(store)
    assert cache.known(plain) is None
    assert cache.verify(plain) == cache.known(plain) == key
    with store.write() as connection:
        keys.revoke(connection, key.id)
    later = time.monotonic() + TRUSTED_SECONDS
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert cache.known(plain) is None
    assert cache.verify(plain) is None
    assert cache.known(plain) is None


def test_what_was_found_before_a_change_is_not_kept(
    store: Store, made: tuple[Key, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, plain = made
    cache = KeyCache(store)
    cache.verify(plain)
    cache.forget()
    assert cache.known(plain) is None

    verify = keys.verify

    def revoked_meanwhile(*given: object) -> Key | None:
        found = verify(*given)  # type: ignore[arg-type]
        cache.forget()
        return found

    monkeypatch.setattr(key_cache.keys, "verify", revoked_meanwhile)
    assert cache.verify(plain) == key
    assert cache.known(plain) is None


def test_no_more_keys_are_kept_than_may(store: Store, made: tuple[Key, str], monkeypatch: pytest.MonkeyPatch) -> None:
    key, plain = made
    monkeypatch.setattr(key_cache, "_MOST", 2)
    monkeypatch.setattr(key_cache.keys, "verify", lambda *_: key)
    cache = KeyCache(store)
    for name in ("one", "two", "three"):
        cache.verify(name)
    assert [name for name in ("one", "two", "three") if cache.known(name)] == ["three"]
    assert cache.known(plain) is None


def test_a_key_that_is_revoked_over_http_is_refused_at_once_and_elsewhere_within_a_second(
    app: FastAPI, client: TestClient
) -> None:
    def new() -> tuple[str, dict[str, str]]:
        made = client.post("/v1/keys", json={"name": "a", "scopes": ["read"]}).json()
        return made["id"], {"Authorization": f"Bearer {made['key']}"}

    here, elsewhere = new(), new()
    for _, headers in (here, elsewhere):
        assert client.get("/v1/jobs", headers=headers).status_code == 200
    assert client.delete(f"/v1/keys/{here[0]}").status_code == 200
    assert client.get("/v1/jobs", headers=here[1]).status_code == 401
    store = app.state.context.store
    with store.write() as connection:
        keys.revoke(connection, elsewhere[0])
    time.sleep(TRUSTED_SECONDS)
    assert client.get("/v1/jobs", headers=elsewhere[1]).status_code == 401
