from __future__ import annotations

import pytest
from sqlalchemy import update

from jobs import datasets
from jobs.errors import NotFoundError
from jobs.records import Dataset
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import datasets as table
from tests.jobs.helpers import ready_dataset

PROFILE = {"format": "idx", "classes": [{"name": "a", "count": 3}, {"name": "b", "count": 4}], "faults": []}


@pytest.fixture
def uploaded(store: Store) -> Dataset:
    blob = store.blobs.put_stream([b"an archive"])
    with store.write() as connection:
        return datasets.create(connection, store.blobs, blob, name="mine", filename="mine.zip")


def test_a_look_is_leased_so_that_two_doorbells_start_one(store: Store, uploaded: Dataset) -> None:
    with store.write() as connection:
        assert datasets.unchecked(connection) == [uploaded.id]
        first = datasets.claim_check(connection, uploaded.id, 60)
        assert first is not None
        assert datasets.claim_check(connection, uploaded.id, 60) is None
        assert datasets.unchecked(connection) == []
        assert datasets.renew_check(connection, uploaded.id, first.check_epoch, 60)
        assert datasets.finish_check(connection, uploaded.id, first.check_epoch, profile=PROFILE)
        assert datasets.claim_check(connection, uploaded.id, 60) is None
        ready = datasets.get(connection, uploaded.id)
    assert (ready.state, ready.format, ready.profile, ready.error) == ("ready", "idx", PROFILE, None)


def test_a_look_that_is_given_back_is_free_within_the_same_instant(store: Store, uploaded: Dataset) -> None:
    with store.write() as connection:
        first = datasets.claim_check(connection, uploaded.id, 60)
        assert first is not None
        datasets.release_check(connection, uploaded.id, first.check_epoch + 1)  # somebody else's: nothing happens
        assert datasets.claim_check(connection, uploaded.id, 60) is None
        datasets.release_check(connection, uploaded.id, first.check_epoch)
        again = datasets.claim_check(connection, uploaded.id, 60)
        assert again is not None
        assert again.check_epoch == first.check_epoch + 1


def test_a_look_that_was_given_up_on_writes_nothing(store: Store, uploaded: Dataset) -> None:
    with store.write() as connection:
        first = datasets.claim_check(connection, uploaded.id, 60)
        connection.execute(update(table).values(check_expires_at=now(-1)))
        second = datasets.claim_check(connection, uploaded.id, 60)
        assert first is not None
        assert second is not None
        assert not datasets.renew_check(connection, uploaded.id, first.check_epoch, 60)
        assert not datasets.finish_check(connection, uploaded.id, first.check_epoch, profile=PROFILE)
        error = {"code": "invalid_dataset", "message": "bad", "faults": [{"where": "x", "message": "y"}]}
        assert datasets.finish_check(connection, uploaded.id, second.check_epoch, error=error)
        invalid = datasets.get(connection, uploaded.id)
    assert (invalid.state, invalid.error) == ("invalid", error)


def test_equal_uploads_share_one_file_until_the_last_is_gone(store: Store, uploaded: Dataset) -> None:
    with store.write() as connection:
        blob = store.blobs.put_stream([b"an archive"])
        twin = datasets.create(connection, store.blobs, blob, name="twin")
    for dataset, left in ((uploaded, True), (twin, False)):
        with store.write() as connection:
            digests = datasets.remove(connection, dataset.id)
        store.collect(digests)
        assert store.blobs.exists(blob.sha256) == left
    with pytest.raises(NotFoundError), store.write() as connection:
        datasets.remove(connection, twin.id)


def test_sources_know_classes_counts_and_validation(store: Store) -> None:
    mine = ready_dataset(store, {"b": 4, "a": 6}, validation_images=2)
    with store.read() as connection:
        source = datasets.source(connection, mine)
        digits = datasets.source(connection, "digits")
        assert datasets.source(connection, "ds_none") is None
    assert source is not None
    assert (source.classes, source.counts, source.images) == (["b", "a"], {"b": 4, "a": 6}, 10)
    assert source.validation_images == 2
    assert digits is not None
    assert (digits.id, digits.sha256, len(digits.classes), digits.images) == (None, None, 10, 1797)


def test_lists_go_newest_first(store: Store) -> None:
    ids = [ready_dataset(store, {"a": n + 1, "b": 1}) for n in range(3)][::-1]
    with store.read() as connection:
        page = datasets.list_datasets(connection, limit=2)
        rest = datasets.list_datasets(connection, after=page.data[-1].id)
    assert [row.id for row in page.data + rest.data] == ids
    assert page.has_more
    assert not rest.has_more
