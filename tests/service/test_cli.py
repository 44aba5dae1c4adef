from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fqt_client import FqtClientError, NotFoundError
from jobs import audit_log, keys
from jobs.settings import Settings
from jobs.store import Store
from service.cli import app
from service.errors import StartError
from service.parts import read_settings
from tests.service.running import fqt


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("FQT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("FQT_DATABASE_URL", raising=False)
    return Settings()


def _fqt(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, FqtClientError):
        raise result.exception
    return result


def _json(*arguments: str) -> Any:
    result = _fqt(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_life_of_a_key(settings: Settings) -> None:
    assert _json("migrate")["migrated"] is True
    made = _json("keys", "create", "--name", "a script", "--scopes", "read")
    store = Store.open(settings)
    with store.read() as connection:
        key = keys.verify(connection, store.key_secret, made["key"])
    assert key is not None
    assert (key.id, key.scopes) == (made["id"], ["read"])
    listed = _json("keys", "list")
    assert [entry["id"] for entry in listed] == [made["id"]]
    assert made["key"] not in json.dumps(listed)
    assert _json("keys", "revoke", made["id"])["revoked_at"]
    with store.read() as connection:
        assert keys.verify(connection, store.key_secret, made["key"]) is None
    store.close()
    assert "revoked" in _fqt("keys", "list").output


def test_keys_that_cannot_be(settings: Settings) -> None:
    _fqt("migrate")
    assert "allowed are read, write, admin" in " ".join(
        _fqt("keys", "create", "--name", "x", "--scopes", "all").output.split()
    )
    with pytest.raises(NotFoundError, match="key_none"):
        _fqt("keys", "revoke", "key_none")


def test_organisations_and_their_keys(settings: Settings) -> None:
    _fqt("migrate")
    made = _json("admin", "organisations", "create", "--name", "biology")
    assert "there is an organisation 'biology' already" in " ".join(
        _fqt("admin", "organisations", "create", "--name", "biology").output.split()
    )
    assert [row["name"] for row in _json("admin", "organisations", "list")] == ["default", "biology"]
    keys = [
        _json("admin", "keys", "create", "--name", "x", *more)["organisation"]
        for more in ((), ("--organisation", "biology"), ("--organisation", made["id"]))
    ]
    assert keys == ["org_default", made["id"], made["id"]]
    with pytest.raises(NotFoundError, match="chemistry"):
        _fqt("admin", "keys", "create", "--name", "x", "--organisation", "chemistry")


def test_what_commands_change_stands_in_the_audit_log(settings: Settings, tmp_path: Path) -> None:
    _fqt("migrate")
    org = _json("admin", "organisations", "create", "--name", "biology")["id"]
    made = _json("admin", "keys", "create", "--name", "x", "--organisation", org, "--expires-days", "1")
    changed = _json("keys", "rotate", made["id"], "--overlap-seconds", "60")
    assert changed["expires_at"] == made["expires_at"] is not None
    assert changed["previous_expires_at"] is not None
    assert "valid" in _fqt("keys", "list").output
    _fqt("keys", "revoke", made["id"])
    assert _fqt("keys", "rotate", made["id"]).exit_code == 2
    _fqt("admin", "backup", str(tmp_path / "backup"))
    store = Store.open(settings)
    with store.read() as connection:
        assert keys.verify(connection, store.key_secret, changed["key"]) is None
        found = audit_log.list_entries(connection).data[::-1]
    store.close()
    assert [(row.actor, row.action, row.resource_id, row.organisation_id) for row in found] == [
        ("admin command", "organisations create", org, "org_default"),
        ("admin command", "keys create", made["id"], org),
        ("admin command", "keys rotate", made["id"], org),
        ("admin command", "keys revoke", made["id"], org),
        ("admin command", "backup", None, "org_default"),
    ]


def test_migrating_twice_is_harmless_and_shows_no_password(settings: Settings) -> None:
    assert "are up to date" in _fqt("migrate").output
    assert "are up to date" in _fqt("migrate").output


def test_a_database_that_is_not_there_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FQT_DATABASE_URL", "postgresql://fqt:hunter2@127.0.0.1:1/none")
    with pytest.raises(StartError, match="the database cannot be used") as caught:
        _fqt("migrate")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"FQT_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "the database cannot be used: connection failed"),
        ({"FQT_DATABASE_URL": "mysql://x"}, "'mysql' is not supported; use sqlite:///… or postgresql://…"),
        ({"FQT_DATABASE_URL": "nonsense"}, "the database cannot be used: Could not parse"),
        ({"FQT_DATABASE_URL": "postgresql+none://x"}, "the database cannot be used: "),
        ({"FQT_DATA_DIR": "newfolder"}, "there is no database of the service at sqlite:///newfolder/fqt.db — `fqt up`"),
    ],
)
def test_keys_without_a_database_are_one_line_and_leave_nothing(
    tmp_path: Path, values: dict[str, str], said: str
) -> None:
    run = fqt(tmp_path, "keys", "list", **values)
    assert (run.returncode, run.stdout) == (5, "")
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_a_key_needs_a_name_as_over_http(settings: Settings, name: str) -> None:
    _fqt("migrate")
    assert "a name has 1 to 200 characters" in " ".join(_fqt("keys", "create", "--name", name).output.split())
    assert _json("keys", "list") == []


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = _json("secrets", str(folder), "--database-host", "db", "--broker-host", "bus")
    assert "fqt_database_url" in made["written"]
    before = (folder / "fqt_database_url").read_text()
    assert "@db:5432/" in before
    assert stat.S_IMODE((folder / "fqt_database_url").stat().st_mode) == 0o600
    assert _json("secrets", str(folder), "--database-host", "db", "--broker-host", "bus")["written"] == []
    assert (folder / "fqt_database_url").read_text() == before


