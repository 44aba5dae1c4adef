"""Backups of a store that is in use, restored into either database; and audits that tell what is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from jobs import artifacts, backup, blob_rows, checkpoints, datasets, events, jobs, keys, lease
from jobs.audit import audit
from jobs.blobs import BlobStore
from jobs.errors import BackupError
from jobs.reaper import Reaper
from jobs.records import Job
from jobs.settings import Settings
from jobs.store import Store
from jobs.tables import events as event_table
from jobs.tables import metadata
from tests.jobs.helpers import claim, get, ready_dataset, running, submit
from tests.jobs.test_reaper import Bell, lapse


def checkpoint(store: Store, job: Job, step: int, keep: int = 2) -> str:
    blob = store.blobs.put_stream([b"%s at step %d" % (job.id.encode(), step)])
    with store.write() as connection:
        dropped = checkpoints.add(connection, store.blobs, job.id, job.lease_epoch, blob, step=step, keep=keep)
    store.collect(dropped)
    return blob.sha256


def furnish(store: Store) -> dict[str, Any]:
    """A store with a key, a data set, a job that has ended, one that runs at a checkpoint, and one that waits."""
    with store.write() as connection:
        _, plain = keys.create(connection, store.key_secret, name="mine", scopes=["write"])
    dataset = ready_dataset(store, {"cat": 5, "dog": 7})
    done = submit(store, dataset=dataset)
    assert claim(store) is not None
    weights = store.blobs.put_stream([b"weights"])
    with store.write() as connection:
        events.append(connection, done.id, 1, [("metric", {"kind": "step", "step": 1, "loss": float("nan")})])
        artifacts.add(connection, store.blobs, done.id, 1, weights, name="weights.safetensors", kind="weights")
        lease.succeed(connection, done.id, 1, {"validation_accuracy": 0.5})
    at_work = running(store)
    checkpoint(store, at_work, 5)
    store.blobs.put_stream([b"left behind by a crash, and in no backup"])
    return {"key": plain, "done": done.id, "at_work": at_work.id, "waits": submit(store, initial_weights=done.id).id}


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in metadata.tables.values()
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An empty place to restore into."""
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("second_postgres_url")
    return Settings(data_dir=tmp_path / "elsewhere", database_url=url)


@pytest.fixture
def second_postgres_url(postgres_server: str) -> Any:
    from tests.fixtures import new_database

    with new_database(postgres_server) as url:
        yield url


def test_a_backup_restored_into_either_database_is_the_same_store_and_its_jobs_go_on(
    store: Store, elsewhere: Settings, tmp_path: Path
) -> None:
    made = furnish(store)
    written = backup.write(store, tmp_path / "backup")
    assert (written.rows["jobs"], written.files, written.lost) == (3, 3, [])
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "backup" / "secret").stat().st_mode & 0o777 == 0o600

    restored = backup.restore(elsewhere, tmp_path / "backup")
    assert (restored.rows, restored.files, restored.bytes) == (written.rows, 3, written.bytes)
    other = Store.open(elsewhere)
    assert rows(other) == rows(store)
    assert audit(other).sound
    assert sum(1 for _ in other.blobs.stored(older_than_seconds=-1)) == 3
    with other.read() as connection:
        assert keys.verify(connection, other.key_secret, made["key"]) is not None
    lapse(other)
    assert Reaper(other, Bell()).run_once().requeued == [made["at_work"]]
    again = claim(other)
    assert again is not None
    with other.read() as connection:
        [kept] = checkpoints.list_checkpoints(connection, again.id)
    assert (again.id, other.blobs.verify(kept.sha256).read_bytes()) == (
        made["at_work"],
        b"%s at step 5" % made["at_work"].encode(),
    )
    with pytest.raises(BackupError, match="into an empty database only"):
        backup.restore(elsewhere, tmp_path / "backup")
    other.close()


def test_what_is_dropped_while_a_backup_is_made_is_in_it_neither_as_a_row_nor_as_a_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    job = running(store)
    first, steps = checkpoint(store, job, 1, keep=1), iter(range(2, 5))
    real = BlobStore.put_file

    def put_file(files: BlobStore, path: Path, **options: Any) -> Any:
        # Each time the checkpoint is about to be copied, a newer one has taken its place.
        if files.root != store.blobs.root and path.name == latest[-1] and (step := next(steps, None)):
            latest.append(checkpoint(store, job, step, keep=1))
        return real(files, path, **options)

    latest = [first]
    monkeypatch.setattr(BlobStore, "put_file", put_file)
    written = backup.write(store, tmp_path / "backup")
    assert written.lost == []
    assert len(latest) == 4
    manifest = json.loads((tmp_path / "backup" / "backup.json").read_text())
    kept = {path.name for path in (tmp_path / "backup" / "blobs").glob("??/*")}
    assert (manifest["files"], latest[-1] in kept, first in kept) == (len(kept), True, False)
    other = Settings(data_dir=tmp_path / "other")
    backup.restore(other, tmp_path / "backup")
    opened = Store.open(other)
    assert audit(opened).sound
    opened.close()


