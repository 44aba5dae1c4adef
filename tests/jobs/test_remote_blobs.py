from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import artifacts, audit, blob_rows
from jobs.blobs import BlobStore
from jobs.errors import BlobDamagedError, BlobMissingError, StorageAwayError
from jobs.remote_blobs import RemoteBlobStore
from jobs.settings import Settings
from jobs.store import Store
from service import ports
from tests.jobs.helpers import running
from tests.object_store import CREDENTIALS, ObjectStore

WORDS = b"one two"
DIGEST = hashlib.sha256(WORDS).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        found = ObjectStore(ports.any_free(), tmp_path_factory.mktemp("objects") / "log")
        try:
            yield found
        finally:
            found.stop()


def host(server: ObjectStore, folder: Path, cache_bytes: int = 1 << 20) -> RemoteBlobStore:
    """What a machine with this folder has of the object store; each test has a prefix of its own."""
    url = f"{server.url}/{folder.parent.name}"
    return RemoteBlobStore(url, folder, cache_bytes=cache_bytes, endpoint=server.endpoint)


@pytest.fixture
def files(server: ObjectStore, tmp_path: Path) -> RemoteBlobStore:
    return host(server, tmp_path / "here")


@pytest.fixture
def elsewhere(server: ObjectStore, tmp_path: Path) -> RemoteBlobStore:
    return host(server, tmp_path / "there")


def test_what_one_machine_stores_another_one_has(files: RemoteBlobStore, elsewhere: RemoteBlobStore) -> None:
    assert not elsewhere.exists(DIGEST)
    with pytest.raises(BlobMissingError):
        elsewhere.local(DIGEST)
    assert files.put_stream([b"one ", b"two"]) == (DIGEST, 7)
    assert elsewhere.exists(DIGEST)
    assert elsewhere.size(DIGEST) == 7
    assert elsewhere.verify(DIGEST).read_bytes() == WORDS
    with elsewhere.open(DIGEST) as file:
        assert file.read() == WORDS
    elsewhere.delete(DIGEST)
    elsewhere.delete(DIGEST)
    assert not files.exists(DIGEST)
    with pytest.raises(BlobMissingError):
        files.check(DIGEST)


def test_nothing_is_there_before_it_is_whole(files: RemoteBlobStore) -> None:
    with files.writer() as writer:
        writer.write(WORDS)
    assert not files.exists(DIGEST)
    assert [path for path in files.root.rglob("*") if path.is_file()] == []


def test_a_damaged_copy_is_downloaded_again(files: RemoteBlobStore) -> None:
    files.put_stream([WORDS])
    files.path(DIGEST).write_bytes(b"bent")
    assert files.verify(DIGEST).read_bytes() == WORDS


def test_a_damaged_object_is_noticed(files: RemoteBlobStore, elsewhere: RemoteBlobStore) -> None:
    files.put_stream([WORDS])
    files._files.pipe_file(files._key(DIGEST), b"bent")
    with pytest.raises(BlobDamagedError):
        elsewhere.local(DIGEST)
    assert not elsewhere.path(DIGEST).exists()
    files.verify(DIGEST)  # the copy is right
    with pytest.raises(BlobDamagedError):
        files.check(DIGEST)
    files.put_stream([WORDS])
    files.check(DIGEST)


def test_copies_keep_within_their_bound_but_for_those_in_use(server: ObjectStore, tmp_path: Path) -> None:
    files = host(server, tmp_path / "small", cache_bytes=250)
    old, used, new = (files.put_stream([bytes([number]) * 100]).sha256 for number in range(3))
    assert all(files.path(sha256).exists() for sha256 in (old, used, new))  # asked for just now
    for number, sha256 in enumerate((old, used, new)):
        os.utime(files.path(sha256), (number, number))
    files.local(used)
    newest = files.put_stream([b"n" * 100]).sha256
    assert [files.path(sha256).exists() for sha256 in (old, used, new, newest)] == [False, True, False, True]
    assert files.verify(old).read_bytes() == bytes(100)


def test_a_bucket_that_is_missing_is_not_taken_for_the_file(server: ObjectStore, tmp_path: Path) -> None:
    files = RemoteBlobStore("s3://nowhere/fqt", tmp_path / "here", cache_bytes=1, endpoint=server.endpoint)
    assert files.fault() is not None
    (tmp_path / "file").write_bytes(WORDS)
    with pytest.raises(StorageAwayError, match="s3://nowhere/fqt"):
        files.put_file(tmp_path / "file")


def test_ages_are_those_of_the_objects(files: RemoteBlobStore) -> None:
    files.put_stream([WORDS])
    os.utime(files.path(DIGEST), (1, 1))
    assert list(files.stored(older_than_seconds=60)) == []
    assert list(files.stored(older_than_seconds=-60)) == [DIGEST]
    assert abs(files.idle_seconds(DIGEST)) < 60
    assert files.idle_seconds("0" * 64) == 0


def test_rows_and_objects_agree(files: RemoteBlobStore, store: Store) -> None:
    remote = Store(store.settings, store.engine, files, store.key_secret)
    blob = files.put_stream([WORDS])
    job = running(store)
    with store.write() as connection:
        artifacts.add(connection, files, job.id, job.lease_epoch, blob, name="report.json", kind="report")
    assert audit.audit(remote).sound
    files._files.rm_file(files._key(DIGEST))
    assert list(audit.audit(remote).missing) == [DIGEST]
    with store.write() as connection, pytest.raises(BlobMissingError):
        blob_rows.register(connection, files, blob)


def test_a_store_that_is_away_is_told_apart_from_a_missing_file(tmp_path: Path) -> None:
    store = Store.open(Settings(data_dir=tmp_path / "data"), migrate=True)
    server = ObjectStore(ports.any_free(), tmp_path / "log")
    files = host(server, tmp_path / "here")
    remote = Store(store.settings, store.engine, files, store.key_secret)
    blob = files.put_stream([WORDS])
    with store.write() as connection:
        blob_rows.register(connection, files, blob)
    assert files.answers()
    server.stop()
    files._answered = None
    assert not files.answers()
    assert files.local(DIGEST).read_bytes() == WORDS  # the copy serves
    for call in (files.exists, files.check):
        with pytest.raises(StorageAwayError, match="s3://files/fqt"):
            call(DIGEST)
    with pytest.raises(StorageAwayError):
        files.put_stream([b"more"])
    assert list(files.root.glob("incoming/*")) == []
    assert remote.collect([DIGEST]) == 0
    with store.read() as connection:
        assert blob_rows.unreferenced(connection, older_than_seconds=-60) == [DIGEST]  # for later
    server.start()
    try:
        files._answered = None
        assert files.answers()
        assert not files.exists(DIGEST)
    finally:
        server.stop()


def test_settings_choose_where_files_are_kept(tmp_path: Path) -> None:
    assert type(Store.open(Settings(data_dir=tmp_path / "a")).blobs) is BlobStore
    remote = Store.open(Settings(data_dir=tmp_path / "b", blob_url="s3://bucket/a/b")).blobs
    assert isinstance(remote, RemoteBlobStore)
    assert remote.root == tmp_path / "b" / "blobs"
    for wrong in ("http://bucket", "s3://", "s3://key:secret@bucket", "s3://bucket?x=1"):
        with pytest.raises(ValueError, match="blob_url"):
            Settings(data_dir=tmp_path, blob_url=wrong)
