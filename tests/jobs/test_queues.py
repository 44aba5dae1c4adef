"""Whose job is next: turns of keys, priorities, limits, and queues with names of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import update

from jobs import jobs, keys, lease, queues
from jobs.errors import QuotaExceededError
from jobs.records import Job
from jobs.settings import Settings
from jobs.store import Store
from jobs.tables import jobs as table
from jobs.validation import Bounds
from tests.jobs.helpers import claim, spec, submit


def key(store: Store, name: str, **limits: int) -> str:
    with store.write() as connection:
        return keys.create(connection, store.key_secret, name=name, scopes=["write"], **limits)[0].id


def submit_by(store: Store, owner: str | None, count: int = 1, **changes: Any) -> list[str]:
    made = []
    for _ in range(count):
        with store.write() as connection:
            made.append(jobs.create(connection, spec(**changes), created_by=owner).id)
    return made


def take(store: Store, **options: Any) -> Job | None:
    with store.write() as connection:
        return lease.claim(connection, ["cpu"], "test:1:0", 60, **options)


def finish(store: Store, job: Job | None) -> str:
    assert job is not None
    with store.write() as connection:
        lease.succeed(connection, job.id, job.lease_epoch, {})
    return job.id


def test_one_job_of_a_key_does_not_wait_for_a_hundred_of_another(store: Store) -> None:
    greedy, modest = key(store, "greedy"), key(store, "modest")
    many = submit_by(store, greedy, 20)
    nobodys = submit_by(store, None, 2)
    few = submit_by(store, modest, 2)
    served = [finish(store, take(store)) for _ in range(6)]  # one slot
    owners = ["greedy" if job in many else "modest" if job in few else "nobody" for job in served]
    assert sorted(owners[:3]) == sorted(owners[3:]) == ["greedy", "modest", "nobody"]
    assert [job for job in served if job in many] == many[:2]
    assert [job for job in served if job in few] == few
    assert [job for job in served if job in nobodys] == nobodys


def test_with_many_slots_each_key_gets_its_share(store: Store) -> None:
    greedy = key(store, "greedy")
    first = submit_by(store, greedy, 10)
    assert [take(store).id for _ in range(3)] == first[:3]  # type: ignore[union-attr]
    modest = submit_by(store, key(store, "modest"), 5)
    assert [take(store).id for _ in range(3)] == modest[:3]  # type: ignore[union-attr]


def test_priority_orders_the_jobs_of_a_key_and_passes_over_nobody(store: Store) -> None:
    urgent, patient = key(store, "urgent"), key(store, "patient")
    low, usual, high = (submit_by(store, urgent, priority=priority)[0] for priority in (-5, 0, 100))
    other = submit_by(store, patient)[0]
    served = [finish(store, take(store)) for _ in range(4)]
    assert [job for job in served if job != other] == [high, usual, low]
    assert other in served[:2]


def test_a_key_runs_no_more_jobs_than_it_may(store: Store) -> None:
    one, free = key(store, "one", max_running=1), key(store, "free")
    submit_by(store, one, 3)
    submit_by(store, free, 3)
    taken = [take(store, max_running=2) for _ in range(5)]
    owners = [job and job.created_by for job in taken]
    assert sorted(map(str, owners)) == sorted([one, free, free, "None", "None"])
    finish(store, next(job for job in taken if job and job.created_by == one))
    again = take(store, max_running=2)
    assert again is not None
    assert again.created_by == one


def test_a_limit_holds_when_many_claim_at_once(store: Store) -> None:
    owner = key(store, "one", max_running=2)
    submit_by(store, owner, 8)
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: take(store), range(6)))
    assert sum(job is not None for job in taken) == 2


def test_a_queue_of_its_own_keeps_a_job_for_the_workers_that_serve_it(store: Store) -> None:
    special, usual = submit(store, queue="big-memory"), submit(store)
    assert (special.queue, special.spec.device) == ("big-memory", "auto")
    assert [job and job.id for job in (claim(store), claim(store))] == [usual.id, None]
    with store.read() as connection:
        assert queues.waiting(connection, 1, ["cpu"]) == []
        assert queues.waiting(connection, 1, ["big-memory"]) == [(special.id, "big-memory")]
    assert claim(store, queues=("cpu", "big-memory")).id == special.id  # type: ignore[union-attr]


def test_jobs_that_nobody_serves_hide_no_others(store: Store) -> None:
    for _ in range(3):
        submit(store, queue="nobody-serves-this")
    mine = submit(store, device="cpu")
    with store.read() as connection:
        assert queues.waiting(connection, 1, ["cpu"]) == [(mine.id, "cpu")]
        assert (mine.id, "cpu") in queues.waiting(connection, 1)


@pytest.mark.parametrize("name", ["", "Big", "a b", "auto", "inspect", "-x", "x" * 41])
def test_what_cannot_be_a_queue_is_refused_everywhere(name: str) -> None:
    with pytest.raises(ValidationError, match="queue"):
        spec(queue=name)
    if name:
        with pytest.raises(ValidationError, match="queue"):
            Settings(queues=f"cpu,{name}")


def test_as_many_jobs_wait_as_may(store: Store) -> None:
    owner, own = key(store, "usual"), key(store, "special", max_queued=3)
    bounds = Bounds(max_queued=2)

    def create(created_by: str | None) -> Job:
        with store.write() as connection:
            return jobs.create(connection, spec(), created_by=created_by, bounds=bounds)

    first, second = create(owner), create(owner)
    with store.write() as connection:
        jobs.request_pause(connection, second.id)
    with pytest.raises(QuotaExceededError, match="2 jobs of this key may wait"):
        create(owner)
    assert claim(store).id == first.id  # type: ignore[union-attr]
    create(owner)  # one has started: there is room for another
    for _ in range(3):
        create(own)
    with pytest.raises(QuotaExceededError) as refused:
        create(own)
    assert refused.value.limit == 3
    assert create(None)


def test_a_back_off_is_waited_for_whosever_turn_it_is(store: Store) -> None:
    early, late = submit_by(store, key(store, "a"))[0], submit_by(store, key(store, "b"))[0]
    with store.write() as connection:
        from jobs.sqltypes import now

        connection.execute(update(table).where(table.c.id == early).values(not_before=now(60)))
    assert finish(store, take(store)) == late
    assert take(store) is None