def test_wrong_settings_are_named_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FQT_SLOTS", "none")
    monkeypatch.setenv("FQT_PORT", "99999")
    with pytest.raises(StartError, match=r"FQT_PORT: .*FQT_SLOTS: ") as caught:
        read_settings()
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_fit_each_other_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FQT_LEASE_SECONDS", "1")
    with pytest.raises(StartError) as caught:
        read_settings()
    said = "the settings are wrong: FQT_HEARTBEAT_SECONDS (3) must be at most half of FQT_LEASE_SECONDS (1), or"
    assert str(caught.value).startswith(said)


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FQT_SLOTS", "2")
    assert read_settings(slots=None).slots == 2
    assert read_settings(slots=3).slots == 3


def test_the_commands_are_quick_to_load() -> None:
    """`fqt --help` must not wait for what only a single command needs."""
    heavy = {"torch", "numpy", "sqlalchemy", "celery", "fastapi", "sklearn", "PIL", "pydantic"}
    code = f"import service.cli, sys; found = {heavy!r} & set(sys.modules); sys.exit(repr(found) if found else 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_backup_restore_and_check(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _json("migrate")
    made = _json("keys", "create", "--name", "mine", "--max-queued", "7")
    written = _json("admin", "backup", str(tmp_path / "backup"))
    assert (written["rows"]["keys"], written["lost"]) == (1, [])
    assert _json("admin", "check") == {
        "files": 0, "bytes": 0, "missing": {}, "damaged": {}, "gaps": [], "leftovers": [], "sound": True,
    }  # fmt: skip
    with pytest.raises(StartError, match="is there already"):
        _fqt("admin", "backup", str(tmp_path / "backup"))
    monkeypatch.setenv("FQT_DATA_DIR", str(tmp_path / "other"))
    with pytest.raises(StartError, match="holds no backup"):
        _fqt("admin", "restore", str(tmp_path))
    assert "keys" in _fqt("admin", "restore", str(tmp_path / "backup")).output
    [entry] = _json("keys", "list")
    assert (entry["id"], entry["max_queued"]) == (made["id"], 7)
    assert "Nothing is lost" in _fqt("admin", "check", "--quick").output
    assert "backup" in _fqt("admin").output


def test_check_ends_with_an_exit_code_when_something_is_lost(settings: Settings) -> None:
    from tests.jobs.helpers import ready_dataset

    store = Store.open(settings, migrate=True)
    dataset = ready_dataset(store, {"a": 5, "b": 5})
    [path] = store.blobs.root.glob("??/*")
    path.unlink()
    store.close()
    result = _fqt("admin", "check")
    assert f"missing: {path.name} (data set {dataset})" in result.output
    # Within `fqt` the value that a command returns is its exit code.
    assert CliRunner().invoke(app, ["admin", "check", "--json"], standalone_mode=False).return_value == 1
