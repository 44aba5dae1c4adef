from __future__ import annotations

import errno
import hashlib
import os
import resource
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from jobs import artifacts, blob_rows, blobs
from jobs.blobs import Blob, BlobStore
from jobs.errors import BlobDamagedError, BlobMissingError, BlobTooLargeError
from jobs.store import Store
from jobs.tables import blobs as blob_table
from tests.jobs.helpers import running


@pytest.fixture
def files(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def leftovers(files: BlobStore) -> list[Path]:
    return [path for path in files.root.rglob("*") if path.is_file()]


def test_a_file_is_kept_under_its_digest(files: BlobStore) -> None:
    blob = files.put_stream([b"one ", b"two"])
    assert blob == Blob(hashlib.sha256(b"one two").hexdigest(), 7)
    assert files.verify(blob.sha256).read_bytes() == b"one two"
    assert files.put_stream([b"one two"]) == blob
    assert leftovers(files) == [files.path(blob.sha256)]


def test_nothing_is_left_of_a_file_that_is_too_large_or_broken_off(files: BlobStore) -> None:
    with pytest.raises(BlobTooLargeError) as caught:
        files.put_stream(iter([b"x" * 60, b"x" * 60]), limit=100)
    assert caught.value.limit == 100

    def broken():
        yield b"some"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        files.put_stream(broken())
    assert leftovers(files) == []


def test_nothing_is_left_of_a_file_that_the_disk_had_no_room_for(files: BlobStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            files.put_stream([b"x" * 200])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert leftovers(files) == []


def test_what_a_crash_left_unfinished_is_told_from_what_is_being_written(files: BlobStore) -> None:
    (files.root / "incoming" / "half").write_bytes(b"part")
    with files.writer() as writer:
        writer.write(b"slow")
        assert files.sweep_incoming(older_than_seconds=60) == 0
        assert files.sweep_incoming(older_than_seconds=0) == 1
        blob = writer.finish()
    assert leftovers(files) == [files.path(blob.sha256)]


def test_a_file_is_synced_before_it_gets_its_name(files: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_replace = blobs.os.fsync, Path.replace
    monkeypatch.setattr(blobs.os, "fsync", lambda fd: (order.append("fsync"), real_sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), real_replace(a, b))[1])
    files.put_stream([b"first"])
    assert order == ["fsync", "fsync", "rename", "fsync"]  # the file, the new folder's name, the rename, the folder


def test_a_damaged_file_is_noticed_and_healed_by_storing_it_again(files: BlobStore) -> None:
    blob = files.put_stream([b"weights"])
    files.path(blob.sha256).write_bytes(b"weighty")
    with pytest.raises(BlobDamagedError, match=blob.sha256):
        files.verify(blob.sha256)
    files.put_stream([b"weights"])
    files.verify(blob.sha256)


@pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63 + "/"])
def test_a_name_that_is_no_digest_reaches_no_file(files: BlobStore, digest: str) -> None:
    with pytest.raises(BlobMissingError):
        files.open(digest)


def test_only_what_nothing_refers_to_is_removed(store: Store) -> None:
    job = running(store)
    used, unused = store.blobs.put_stream([b"used"]), store.blobs.put_stream([b"unused"])
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, unused)
        artifacts.add(connection, store.blobs, job.id, 1, used, name="a", kind="model")
    assert store.collect([used.sha256, unused.sha256, "f" * 64]) == 1
    assert store.blobs.exists(used.sha256)
    assert not store.blobs.exists(unused.sha256)


def test_a_row_is_not_made_for_a_file_that_was_collected(store: Store) -> None:
    blob = store.blobs.put_stream([b"gone"])
    store.blobs.delete(blob.sha256)
    with pytest.raises(BlobMissingError), store.write() as connection:
        blob_rows.register(connection, store.blobs, blob)


def test_leftovers_of_a_crash_are_found_after_a_while(store: Store) -> None:
    blob = store.blobs.put_stream([b"orphan"])
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, blob)
    with store.read() as connection:
        assert blob_rows.unreferenced(connection, older_than_seconds=60) == []
        assert blob_rows.unreferenced(connection, older_than_seconds=-1) == [blob.sha256]


def test_what_is_stored_again_while_leftovers_are_swept_is_never_a_row_without_a_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the same bytes are stored after the last look at the old file and before it goes."""
    old = store.blobs.put_stream([b"the same bytes"])
    os.utime(store.blobs.path(old.sha256), (1, 1))
    stored, outcomes = threading.Event(), []

    def upload() -> None:
        blob = store.blobs.put_stream([b"the same bytes"])
        stored.set()
        try:
            with store.write() as connection:
                blob_rows.register(connection, store.blobs, blob)
        except BlobMissingError:
            outcomes.append("told to store it again")
        else:
            outcomes.append("registered")

    uploader, real = threading.Thread(target=upload), BlobStore.delete

    def delete(files: BlobStore, sha256: str) -> None:
        uploader.start()
        assert stored.wait(30)
        uploader.join(0.3)  # it waits for the guard's transaction; without one it would be through by now
        real(files, sha256)

    monkeypatch.setattr(BlobStore, "delete", delete)
    with store.write() as connection:
        assert blob_rows.remove_unregistered(connection, store.blobs, [old.sha256], older_than_seconds=3600) == 1
    uploader.join(30)
    assert outcomes == ["told to store it again"]
    with store.read() as connection:
        assert connection.execute(select(blob_table)).all() == []


def test_leftovers_that_were_stored_or_registered_again_stay(store: Store) -> None:
    fresh, known, old = (store.blobs.put_stream([name]) for name in (b"fresh", b"known", b"old"))
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, known)
    for blob in (known, old):
        os.utime(store.blobs.path(blob.sha256), (1, 1))
    digests = [fresh.sha256, known.sha256, old.sha256]
    with store.write() as connection:
        assert blob_rows.remove_unregistered(connection, store.blobs, digests, older_than_seconds=3600) == 1
        assert list(connection.scalars(select(blob_table.c.sha256))) == [known.sha256]
    assert [store.blobs.exists(sha256) for sha256 in digests] == [True, True, False]
