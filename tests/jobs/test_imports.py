"""Data sets that have no bytes yet: a worker brings them, and only the one that is at it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jobs import blob_rows, datasets, imports, urls
from jobs.records import Dataset
from jobs.settings import Settings
from jobs.store import Store
from tests.jobs.test_datasets import PROFILE

URL = "https://public.example/sets/pets.tar.gz?key=sesame"


def add(store: Store, url: str = URL, organisation: str = "org_default") -> Dataset:
    target = urls.parse(url, private=False, ports=[443])
    with store.write() as connection:
        return imports.from_url(connection, url, target, name=None, sha256=None, organisation=organisation)


def claim(store: Store, dataset_id: str) -> Dataset:
    with store.write() as connection:
        found = datasets.claim_check(connection, dataset_id, 60)
    assert found is not None
    return found


def test_what_was_fetched_is_written_by_the_look_that_holds_and_the_query_is_forgotten(store: Store) -> None:
    row = add(store)
    assert (row.name, row.sha256, row.size, row.state) == ("pets", None, None, "checking")
    first = claim(store, row.id)
    with store.write() as connection:
        datasets.release_check(connection, row.id, first.check_epoch)
    second = claim(store, row.id)
    blob = store.blobs.put_stream([b"bytes"])
    with store.write() as connection:
        assert imports.fetched(connection, store.blobs, first, blob) is None
        found = imports.fetched(connection, store.blobs, second, blob)
    assert found is not None
    assert (found.sha256, found.size, found.state) == (blob.sha256, 5, "checking")
    assert found.source == {"kind": "url", "shown": "https://public.example/sets/pets.tar.gz"}
    with store.write() as connection:
        assert datasets.remove(connection, row.id) == [blob.sha256]
        assert datasets.source(connection, row.id) is None


def test_fetched_bytes_that_the_organisation_knows_are_ready_at_once(store: Store) -> None:
    blob, sheet = store.blobs.put_stream([b"bytes"]), store.blobs.put_stream([b"thumbnails"])
    with store.write() as connection:
        known = datasets.create(connection, store.blobs, blob, name="known")
    look = claim(store, known.id)
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, sheet)
        datasets.finish_check(connection, known.id, look.check_epoch, profile=PROFILE, thumbnails=sheet)
    states = {}
    for organisation in ("org_default", "org_other"):
        pending = claim(store, add(store, organisation=organisation).id)
        with store.write() as connection:
            found = imports.fetched(connection, store.blobs, pending, blob)
        assert found is not None
        states[organisation] = (found.state, found.profile, found.thumbnails_sha256)
    assert states == {"org_default": ("ready", PROFILE, sheet.sha256), "org_other": ("checking", None, None)}


def test_the_newest_data_set_of_each_folder_is_the_organisations_own(store: Store) -> None:
    listing = store.blobs.put_stream([b"listing"])
    made = []
    for organisation, folder in (("org_default", "photos"), ("org_default", "photos"), ("org_other", "photos")):
        with store.write() as connection:
            row = imports.from_folder(connection, folder, name=None, organisation=organisation)
        look = claim(store, row.id)
        with store.write() as connection:
            blob_rows.register(connection, store.blobs, listing)
            datasets.finish_check(connection, row.id, look.check_epoch, profile=PROFILE, listing=listing, size=7)
        made.append(row.id)
    with store.write() as connection:
        imports.from_folder(connection, "scans", name=None, organisation="org_default")
        assert imports.newest_of_folders(connection, "org_default") == {"photos": made[1]}
        assert imports.newest_of_folders(connection, "org_other") == {"photos": made[2]}
        row = datasets.get(connection, made[0])
    assert (row.sha256, row.size) == (listing.sha256, 7)


@pytest.mark.parametrize("folders", ["photos", "photos=relative", "Photos=/a", "=/a", "a=/x,a=/y", "../x=/a"])
def test_folders_have_names_and_absolute_paths(folders: str) -> None:
    with pytest.raises(ValidationError, match=r"write name=/path|one folder"):
        Settings(dataset_folders=folders)


@pytest.mark.parametrize("ports", ["", "80,", "http", "0", "65536", "-1"])
def test_ports_are_numbers(ports: str) -> None:
    with pytest.raises(ValidationError, match="is no port"):
        Settings(dataset_url_ports=ports)
