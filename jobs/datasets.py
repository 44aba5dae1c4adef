"""Data sets: uploaded ones are rows, built-in ones are known by name.

An upload is stored, inserted as ``checking``, looked through by a worker, and then ``ready`` or ``invalid``. The look
is leased like a job, with an epoch of its own, so that a doorbell that rings twice starts one look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, or_, select, update
from sqlalchemy import insert as sql_insert

from fqt_core.config.builtin import BUILTIN_DATASETS
from jobs import blob_rows, deliveries
from jobs.blobs import Blob, BlobStore
from jobs.errors import DatasetInUseError, NotFoundError
from jobs.events import clean
from jobs.ids import new_id
from jobs.organisations import within
from jobs.records import Dataset, Page
from jobs.sqltypes import now
from jobs.states import TERMINAL
from jobs.tables import DEFAULT_ORGANISATION, datasets, jobs, keys


@dataclass(frozen=True)
class ImageShape:
    """Median width and height of a data set's images in pixels, and 1 channel if all of them are grey, else 3."""

    width: int
    height: int
    channels: int


@dataclass(frozen=True)
class DatasetSource:
    """What a job needs to know of its data set. ``id`` and ``sha256`` are ``None`` for a built-in one.

    ``counts`` are the training images of each class where they are known, ``images`` their sum; ``validation_images``
    counts the data set's own validation part, 0 if it has none. ``table`` describes
    rows and columns (:func:`fqt_core.trees.profile.profile_table`); ``None``: it holds images. ``shape``: what an image
    is like, if that is known.
    """

    reference: str
    id: str | None
    sha256: str | None
    classes: list[str]
    counts: dict[str, int] | None
    images: int
    validation_images: int
    table: dict[str, Any] | None = None
    shape: ImageShape | None = None


def create(
    connection: Connection,
    store: BlobStore,
    blob: Blob,
    *,
    name: str,
    filename: str | None = None,
    created_by: str | None = None,
    organisation: str | None = None,
) -> Dataset:
    """Insert the row of an upload whose bytes are stored; if it is ``checking``, ring the inspection after the commit.

    Bytes that the organisation has in a data set that is ready are not looked through again. Those of another one are:
    nobody learns from an answer what others have.

    Without ``organisation`` it is that of the key that ``created_by`` names, and without both the first one.

    Raises:
        BlobMissingError: the file was collected in between; store it again.
    """
    blob_rows.register(connection, store, blob)
    mine = organisation or _owner(connection, created_by)
    row = connection.execute(
        sql_insert(datasets)
        .values(
            id=new_id("ds"),
            organisation_id=mine,
            name=name,
            filename=filename,
            sha256=blob.sha256,
            size=blob.size,
            check_epoch=0,
            created_by=created_by,
            created_at=now(),
            **known(connection, blob.sha256, mine),
        )
        .returning(datasets)
    ).one()
    return Dataset.of(row)


def _owner(connection: Connection, key_id: str | None) -> str:
    """The organisation of a key; without one, the first organisation."""
    found = connection.execute(select(keys.c.organisation_id).where(keys.c.id == key_id)).scalar_one_or_none()
    return str(found or DEFAULT_ORGANISATION)


def known(connection: Connection, sha256: str, organisation: str) -> dict[str, Any]:
    """What an earlier look at these bytes found, as columns; ``checking`` if the organisation has had none."""
    found = ("state", "format", "profile", "thumbnails_sha256")
    query = (
        select(*(datasets.c[name] for name in found))
        .where(
            datasets.c.sha256 == sha256,
            datasets.c.organisation_id == organisation,
            datasets.c.state == "ready",
            # Not a mounted folder, whose digest is that of its listing.
            or_(datasets.c.source.is_(None), datasets.c.source["kind"].as_string() == "url"),
            # By a look of now: an earlier version found less. A table has no pictures.
            or_(datasets.c.thumbnails_sha256.is_not(None), datasets.c.format.in_(("csv", "parquet"))),
        )
        .order_by(datasets.c.id)
        .limit(1)
        .with_for_update(read=True)  # its pictures stay until there is a second row that refers to them
    )
    row = connection.execute(query).one_or_none()
    return {"state": "checking"} if row is None else dict(row._mapping)


def originals(connection: Connection, rows: Sequence[Dataset]) -> dict[str, str]:
    """For each of the data sets whose bytes its organisation had already: the id of the first one with them."""
    same = (datasets.c.organisation_id, datasets.c.sha256)
    query = (
        select(*same, func.min(datasets.c.id).label("first"))
        .where(datasets.c.sha256.in_({row.sha256 for row in rows if row.sha256}), datasets.c.state != "invalid")
        .group_by(*same)
    )
    first = {(row.organisation_id, row.sha256): str(row.first) for row in connection.execute(query)}
    found = {row.id: first.get((row.organisation_id, row.sha256 or ""), row.id) for row in rows}
    return {own: other for own, other in found.items() if own != other}


def get(connection: Connection, dataset_id: str, *, organisation: str | None = None) -> Dataset:
    """The uploaded data set. Here and below ``organisation`` is whose it must be; ``None``: anybody's, as for workers.

    Raises:
        NotFoundError: there is no such data set, or it is another organisation's.
    """
    query = select(datasets).where(datasets.c.id == dataset_id, within(datasets, organisation))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("data set", dataset_id)
    return Dataset.of(row)


