"""Data sets that a worker brings: their row comes first, and their bytes or listing when a worker has been there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy import insert as sql_insert

from jobs import blob_rows
from jobs.blobs import Blob, BlobStore
from jobs.datasets import known
from jobs.ids import new_id
from jobs.records import Dataset
from jobs.sqltypes import now
from jobs.tables import datasets
from jobs.urls import Target

LONGEST_NAME = 200


def from_url(
    connection: Connection,
    url: str,
    target: Target,
    *,
    name: str | None,
    sha256: str | None,
    organisation: str,
    created_by: str | None = None,
) -> Dataset:
    """Insert a data set that is to be downloaded; ring the inspection after the commit.

    ``target`` is the checked URL; ``sha256`` what its bytes must have, if that is known. The query of the URL, which
    may hold what gives access, is forgotten when the bytes are there.
    """
    stem = PurePath(target.filename.removesuffix(".gz")).stem or target.host
    source = {"kind": "url", "url": url, "shown": target.shown, "sha256": sha256}
    return _insert(connection, source, name=name or stem, organisation=organisation, created_by=created_by)


def from_folder(
    connection: Connection, folder: str, *, name: str | None, organisation: str, created_by: str | None = None
) -> Dataset:
    """Insert a data set that is a mounted folder as it is now; ring the inspection after the commit."""
    source = {"kind": "folder", "folder": folder}
    return _insert(connection, source, name=name or folder, organisation=organisation, created_by=created_by)


def newest_of_folders(connection: Connection, organisation: str) -> dict[str, str]:
    """The organisation's newest data set that is ready, by the name of its folder."""
    folder = datasets.c.source["folder"].as_string()
    query = (
        select(folder, func.max(datasets.c.id))
        .where(datasets.c.organisation_id == organisation, datasets.c.state == "ready", folder.is_not(None))
        .group_by(folder)
    )
    return {str(name): str(dataset_id) for name, dataset_id in connection.execute(query)}


def fetched(connection: Connection, store: BlobStore, dataset: Dataset, blob: Blob) -> Dataset | None:
    """Give the data set the bytes that were downloaded; ``None`` if the look is not the caller's any more.

    It is ``ready`` at once if its organisation has these bytes in one that is.

    Raises:
        BlobMissingError: the file was collected in between; store it again.
    """
    blob_rows.register(connection, store, blob)
    shown = (dataset.source or {}).get("shown")
    row = connection.execute(
        update(datasets)
        .where(
            datasets.c.id == dataset.id,
            datasets.c.check_epoch == dataset.check_epoch,
            datasets.c.state == "checking",
        )
        .values(
            sha256=blob.sha256,
            size=blob.size,
            source={"kind": "url", "shown": shown},
            **known(connection, blob.sha256, dataset.organisation_id),
        )
        .returning(datasets)
    ).one_or_none()
    return None if row is None else Dataset.of(row)


def _insert(
    connection: Connection, source: Mapping[str, Any], *, name: str, organisation: str, created_by: str | None
) -> Dataset:
    row = connection.execute(
        sql_insert(datasets)
        .values(
            id=new_id("ds"),
            organisation_id=organisation,
            name=name[:LONGEST_NAME],
            source=dict(source),
            state="checking",
            check_epoch=0,
            created_by=created_by,
            created_at=now(),
        )
        .returning(datasets)
    ).one()
    return Dataset.of(row)
