from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.ids import new_id
from jobs.settings import Settings
from jobs.spec import JobSpec
from service.secrets import make_secrets


def test_all_processes_of_a_data_folder_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: Settings(data_dir=tmp_path).key_secret(), range(16)))
    assert len(secrets) == 1
    assert len(secrets.pop()) == 64
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_the_environment_is_read_and_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FQT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FQT_SECRET", "hush-hush")
    monkeypatch.setenv("FQT_DATABASE_URL", "postgresql://me:hush-hush@host/name")
    monkeypatch.setenv("FQT_QUEUES", "cuda, cpu,")
    settings = Settings()
    assert settings.key_secret() == b"hush-hush"
    assert settings.url.endswith("hush-hush@host/name")
    assert settings.queue_names == ["cuda", "cpu"]
    assert "hush" not in repr(settings)


def test_settings_are_read_from_a_folder_of_secrets_below_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_secrets(tmp_path, database_host="db", broker_host="broker")
    monkeypatch.setenv("FQT_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("FQT_BROKER_URL", "redis://elsewhere:1/0")
    settings = Settings()
    password = (tmp_path / "postgres_password").read_text()
    assert settings.url == f"postgresql://fqt:{password}@db:5432/fqt"
    assert settings.broker_url.get_secret_value() == "redis://elsewhere:1/0"
    assert settings.key_secret() == (tmp_path / "fqt_secret").read_bytes()


def test_a_folder_of_secrets_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FQT_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="which is no folder"):
        Settings()


def test_defaults_lie_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.url == f"sqlite:///{tmp_path}/fqt.db"
    assert settings.blobs == tmp_path / "blobs"


def test_a_heartbeat_that_is_too_slow_for_its_lease_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"FQT_HEARTBEAT_SECONDS \(3\) must be at most half"):
        Settings(lease_seconds=5, heartbeat_seconds=3)


def test_ids_sort_by_time_and_fit_where_specs_name_them() -> None:
    ids = [new_id("ds") for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert JobSpec(dataset=ids[0]).dataset == ids[0]
    assert JobSpec(dataset="digits", initial_weights=new_id("job")).initial_weights is not None


def test_ids_grow_even_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id("job")
    monkeypatch.setattr("jobs.ids.time.time_ns", lambda: 0)
    assert new_id("job") > first