def list_datasets(
    connection: Connection, *, after: str | None = None, limit: int = 50, organisation: str | None = None
) -> Page[Dataset]:
    """Uploaded data sets, newest first, those before the one with id ``after``."""
    query = select(datasets).where(within(datasets, organisation)).order_by(datasets.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(datasets.c.id < after)
    rows = connection.execute(query).all()
    return Page([Dataset.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


def remove(connection: Connection, dataset_id: str, *, organisation: str | None = None) -> list[str]:
    """Delete a data set; return the digests for ``Store.collect`` after the commit.

    Raises:
        NotFoundError: there is no such data set, or it is another organisation's.
        DatasetInUseError: jobs that have not ended need it.
    """
    query = select(datasets.c.sha256, datasets.c.thumbnails_sha256)
    query = query.where(datasets.c.id == dataset_id, within(datasets, organisation))
    files = connection.execute(query.with_for_update()).one_or_none()
    if files is None:
        raise NotFoundError("data set", dataset_id)
    users = select(jobs.c.id).where(
        jobs.c.dataset_id == dataset_id, jobs.c.state.not_in([state.value for state in TERMINAL])
    )
    if in_use := list(connection.scalars(users.order_by(jobs.c.id).limit(10))):
        raise DatasetInUseError(dataset_id, in_use)
    connection.execute(delete(datasets).where(datasets.c.id == dataset_id))
    return [sha256 for sha256 in files if sha256 is not None]


def source(connection: Connection, reference: str, *, organisation: str | None = None) -> DatasetSource | None:
    """What a job spec's ``dataset`` refers to; ``None`` if there is none, or it is not ready.

    Built-in data sets are everybody's.
    """
    builtin = BUILTIN_DATASETS.get(reference)
    if builtin is not None:
        classes = list(builtin.classes)
        own = builtin.validation_images
        shape = ImageShape(builtin.size, builtin.size, builtin.channels)
        return DatasetSource(reference, None, None, classes, None, builtin.images - own, own, shape=shape)
    ready = (datasets.c.id == reference) & (datasets.c.state == "ready")
    query = select(datasets).where(ready, within(datasets, organisation))
    row = connection.execute(query.with_for_update(read=True)).one_or_none()
    if row is None:
        return None
    profile = row.profile or {}
    counts = {entry["name"]: int(entry["count"]) for entry in profile.get("classes", [])}
    return DatasetSource(
        reference,
        row.id,
        row.sha256,
        list(counts),
        counts,
        sum(counts.values()),
        int(profile.get("validation_images") or 0),
        profile.get("table"),
        _shape(profile),
    )


def _shape(profile: Mapping[str, Any]) -> ImageShape | None:
    sizes = profile.get("sizes")
    return ImageShape(**sizes["median"], channels=profile["channels"]) if sizes else None


def claim_check(connection: Connection, dataset_id: str, lease_seconds: float) -> Dataset | None:
    """Take on the look through a data set; ``None`` if it is done, gone, or somebody else's for now."""
    row = connection.execute(
        update(datasets)
        .where(datasets.c.id == dataset_id, _unchecked())
        .values(check_epoch=datasets.c.check_epoch + 1, check_expires_at=now(lease_seconds))
        .returning(datasets)
    ).one_or_none()
    return None if row is None else Dataset.of(row)


def renew_check(connection: Connection, dataset_id: str, check_epoch: int, lease_seconds: float) -> bool:
    """Renew the lease of a look; ``False`` if it is not the caller's any more."""
    return _change(connection, dataset_id, check_epoch, {"check_expires_at": now(lease_seconds)})


def release_check(connection: Connection, dataset_id: str, check_epoch: int) -> None:
    """Give a look back, so that anybody may take it on at once; nothing happens if it is not the caller's any more."""
    _change(connection, dataset_id, check_epoch, {"check_expires_at": None})


def finish_check(
    connection: Connection,
    dataset_id: str,
    check_epoch: int,
    *,
    profile: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    thumbnails: Blob | None = None,
    listing: Blob | None = None,
    size: int | None = None,
) -> bool:
    """Write the outcome of a look: ``profile`` makes the data set ready, ``error`` (code, message, faults) invalid.

    ``thumbnails`` and ``listing`` are stored files whose rows were made in this transaction
    (:func:`jobs.blob_rows.register`); the latter is what a mounted folder of ``size`` bytes is pinned to.
    Returns ``False`` if the look is not the caller's any more; then nothing was written.
    """
    pinned = {} if listing is None else {"sha256": listing.sha256, "size": size}
    values = {
        **pinned,
        "state": "ready" if error is None else "invalid",
        "format": (profile or {}).get("format"),
        "profile": clean(profile),
        "error": clean(error),
        "thumbnails_sha256": None if thumbnails is None else thumbnails.sha256,
        "check_expires_at": None,
    }
    if not _change(connection, dataset_id, check_epoch, values):
        return False
    row = get(connection, dataset_id)
    failure = {name: (error or {}).get(name) for name in ("code", "message")} if error is not None else None
    told = {"id": row.id, "name": row.name, "state": row.state, "error": failure}
    deliveries.publish(connection, row.organisation_id, f"dataset.{row.state}", told)
    return True


def unchecked(connection: Connection, limit: int = 100) -> list[str]:
    """Ids of data sets that wait for a look and that nobody is at, oldest first."""
    return list(connection.scalars(_unchecked_query(limit)))


@cache
def _unchecked_query(limit: int) -> Select[str]:
    return select(datasets.c.id).where(_unchecked()).order_by(datasets.c.id).limit(limit)


def _unchecked() -> ColumnElement[bool]:
    free = or_(datasets.c.check_expires_at.is_(None), datasets.c.check_expires_at < now())
    return (datasets.c.state == "checking") & free


def _change(connection: Connection, dataset_id: str, check_epoch: int, values: Mapping[str, Any]) -> bool:
    mine = (datasets.c.id == dataset_id) & (datasets.c.check_epoch == check_epoch) & (datasets.c.state == "checking")
    return connection.execute(update(datasets).where(mine).values(**values)).rowcount == 1
