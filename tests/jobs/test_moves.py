"""The life of jobs against a pure model: whatever is asked in whatever order, on both databases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text, update

from jobs import checkpoints, events, jobs, lease, moves
from jobs.errors import IllegalMoveError, LeaseLostError, NotFoundError
from jobs.lease import RetryPolicy
from jobs.moves import move
from jobs.settings import Settings
from jobs.states import ACTIVE, LEGAL, JobState
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import claim, get, running, spec, state, submit

_S = JobState
_REST = {_S.RUNNING: _S.QUEUED, _S.PAUSING: _S.PAUSED, _S.CANCELLING: _S.CANCELLED}
_POLICY = RetryPolicy(max_attempts=2, backoff_seconds=0)


class LifeOfAJob(RuleBasedStateMachine):
    """One job, its user, its worker, a worker that was given up on, and the reaper."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        with self.store.write() as connection:
            connection.execute(text("DELETE FROM jobs"))
            self.id = jobs.create(connection, spec()).id
        self.state, self.epoch, self.failures, self.written = _S.QUEUED, 0, 0, 1

    def _do(self, action: Callable[[Any], Any], *, to: JobState | None, error: type[Exception] | None = None) -> None:
        """Run an action that, by the model, leads to ``to`` (None: changes no state) or raises ``error``."""
        if error is not None:
            with pytest.raises(error), self.store.write() as connection:
                action(connection)
            return
        with self.store.write() as connection:
            action(connection)
        if to is not None and to is not self.state:
            self.state, self.written = to, self.written + 1

    @rule(queues=st.sampled_from([("cpu",), ("cuda",)]))
    def worker_claims(self, queues: tuple[str, ...]) -> None:
        free = self.state is _S.QUEUED
        job = claim(self.store, 1000, queues)
        assert (job is not None) == free
        if job is not None:
            self.state, self.epoch, self.written = _S.RUNNING, self.epoch + 1, self.written + 1
            assert job.lease_epoch == self.epoch

    @rule()
    def user_cancels(self) -> None:
        known = {_S.CANCELLED, _S.CANCELLING}
        to = _S.CANCELLING if self.state in ACTIVE else _S.CANCELLED
        wrong = IllegalMoveError if self.state not in known and to not in LEGAL[self.state] else None
        self._do(lambda c: jobs.request_cancel(c, self.id), to=self.state if self.state in known else to, error=wrong)

    @rule()
    def user_pauses(self) -> None:
        known = {_S.PAUSED, _S.PAUSING}
        to = _S.PAUSING if self.state is _S.RUNNING else _S.PAUSED
        wrong = None if self.state in {*known, _S.RUNNING, _S.QUEUED} else IllegalMoveError
        self._do(lambda c: jobs.request_pause(c, self.id), to=self.state if self.state in known else to, error=wrong)

    @rule()
    def user_resumes(self) -> None:
        known = {_S.QUEUED, _S.RUNNING}
        wrong = None if self.state in {*known, _S.PAUSED} else IllegalMoveError
        self._do(lambda c: jobs.resume(c, self.id), to=None if self.state in known else _S.QUEUED, error=wrong)

    def _mine(self) -> type[Exception] | None:
        return None if self.state in ACTIVE else LeaseLostError

    @rule(count=st.integers(0, 5))
    def worker_reports(self, count: int) -> None:
        items: list[events.NewEvent] = [("log", {"message": str(n)}) for n in range(count)]
        self._do(lambda c: events.append(c, self.id, self.epoch, items), to=None, error=self._mine())
        self.written += 0 if self._mine() else count

    @rule(step=st.integers(1, 3))
    def worker_writes_a_checkpoint(self, step: int) -> None:
        blob = self.store.blobs.put_stream([b"%d" % step])
        self._do(
            lambda c: checkpoints.add(c, self.store.blobs, self.id, self.epoch, blob, step=step, keep=2),
            to=None,
            error=self._mine(),
        )
        if self._mine() is None:
            self.written, self.failures = self.written + 1, 0

    @rule()
    def worker_beats(self) -> None:
        self._do(lambda c: lease.heartbeat(c, self.id, self.epoch, 1000), to=None, error=self._mine())

    @rule()
    def worker_succeeds(self) -> None:
        self._do(lambda c: lease.succeed(c, self.id, self.epoch, {}), to=_S.SUCCEEDED, error=self._mine())

    @rule()
    def worker_fails(self) -> None:
        to = _S.CANCELLED if self.state is _S.CANCELLING else _S.FAILED
        self._do(lambda c: lease.fail(c, self.id, self.epoch, {"code": "x"}), to=to, error=self._mine())

    @rule()
    def worker_gives_back(self) -> None:
        to = _REST.get(self.state)
        self._do(lambda c: lease.release(c, self.id, self.epoch, reason="drain"), to=to, error=self._mine())

    @rule()
    def attempt_breaks_down(self) -> None:
        to = _REST.get(self.state)
        if self._mine() is None:
            self.failures += 1
        if to is _S.QUEUED and self.failures >= _POLICY.max_attempts:
            to = _S.FAILED
        self._do(
            lambda c: lease.attempt_failed(c, self.id, self.epoch, {"code": "x"}, _POLICY), to=to, error=self._mine()
        )

    @precondition(lambda self: self.epoch > 0)
    @rule(behind=st.integers(1, 3))
    def worker_of_the_past_writes(self, behind: int) -> None:
        old = self.epoch - behind
        for late in (
            lambda c: events.append(c, self.id, old, [("log", {})]),
            lambda c: lease.heartbeat(c, self.id, old, 1000),
            lambda c: lease.succeed(c, self.id, old, {}),
            lambda c: lease.fail(c, self.id, old, {"code": "x"}),
            lambda c: lease.release(c, self.id, old, reason="late"),
        ):
            self._do(late, to=None, error=LeaseLostError)

    @invariant()
    def row_and_log_agree_with_the_model(self) -> None:
        with self.store.read() as connection:
            job = jobs.get(connection, self.id)
            log = events.read(connection, self.id, limit=1000)
        assert (job.state, job.lease_epoch, job.failures) == (self.state, self.epoch, self.failures)
        assert [event.seq for event in log] == list(range(1, self.written + 1))
        assert job.next_seq == self.written + 1
        assert (job.lease_expires_at is not None) == (job.lease_owner is not None) == (self.state in ACTIVE)
        assert (job.finished_at is not None) == self.state.terminal
        path = [(event.data["from"], event.data["to"]) for event in log if event.type == "state"]
        assert all(before[1] == after[0] for before, after in pairwise(path))
        assert path[-1][1] == self.state
        assert all(_S(to) in LEGAL[_S(source)] for source, to in path[1:])


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_any_order_of_requests_keeps_the_job_whole(backend: str, request: pytest.FixtureRequest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # In memory as far as SQLite can: what is tested is logic, and thousands of syncs would only be slow.
        url = request.getfixturevalue("postgres_url") if backend == "postgresql" else f"sqlite:///{folder}/x.db"
        store = Store.open(Settings(data_dir=Path(folder), database_url=url), migrate=True)
        with store.engine.connect() as connection:
            if backend == "sqlite":
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA synchronous = OFF")
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET synchronous_commit = off")
        machine = type("Machine", (LifeOfAJob,), {"store": store})
        run_state_machine_as_test(machine, settings=hypothesis_settings(max_examples=25, stateful_step_count=20))
        store.close()


def test_every_pair_of_states_moves_as_the_table_says(store: Store) -> None:
    job_id = submit(store).id
    for source in JobState:
        for target in JobState:
            with store.write() as connection:
                connection.execute(update(table).values(state=source.value))
                if target in LEGAL[source]:
                    assert move(connection, job_id, target).state is target  # type: ignore[union-attr]
                else:
                    with pytest.raises(IllegalMoveError, match=f"is {source} and cannot become {target}"):
                        move(connection, job_id, target)


def test_a_move_that_does_not_happen_leaves_no_event(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        assert move(connection, job.id, _S.FAILED, where=table.c.name == "another") is None
        with pytest.raises(LeaseLostError):
            move(connection, job.id, _S.FAILED, epoch=7)
        with pytest.raises(NotFoundError):
            move(connection, "job_none", _S.FAILED)
    assert get(store, job.id) == job
    assert state(store, job.id) is _S.RUNNING


def test_no_other_function_changes_a_state() -> None:
    """``move`` is the only way: no other module of the package sets the column."""
    folder = Path(moves.__file__).parent
    setters = [
        path.name
        for path in folder.glob("*.py")
        if path.name not in {"moves.py", "tables.py"}
        for line in path.read_text().splitlines()
        if "update(jobs)" in line and "state=" in line
    ]
    assert setters == []
