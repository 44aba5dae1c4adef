"""Answers that wait for a worker's look at a new data set, however it came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from api.context import Context
from api.problems import Conflict, DatasetRejected, DownloadFailed, FieldError, Invalid, UrlRefused
from api.schemas.datasets import DatasetObject
from jobs import datasets, idempotency
from jobs.errors import NotFoundError
from jobs.records import Dataset

Wait = Annotated[float, Query(ge=0, le=300, description="Seconds to wait for a worker's verdict on the images.")]

# What kept a data set from being fetched is told by its cause; everything else is about what is in it.
_KINDS: dict[str, type[Invalid]] = {
    "url_refused": UrlRefused,
    "download_failed": DownloadFailed,
    "digest_mismatch": DownloadFailed,
}


async def judged(
    context: Context, dataset_id: str, *, wait: float, key_id: str, route: str, idempotency_key: str | None
) -> Dataset:
    """Wait for a worker's look; return the data set: ready, or still being looked through.

    Raises:
        Invalid: it cannot be had or used; nothing is kept of it.
        Conflict: it was deleted meanwhile.
    """
    row = await _looked_at(context, dataset_id, wait)
    if row.state == "invalid":
        await _undo(context, dataset_id, key_id, route, idempotency_key)
        error = row.error or {}
        kind = _KINDS.get(str(error.get("code")), DatasetRejected)
        raise kind(str(error.get("message") or "") or None, errors=_faults(error))
    return row


async def answered(context: Context, row: Dataset) -> JSONResponse:
    """Answer with the data set: ready (201), or still being looked through (202)."""
    status = 201 if row.state == "ready" else 202
    content = (await context.read(lambda connection: as_shown(connection, [row])))[0].model_dump(mode="json")
    return JSONResponse(content, status, headers={"Location": f"/v1/datasets/{row.id}"})


def as_shown(connection: Connection, rows: Sequence[Dataset]) -> list[DatasetObject]:
    """Return the data sets as they are shown, each with the one that has the same bytes."""
    originals = datasets.originals(connection, rows)
    return [DatasetObject.of(row, originals.get(row.id)) for row in rows]


async def _looked_at(context: Context, dataset_id: str, wait: float) -> Dataset:
    """Wait for a worker to look through the data set; return it as it is then."""

    def verdict(connection: Connection) -> Dataset | None:
        row = datasets.get(connection, dataset_id)
        return row if row.state != "checking" else None

    try:
        found: Dataset | None = await context.until(verdict, wait)
        if found is None:
            found = await context.read(lambda connection: datasets.get(connection, dataset_id))
    except NotFoundError:
        raise Conflict("The data set was deleted while it was being checked; upload it again.") from None
    return found


async def _undo(context: Context, dataset_id: str, key_id: str, route: str, idempotency_key: str | None) -> None:
    """Remove a refused upload, and the memory of it: the same file is judged again when it comes again."""

    def undo(connection: Connection) -> list[str]:
        idempotency.forget(connection, key_id=key_id, route=route, idempotency_key=idempotency_key)
        return datasets.remove(connection, dataset_id)

    digests = await context.write(undo)
    await context.collect(digests)


def _faults(error: dict[str, Any]) -> list[FieldError]:
    """Return a worker's findings as field errors: the place in the file stands for the field."""
    return [
        FieldError(
            field=str(fault.get("where") or ""),
            message="; ".join(str(fault[part]) for part in ("message", "remedy") if fault.get(part)),
        )
        for fault in error.get("faults") or []
    ]
