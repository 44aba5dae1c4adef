"""Names of queues, and which job of a queue is next.

Keys take turns: the one whose jobs hold the fewest workers goes first, and among equals the one that has waited longest
since its last turn. So a thousand jobs of one key do not keep another's one waiting. Among the jobs of one key those of
higher priority go first, then the oldest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, String, Subquery, case, func, literal, or_, select, union_all

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
    return due() & jobs.c.queue.in_([*queues, ANY_QUEUE])


def next_job(connection: Connection, queues: Sequence[str], *, max_running: int | None = None) -> Next | None:
    """The job that a worker of these queues should take now; its key's turn is taken with it.

    ``max_running`` is how many jobs of one key may run at the same time, for keys without a number of their own;
    ``None``: no limit.

    On PostgreSQL the job's row stays locked until the transaction ends, and jobs that others are just
    claiming are passed over.
    """
    for owner, limit in _owners(connection, queues, max_running):
        mine = jobs.c.created_by.is_(None) if owner == _NOBODY else jobs.c.created_by == owner
        query = (
            select(jobs.c.id, jobs.c.lease_epoch)
            .where(claimable(queues), mine)
            .order_by(jobs.c.rank, jobs.c.created_at, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        found = connection.execute(query).one_or_none()
        if found is None:
            continue
        _take_turn(connection, owner)
        # The turn's row is locked now, so that the count holds: whoever claims for the same key comes after this.
        if limit is not None and _running(connection, mine) >= limit:
            continue
        return Next(found.id, found.lease_epoch)
    return None


def waiting(connection: Connection, limit: int = 100, queues: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Ids and queues of jobs that could be claimed now, the oldest so many of each queue.

    ``queues``: only those that a worker of these queues could claim.
    """
    names = _names(connection) if queues is None else sorted({*queues, ANY_QUEUE})
    found: list[tuple[str, str]] = []
    for name in names:
        query = select(jobs.c.id).where(due(), jobs.c.queue == name).order_by(jobs.c.created_at, jobs.c.id)
        found += [(job_id, name) for job_id in connection.scalars(query.limit(limit))]
    return found


def _names(connection: Connection) -> list[str]:
    """The queues in which jobs wait, whoever may take them."""
    # From name to name through an index: DISTINCT would read every job that waits, and so for owners below.
    names = select(literal("", String).label("name")).cte("names", recursive=True)
    following = select(jobs.c.queue).where(_QUEUED, jobs.c.queue > names.c.name).order_by(jobs.c.queue).limit(1)
    names = names.union_all(select(following.scalar_subquery()).where(names.c.name.is_not(None)))
    return [name for name in connection.scalars(select(names.c.name)) if name]


def _owners(connection: Connection, queues: Sequence[str], max_running: int | None) -> list[tuple[str, int | None]]:
    """The keys that have jobs to claim and may run one more, in the order of their turns, each with its limit."""
    waiting = _waiting_owners(queues)
    owner = func.coalesce(jobs.c.created_by, literal(_NOBODY))
    held = (
        select(owner.label("owner"), func.count().label("count"))
        .where(jobs.c.state.in_(sorted(ACTIVE)))
        .group_by(owner)
        .subquery()
    )
    count = func.coalesce(held.c.count, 0)
    limit = func.coalesce(keys.c.max_running, max_running)
    query = (
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
    return [(row[0], row[1]) for row in connection.execute(query)]


def _waiting_owners(queues: Sequence[str]) -> Subquery:
    """The keys (``owner``) that have a job which a worker of these queues may claim now."""
    starts = [
        select(literal(name, String).label("queue"), literal(_NOBODY, String).label("owner"))
        for name in sorted({*queues, ANY_QUEUE})
    ]
    found = select(union_all(*starts).subquery()).cte("found", recursive=True)
    following = (
        select(jobs.c.created_by)
        .where(_QUEUED, jobs.c.queue == found.c.queue, jobs.c.created_by > found.c.owner)
        .order_by(jobs.c.created_by)
        .limit(1)
    )
    found = found.union_all(select(found.c.queue, following.scalar_subquery()).where(found.c.owner.is_not(None)))
    # PostgreSQL would answer EXISTS by a hash of all jobs that wait, and IS NULL without an order by any index.
    first = select(jobs.c.id).where(due(), jobs.c.queue == found.c.queue).order_by(jobs.c.created_by).limit(1)
    of_key = first.where(jobs.c.created_by == found.c.owner).scalar_subquery().is_not(None)
    of_nobody = first.where(jobs.c.created_by.is_(None)).scalar_subquery().is_not(None)
    waits = case((found.c.owner == _NOBODY, of_nobody), else_=of_key)
    return select(found.c.owner).where(found.c.owner.is_not(None), waits).distinct().subquery()


def _take_turn(connection: Connection, owner: str) -> None:
    statement = database.insert(connection, turns).values(owner=owner, served_at=now())
    connection.execute(statement.on_conflict_do_update(index_elements=[turns.c.owner], set_={"served_at": now()}))


def _running(connection: Connection, mine: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(jobs).where(mine, jobs.c.state.in_(sorted(ACTIVE)))
    return connection.execute(query).scalar_one()
