"""Whether rows and stored files agree with each other, and logs are whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from jobs import blob_rows
from jobs.errors import BlobDamagedError, BlobMissingError
from jobs.store import Store
from jobs.tables import artifacts, checkpoints, datasets, events, jobs, model_exports, models
from jobs.tables import blobs as blob_table

_JUST_STORED_SECONDS = 3600.0


@dataclass(frozen=True)
class Findings:
    """What an audit found. Digests map to what names them: data sets, jobs' checkpoints, results and weights.

    ``missing`` and ``damaged`` files are losses, and so are logs with ``gaps`` (job ids). ``leftovers`` are files and
    rows of files that nothing names: a crash left them, and the reaper removes them.
    """

    files: int = 0
    bytes: int = 0
    missing: dict[str, list[str]] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is lost."""
        return not (self.missing or self.damaged or self.gaps)


def audit(store: Store, *, read_files: bool = True) -> Findings:
    """Compare all rows with all files; with ``read_files`` each file's bytes with its digest. May run at any time."""
    with store.read() as connection:
        named = _named(connection)
        gaps = _gaps(connection)
        rows = set(connection.scalars(select(blob_table.c.sha256)))
    missing: dict[str, list[str]] = {}
    damaged: dict[str, list[str]] = {}
    size = 0
    for sha256, users in sorted(named.items()):
        try:
            if read_files:
                store.blobs.check(sha256)
            size += store.blobs.size(sha256)
        except BlobMissingError:
            missing[sha256] = users
        except BlobDamagedError:
            damaged[sha256] = users
    with store.read() as connection:
        still = blob_rows.referenced(connection)  # what was dropped meanwhile is no loss
    old = set(store.blobs.stored(older_than_seconds=_JUST_STORED_SECONDS))
    return Findings(
        files=len(named),
        bytes=size,
        missing={sha256: users for sha256, users in missing.items() if sha256 in still},
        damaged={sha256: users for sha256, users in damaged.items() if sha256 in still},
        gaps=gaps,
        leftovers=sorted((old | rows) - still - set(named)),
    )


def _named(connection: Connection) -> dict[str, list[str]]:
    """Each digest that a row names, and what those rows are."""
    named: dict[str, list[str]] = {}
    for sha256, user in [
        *connection.execute(select(datasets.c.sha256, "data set " + datasets.c.id)),
        *connection.execute(select(datasets.c.thumbnails_sha256, "thumbnails of " + datasets.c.id)),
        *connection.execute(select(checkpoints.c.sha256, "checkpoint of " + checkpoints.c.job_id)),
        *connection.execute(select(artifacts.c.sha256, artifacts.c.name + " of " + artifacts.c.job_id)),
        *connection.execute(select(jobs.c.initial_weights_sha256, "initial weights of " + jobs.c.id)),
        *connection.execute(select(models.c.sha256, "model " + models.c.id)),
        *connection.execute(select(models.c.weights_sha256, "weights of " + models.c.id)),
        *connection.execute(select(model_exports.c.sha256, model_exports.c.format + " of " + model_exports.c.model_id)),
    ]:
        if sha256 is not None:
            named.setdefault(sha256, []).append(user)
    return named


def _gaps(connection: Connection) -> list[str]:
    """Jobs whose log lacks events between its first one and its end."""
    log = (
        select(
            events.c.job_id,
            func.count().label("count"),
            func.min(events.c.seq).label("first"),
            func.max(events.c.seq).label("last"),
        )
        .group_by(events.c.job_id)
        .subquery()
    )
    whole = (log.c.count == log.c.last - log.c.first + 1) & (log.c.last == jobs.c.next_seq - 1)
    query = select(jobs.c.id).outerjoin(log, log.c.job_id == jobs.c.id).where(func.coalesce(log.c.count, 0) == 0)
    broken = select(jobs.c.id).join(log, log.c.job_id == jobs.c.id).where(~whole)
    return sorted({*connection.scalars(query), *connection.scalars(broken)})