def _cut(folder: Path) -> None:
    content = (folder / "database.db").read_bytes()
    (folder / "database.db").write_bytes(content[:-1] + b"x")


def _bend(folder: Path) -> None:
    next((folder / "blobs").glob("??/*")).write_bytes(b"other bytes")


def _lack(folder: Path) -> None:
    next((folder / "blobs").glob("??/*")).unlink()


def _foreign(folder: Path) -> None:
    (folder / "backup.json").write_text('{"format": "zip"}')


def _newer(folder: Path) -> None:
    path = folder / "backup.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_cut, "database.db is damaged"),
        (_bend, "is damaged"),
        (_lack, "lacks the stored file"),
        (_foreign, "no backup of this service"),
        (_newer, "of version 99"),
        (lambda folder: (folder / "backup.json").unlink(), "holds no backup"),
    ],
)
def test_a_backup_that_is_not_whole_restores_nothing(
    quick_store: Store, tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    furnish(quick_store)
    backup.write(quick_store, tmp_path / "backup")
    harm(tmp_path / "backup")
    other = Settings(data_dir=tmp_path / "other")
    with pytest.raises(BackupError, match=words):
        backup.restore(other, tmp_path / "backup")
    opened = Store.open(other, migrate=True)
    with opened.read() as connection:
        assert jobs.list_jobs(connection).data == []
    opened.close()


@pytest.fixture
def quick_store(tmp_path: Path) -> Any:
    opened = Store.open(Settings(data_dir=tmp_path / "data"), migrate=True)
    yield opened
    opened.close()


def test_a_backup_never_replaces_anything_and_names_what_the_store_has_lost(quick_store: Store, tmp_path: Path) -> None:
    made = furnish(quick_store)
    with quick_store.read() as connection:
        lost = artifacts.get(connection, made["done"], "weights.safetensors").sha256
    quick_store.blobs.path(lost).write_bytes(b"bent")
    assert backup.write(quick_store, tmp_path / "backup").lost == [lost]
    with pytest.raises(BackupError, match="is there already"):
        backup.write(quick_store, tmp_path / "backup")
    assert backup.restore(Settings(data_dir=tmp_path / "other"), tmp_path / "backup").lost == [lost]
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


def test_another_secret_is_told(quick_store: Store, tmp_path: Path) -> None:
    furnish(quick_store)
    backup.write(quick_store, tmp_path / "backup")
    other = Settings(data_dir=tmp_path / "other", secret="another")
    assert "FQT_SECRET" in backup.restore(other, tmp_path / "backup").warnings[0]


def test_an_audit_finds_what_is_missing_damaged_or_left_over(store: Store) -> None:
    made = furnish(store)
    found = audit(store)
    assert (found.sound, found.files) == (True, 3)
    with store.read() as connection:
        weights = artifacts.get(connection, made["done"], "weights.safetensors").sha256
        [kept] = checkpoints.list_checkpoints(connection, made["at_work"])
        dataset = datasets.list_datasets(connection).data[0]
    store.blobs.delete(weights)
    store.blobs.path(kept.sha256).write_bytes(b"bent")
    orphan = store.blobs.put_stream([b"an orphan"])
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, orphan)
        connection.execute(delete(event_table).where(event_table.c.job_id == made["done"], event_table.c.seq == 3))
        connection.execute(delete(event_table).where(event_table.c.job_id == made["waits"]))
    found = audit(store)
    assert found.missing == {weights: [f"weights.safetensors of {made['done']}", f"initial weights of {made['waits']}"]}
    assert found.damaged == {kept.sha256: [f"checkpoint of {made['at_work']}"]}
    assert found.gaps == sorted([made["done"], made["waits"]])
    assert found.leftovers == [orphan.sha256]
    assert not found.sound
    quick = audit(store, read_files=False)
    assert (list(quick.missing), quick.damaged) == ([weights], {})
    assert dataset.sha256 not in {*found.missing, *found.damaged}


def test_old_logs_are_cut_but_for_their_end(store: Store) -> None:
    from sqlalchemy import update

    from jobs.retention import cut_logs
    from jobs.sqltypes import now
    from jobs.tables import jobs as table

    made = furnish(store)
    with store.write() as connection:
        assert cut_logs(connection, older_than_seconds=3600) == 0
        connection.execute(update(table).where(table.c.id == made["done"]).values(finished_at=now(-7200)))
        assert cut_logs(connection, older_than_seconds=3600) == 1
        assert cut_logs(connection, older_than_seconds=3600) == 0
        [last] = events.read(connection, made["done"])
        assert (last.seq, last.data["to"]) == (get(store, made["done"]).next_seq - 1, "succeeded")
        assert len(events.read(connection, made["at_work"])) == 3
    assert audit(store).sound
