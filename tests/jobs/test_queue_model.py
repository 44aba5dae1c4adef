"""Many jobs of several keys against a pure model: who is next, what quotas let pass, and what each job went through."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, text

from jobs import events, jobs, keys, lease
from jobs.errors import IllegalMoveError, QuotaExceededError
from jobs.settings import Settings
from jobs.states import ACTIVE, LEGAL, JobState
from jobs.store import Store
from jobs.tables import turns
from jobs.validation import Bounds
from tests.jobs.helpers import get, spec

_S = JobState
_OWNERS, _MOST_QUEUED, _MOST_RUNNING = 3, 4, 2
_QUEUES = {"auto": None, "cpu": "cpu", "cuda": "cuda", "own": "own"}


@dataclass
class Known:
    """What the model knows of one job."""

    id: str
    owner: int
    queue: str
    priority: int
    state: JobState = _S.QUEUED


class LifeOfAQueue(RuleBasedStateMachine):
    """Three keys, their jobs, and workers that come and go."""

    store: Store

    @initialize()
    def begin(self) -> None:
        with self.store.write() as connection:
            for name in ("jobs", "keys", "turns"):
                connection.execute(text(f"DELETE FROM {name}"))
            made = [
                keys.create(connection, b"secret", name="x", scopes=["write"], max_running=_MOST_RUNNING)[0].id
                for _ in range(_OWNERS)
            ]
        self.keys, self.known = made, list[Known]()

    def _of(self, owner: int, *states: JobState) -> list[Known]:
        return [job for job in self.known if job.owner == owner and job.state in states]

    @rule(owner=st.integers(0, _OWNERS - 1), queue=st.sampled_from(sorted(_QUEUES)), priority=st.integers(-1, 1))
    def submit(self, owner: int, queue: str, priority: int) -> None:
        full = len(self._of(owner, _S.QUEUED, _S.PAUSED)) >= _MOST_QUEUED
        wanted = spec(queue=None if queue == "auto" else queue, priority=priority) if queue != "cuda" else None
        wanted = wanted or spec(device="cuda", priority=priority)
        try:
            with self.store.write() as connection:
                made = jobs.create(
                    connection, wanted, created_by=self.keys[owner], bounds=Bounds(max_queued=_MOST_QUEUED)
                )
        except QuotaExceededError:
            assert full
            return
        assert not full
        self.known.append(Known(made.id, owner, queue, priority))

    @rule(queues=st.sets(st.sampled_from(["cpu", "cuda", "own"]), min_size=1))
    def claim(self, queues: set[str]) -> None:
        with self.store.read() as connection:
            served = {row.owner: row.served_at for row in connection.execute(select(turns))}
        with self.store.write() as connection:
            taken = lease.claim(connection, sorted(queues), "me", 1000)
        held = [len(self._of(owner, *ACTIVE)) for owner in range(_OWNERS)]
        fit = {
            owner: [job for job in self._of(owner, _S.QUEUED) if job.queue in {*queues, "auto"}]
            for owner in range(_OWNERS)
            if held[owner] < _MOST_RUNNING
        }
        fit = {owner: found for owner, found in fit.items() if found}
        if not fit:
            assert taken is None
            return
        assert taken is not None
        chosen = next(job for job in self.known if job.id == taken.id)
        assert chosen.owner in fit
        assert held[chosen.owner] == min(held[owner] for owner in fit)
        rivals = [owner for owner in fit if held[owner] == held[chosen.owner]]
        last = {owner: served.get(self.keys[owner]) for owner in rivals}
        if last[chosen.owner] is not None:  # whoever was never served, or longer ago, would have gone first
            assert all(other is not None and other >= last[chosen.owner] for other in last.values())
        best = max(fit[chosen.owner], key=lambda job: (job.priority, -self.known.index(job)))
        assert chosen.id == best.id
        chosen.state = _S.RUNNING

    @rule(data=st.data(), verb=st.sampled_from(["pause", "resume", "cancel"]))
    def ask(self, data: Any, verb: str) -> None:
        if not self.known:
            return
        job = data.draw(st.sampled_from(self.known))
        active = job.state in ACTIVE
        target = {
            "pause": _S.PAUSING if active else _S.PAUSED,
            "resume": _S.QUEUED,
            "cancel": _S.CANCELLING if active else _S.CANCELLED,
        }[verb]
        done = {
            "pause": {_S.PAUSED, _S.PAUSING},
            "resume": {_S.QUEUED, _S.RUNNING},
            "cancel": {_S.CANCELLED, _S.CANCELLING},
        }
        asked = {"pause": jobs.request_pause, "resume": jobs.resume, "cancel": jobs.request_cancel}[verb]
        if job.state in done[verb]:
            target = job.state
        elif target not in LEGAL[job.state] or (verb == "resume" and active):
            with pytest.raises(IllegalMoveError), self.store.write() as connection:
                asked(connection, job.id)
            return
        with self.store.write() as connection:
            assert asked(connection, job.id).state is target
        job.state = target

    @rule(data=st.data(), how=st.sampled_from(["succeed", "release"]))
    def end(self, data: Any, how: str) -> None:
        held = [job for job in self.known if job.state in ACTIVE]
        if not held:
            return
        job = data.draw(st.sampled_from(held))
        epoch = get(self.store, job.id).lease_epoch
        with self.store.write() as connection:
            if how == "succeed":
                job.state = lease.succeed(connection, job.id, epoch, {}).state
            else:
                rest = {_S.RUNNING: _S.QUEUED, _S.PAUSING: _S.PAUSED, _S.CANCELLING: _S.CANCELLED}
                expected = rest[job.state]
                job.state = lease.release(connection, job.id, epoch, reason="drained").state
                assert job.state is expected

    @invariant()
    def rows_agree_with_the_model(self) -> None:
        with self.store.read() as connection:
            found = {job.id: job for job in jobs.list_jobs(connection, limit=1000).data}
            assert {job.id: job.state for job in getattr(self, "known", [])} == {
                job_id: job.state for job_id, job in found.items()
            } or not hasattr(self, "known")
            for job in getattr(self, "known", []):
                log = events.read(connection, job.id, limit=1000)
                assert [event.seq for event in log] == list(range(1, found[job.id].next_seq))
                assert log[-1].data["to"] == job.state


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_any_order_of_submissions_claims_and_requests_is_fair_and_whole(
    backend: str, request: pytest.FixtureRequest
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = request.getfixturevalue("postgres_url") if backend == "postgresql" else f"sqlite:///{folder}/x.db"
        store = Store.open(Settings(data_dir=Path(folder), database_url=url), migrate=True)
        machine = type("Machine", (LifeOfAQueue,), {"store": store})
        run_state_machine_as_test(machine, settings=hypothesis_settings(max_examples=12, stateful_step_count=25))
        store.close()
