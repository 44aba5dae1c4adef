"""Names of queues, and which job of a queue is next.

Keys take turns: the one whose jobs hold the fewest workers goes first, and among equals the one that has waited longest
since its last turn. So a thousand jobs of one key do not keep another's one waiting. Among the jobs of one key those of
higher priority go first, then the oldest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Select,
    String,
    Subquery,
    bindparam,
    func,
    literal,
    or_,
    select,
    union_all,
)

from jobs import database
from jobs.spec import JobSpec
from jobs.sqltypes import now
from jobs.states import ACTIVE, JobState
from jobs.tables import jobs, keys, turns

ANY_QUEUE = "auto"  # where jobs wait that any worker may take
_KEYS_TRIED = 50
_NOBODY = ""  # stands for the key of jobs that were made without one
_QUEUED = jobs.c.state == JobState.QUEUED.value


class Next(NamedTuple):
    """A job that may be claimed, and the epoch that it was seen with."""

    id: str
    lease_epoch: int


def queue_of(spec: JobSpec) -> str:
    """The queue of a job: the one it names, else that of its device; ``auto`` where any worker may take it."""
    return spec.queue or (ANY_QUEUE if spec.device == "auto" else spec.device)


def due() -> ColumnElement[bool]:
    """The condition that a job waits for a worker, and not for its back-off to end."""
    return _QUEUED & or_(jobs.c.not_before.is_(None), jobs.c.not_before <= now())


def claimable(queues: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a worker of these queues may claim a job now."""
    return due() & jobs.c.queue.in_(_served(queues))


def next_job(connection: Connection, queues: Sequence[str], *, max_running: int | None = None) -> Next | None:
    """The job that a worker of these queues should take now; its key's turn is taken with it.

    ``max_running`` is how many jobs of one key may run at the same time, for keys without a number of their own;
    ``None``: no limit.

    On PostgreSQL the job's row stays locked until the transaction ends, and jobs that others are just
    claiming are passed over.
    """
    for owner, limit in _owners(connection, queues, max_running):
        nobody = owner == _NOBODY
        found = connection.execute(_first_query(_served(queues), nobody), {"owner": owner}).one_or_none()
        if found is None:
            continue
        connection.execute(_turn(connection.dialect.name), {"owner": owner})
        # The turn's row is locked now, so that the count holds: whoever claims for the same key comes after this.
        if limit is not None and connection.execute(_running_query(nobody), {"owner": owner}).scalar_one() >= limit:
            continue
        return Next(found.id, found.lease_epoch)
    return None


def waiting(connection: Connection, limit: int = 100, queues: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Ids and queues of jobs that could be claimed now, the oldest so many of each queue.

    ``queues``: only those that a worker of these queues could claim.
    """
    names = _names(connection) if queues is None else _served(queues)
    found: list[tuple[str, str]] = []
    for name in names:
        query = select(jobs.c.id).where(due(), jobs.c.queue == name).order_by(jobs.c.created_at, jobs.c.id)
        found += [(job_id, name) for job_id in connection.scalars(query.limit(limit))]
    return found


def _names(connection: Connection) -> list[str]:
    """The queues in which jobs wait, whoever may take them."""
    return [name for name in connection.scalars(_names_query()) if name]


@cache
def _names_query() -> Select[str]:
    # From name to name through an index: DISTINCT would read every job that waits.
    names = select(literal("", String).label("name")).cte("names", recursive=True)
    following = select(jobs.c.queue).where(_QUEUED, jobs.c.queue > names.c.name).order_by(jobs.c.queue).limit(1)
    names = names.union_all(select(following.scalar_subquery()).where(names.c.name.is_not(None)))
    return select(names.c.name)


def _owners(connection: Connection, queues: Sequence[str], max_running: int | None) -> list[tuple[str, int | None]]:
    """The keys that have jobs to claim and may run one more, in the order of their turns, each with its limit."""
    rows = connection.execute(_owners_query(_served(queues)), {"max_running": max_running})
    return [(row[0], row[1]) for row in rows]


# The statements of a claim are built once for a worker's queues: to build them takes longer than to run them.
@lru_cache
def _owners_query(names: tuple[str, ...]) -> Select[str, int | None]:
    waiting = _waiting_owners(names)
    owner = func.coalesce(jobs.c.created_by, literal(_NOBODY))
    held = (
        select(owner.label("owner"), func.count().label("count"))
        .where(jobs.c.state.in_(sorted(ACTIVE)))
        .group_by(owner)
        .subquery()
    )
    count = func.coalesce(held.c.count, 0)
    limit = func.coalesce(keys.c.max_running, bindparam("max_running", type_=Integer))
    return (
        select(waiting.c.owner, limit)
        .select_from(
            waiting.outerjoin(held, held.c.owner == waiting.c.owner)
            .outerjoin(turns, turns.c.owner == waiting.c.owner)
            .outerjoin(keys, keys.c.id == waiting.c.owner)
        )
        .where(or_(limit.is_(None), count < limit))
        .order_by(count, turns.c.served_at.nulls_first(), waiting.c.owner)
        .limit(_KEYS_TRIED)
    )


def _waiting_owners(names: tuple[str, ...]) -> Subquery:
    """The keys (``owner``) that have a job which a worker of these queues may claim now."""
    starts = [select(literal(name, String).label("queue"), literal(_NOBODY, String).label("owner")) for name in names]
    found = select(union_all(*starts).subquery()).cte("found", recursive=True)
    # From key to key through an index, as in _names.
    following = (
        select(jobs.c.created_by)
        .where(due(), jobs.c.queue == found.c.queue, jobs.c.created_by > found.c.owner)
        .order_by(jobs.c.created_by)
        .limit(1)
    )
    found = found.union_all(select(found.c.queue, following.scalar_subquery()).where(found.c.owner.is_not(None)))
    # PostgreSQL would answer EXISTS by a hash of all jobs that wait, and IS NULL without an order by any index.
    of_nobody = (
        select(jobs.c.id)
        .where(due(), jobs.c.queue == found.c.queue, jobs.c.created_by.is_(None))
        .order_by(jobs.c.created_by)
        .limit(1)
    )
    waits = or_(found.c.owner != _NOBODY, of_nobody.scalar_subquery().is_not(None))
    return select(found.c.owner).where(found.c.owner.is_not(None), waits).distinct().subquery()


@lru_cache
def _first_query(names: tuple[str, ...], nobody: bool) -> Select[str, int]:
    """The job of one key, or of none, that a worker of these queues should take."""
    return (
        select(jobs.c.id, jobs.c.lease_epoch)
        .where(claimable(names), _of(nobody))
        .order_by(jobs.c.rank, jobs.c.created_at, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


@lru_cache
def _running_query(nobody: bool) -> Select[int]:
    return select(func.count()).select_from(jobs).where(_of(nobody), jobs.c.state.in_(sorted(ACTIVE)))


def _of(nobody: bool) -> ColumnElement[bool]:
    return jobs.c.created_by.is_(None) if nobody else jobs.c.created_by == bindparam("owner")


def _served(queues: Sequence[str]) -> tuple[str, ...]:
    """The names under which jobs wait for a worker of these queues."""
    return tuple(sorted({*queues, ANY_QUEUE}))


@lru_cache
def _turn(dialect: str) -> Executable:
    """The statement by which a key takes its turn."""
    statement = database.insert_for(dialect, turns).values(served_at=now())
    return statement.on_conflict_do_update(index_elements=[turns.c.owner], set_={"served_at": now()})
