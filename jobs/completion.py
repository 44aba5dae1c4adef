"""The end of a job that succeeded: its result, its model's row and that model's card, all in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from jobs import artifacts, events, jobs, lease, model_card, models
from jobs.blobs import BlobStore
from jobs.records import Job
from jobs.setback import WARNING, setback

CARD = "card.md"


def complete(connection: Connection, store: BlobStore, job: Job, result: Mapping[str, Any], *, model_id: str) -> Job:
    """End a held job with its result. If it left a model, that is registered as ``model_id``, and its card is a file.

    Where the model that the job started from was better, log, result (``setback``) and card say so.

    The same arguments write the same, so that a transaction that broke may be repeated.

    Raises:
        LeaseLostError: the attempt does not hold the job any more. Nothing was written.
    """
    # As it stands now: what the attempt has told of itself is in its record.
    values = models.values_of_job(connection, jobs.get(connection, job.id), result, model_id)
    if values is None:
        return lease.succeed(connection, job.id, job.lease_epoch, result)
    if (lost := setback(connection, job.spec, values, result)) is not None:
        events.append(
            connection, job.id, job.lease_epoch, [("warning", {"code": WARNING, "param": "initial_weights", **lost})]
        )
        result = {**result, "setback": lost}
        values["facts"]["setback"] = lost
    card = store.put_stream([model_card.render(values).encode()])
    artifacts.add(connection, store, job.id, job.lease_epoch, card, name=CARD, kind="card")
    files = {**result.get("artifacts", {}), CARD: {"kind": "card", "sha256": card.sha256, "size": card.size}}
    models.add(connection, values)
    models.keep_examples(connection, model_id, job.id)
    return lease.succeed(connection, job.id, job.lease_epoch, {**result, "model": model_id, "artifacts": files})
