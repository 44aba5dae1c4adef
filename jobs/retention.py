"""How long the logs of jobs that have ended are kept."""

from __future__ import annotations

from sqlalchemy import Connection, delete, exists, select

from jobs.sqltypes import now
from jobs.tables import curves, events, jobs


def cut_logs(connection: Connection, *, older_than_seconds: float, limit: int = 100) -> int:
    """Remove the log of jobs that ended so long ago, but for its last event; return of how many jobs.

    What is left begins at a later ``seq`` and has no gaps, so that a reader finds its end as ever. A job's row keeps
    its result, record and progress; its curves go with the log.
    """
    old = (events.c.job_id == jobs.c.id) & (events.c.seq < jobs.c.next_seq - 1)
    found = connection.execute(
        select(jobs.c.id, jobs.c.next_seq)
        .where(jobs.c.finished_at < now(-older_than_seconds), exists().where(old))
        .order_by(jobs.c.finished_at)
        .limit(limit)
    ).all()
    for row in found:
        connection.execute(delete(events).where(events.c.job_id == row.id, events.c.seq < row.next_seq - 1))
        connection.execute(delete(curves).where(curves.c.job_id == row.id))
    return len(found)
