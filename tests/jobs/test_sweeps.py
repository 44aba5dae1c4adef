"""Sweeps: what is tried, that a crash at any point loses and doubles nothing, and what ends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import func, select, update

from jobs import events, jobs, keys, lease, sweeps
from jobs.errors import LeaseLostError, NotFoundError, SweepEndedError, SweepNotFinishedError
from jobs.reaper import Reaper
from jobs.records import Sweep
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.store import Store
from jobs.sweep_driver import SweepDriver
from jobs.tables import DEFAULT_ORGANISATION, trials
from jobs.tables import jobs as job_table
from jobs.tables import sweeps as table
from tests.jobs import sweep_world as world
from tests.jobs.helpers import get
from tests.jobs.test_reaper import Bell

ROOT = Path(__file__).parents[2]
_RATE = "training.learning_rate"


def _to_the_end(store: Store, sweep: Sweep) -> None:
    driver = SweepDriver(store, world.Silence())
    for _ in range(100):
        driver.run_once()
        if world.look(store, sweep)[0].state != "running":
            return
        world.work(store)
    raise AssertionError("the sweep does not end")


def _parameters(store: Store, sweep: Sweep) -> list[dict[str, Any]]:
    return [trial.parameters for trial in world.look(store, sweep)[1]]


def test_a_grid_tries_every_combination_once(store: Store) -> None:
    space = {
        _RATE: {"type": "choice", "values": [0.1, 0.01]},
        "training.batch_size": {"type": "int", "low": 16, "high": 40, "step": 12},
        "method": {"type": "choice", "values": [{"name": "fp32"}]},
    }
    sweep = world.create(store, space=space, algorithm="grid", max_jobs=None, parallel=2, name="mine")
    bell = Bell()
    Reaper(store, bell).run_once()
    assert len(bell.jobs) == 2  # no more at a time, and both are rung for
    _to_the_end(store, sweep)
    found, made = world.look(store, sweep)
    assert found.state == "finished"
    tried = [(trial.parameters[_RATE], trial.parameters["training.batch_size"]) for trial in made]
    assert tried == [(rate, size) for rate in (0.1, 0.01) for size in (16, 28, 40)]
    job = get(store, str(made[5].job_id))
    assert (job.name, job.spec.method.name, job.spec.training.batch_size) == ("mine #5", "fp32", 40)
    best = sweeps.best(found.spec, made)
    assert best is not None
    assert (best.number, best.value) == (3, world.accuracy(0.01, 2))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_estimator_learns_and_depends_on_the_seed_alone(store: Store) -> None:
    first, again = (world.create(store, max_jobs=20, seed=1) for _ in range(2))
    drawn = world.create(store, max_jobs=20, seed=1, algorithm="random")
    other = world.create(store, max_jobs=1, seed=2)
    for sweep in (first, again, drawn, other):
        _to_the_end(store, sweep)
    assert _parameters(store, first) == _parameters(store, again)
    assert _parameters(store, first)[:1] != _parameters(store, other)

    def off(sweep: Sweep) -> float:
        """How far from the best rate those are that came after ten to learn from: the median factor."""
        rates = [parameters[_RATE] for parameters in _parameters(store, sweep)[10:]]
        return median(max(rate / world.BEST_RATE, world.BEST_RATE / rate) for rate in rates)

    assert off(first) < off(drawn) / 2


@pytest.fixture
def doomed(settings: Settings, database_url: str) -> Iterator[Callable[[str, int, bool], int]]:
    """Takes a step of a sweep in a process that is killed at the commit of that number; its exit code."""
    plain = {"data_dir": str(settings.data_dir), "database_url": database_url}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.doomed_driver"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(sweep: str, commit: int, after: bool) -> int:
            order = {"settings": plain, "sweep": sweep, "commit": commit, "after": after}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_every_commit_neither_loses_nor_doubles_a_trial(
    store: Store, doomed: Callable[[str, int, bool], int], after: bool
) -> None:
    pruning = {"name": "median", "startup_jobs": 1, "warmup_epochs": 0}
    plan = {"parallel": 2, "max_jobs": 5, "seed": 3, "pruning": pruning}
    undisturbed = world.create(store, **plan)
    _half_way(store, undisturbed)
    _to_the_end(store, undisturbed)
    expected = _told(store, undisturbed)
    assert {state for _, state, _ in expected} == {"succeeded", "pruned"}
    killed = 0
    for commit in range(1, 20):
        sweep = world.create(store, **plan)
        _half_way(store, sweep)
        code = doomed(sweep.id, commit, after)
        assert code in {0, -9}, code
        killed += code == -9
        with store.write() as connection:
            connection.execute(update(table).values(lease_expires_at=now(-1)))
        _to_the_end(store, sweep)
        assert _told(store, sweep) == expected
        if code == 0:
            break
    assert killed >= 5  # claim, settle, prune, two new jobs, release
    with store.read() as connection:
        jobs_made = connection.execute(select(func.count()).select_from(job_table)).scalar_one()
        with_trial = connection.execute(select(func.count(trials.c.job_id.distinct()))).scalar_one()
    assert jobs_made == with_trial == 5 * (killed + 2)


def _half_way(store: Store, sweep: Sweep) -> None:
    """Two jobs at their end, two that run: the next step settles, judges and makes jobs."""
    driver = SweepDriver(store, world.Silence())
    driver.step(sweep.id)
    world.work(store)
    driver.step(sweep.id)
    third, fourth = (trial for trial in world.look(store, sweep)[1] if trial.busy)
    assert third.job_id is not None
    assert fourth.job_id is not None
    epoch = world.claim(store, third.job_id)
    for number in (1, 2):
        world.report(store, third.job_id, number, epoch)
    with store.write() as connection:
        lease.succeed(connection, third.job_id, epoch, {})
    epoch = world.claim(store, fourth.job_id)
    data = {"kind": "epoch", "epoch": 1, "step": 10, "validation_accuracy": 0.0}
    with store.write() as connection:
        events.append(connection, fourth.job_id, epoch, [("metric", data)])


def _told(store: Store, sweep: Sweep) -> list[tuple[Any, ...]]:
    found, made = world.look(store, sweep)
    assert found.state == "finished"
    assert [trial.number for trial in made] == list(range(len(made)))
    return [(trial.parameters[_RATE], trial.state, trial.value) for trial in made]


def test_processes_at_once_make_one_of_each(store: Store) -> None:
    sweep = world.create(store, parallel=4, max_jobs=4, algorithm="random")
    gate = threading.Barrier(4)

    def drive() -> None:
        gate.wait()
        SweepDriver(store, world.Silence()).step(sweep.id)

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.look(store, sweep)[1]) == len(world.states(store)) == 4


def test_who_lost_the_lease_writes_nothing_more(store: Store) -> None:
    sweep = world.create(store)
    with store.write() as connection:
        mine = sweeps.claim(connection, sweep.id)
        assert mine is not None
        connection.execute(update(table).values(lease_expires_at=now(-1)))
    with store.write() as connection:
        other = sweeps.claim(connection, sweep.id)
    assert other is not None
    assert other.lease_epoch == mine.lease_epoch + 1
    with pytest.raises(LeaseLostError), store.write() as connection:
        sweeps.renew(connection, mine)
    with store.write() as connection:
        sweeps.release(connection, mine)
        assert sweeps.claim(connection, sweep.id) is None


@pytest.mark.parametrize("name", ["median", "hyperband"])
def test_a_job_without_a_prospect_is_cancelled(store: Store, name: str) -> None:
    space = {_RATE: {"type": "choice", "values": [0.01, 0.01, 0.01, 1.0, 1.0, 1.0]}}
    pruning = {"name": name, "startup_jobs": 1, "warmup_epochs": 1}
    base = {**world.TINY, "training": {"epochs": 9}}
    sweep = world.create(store, base=base, space=space, algorithm="grid", max_jobs=None, pruning=pruning)
    driver = SweepDriver(store, world.Silence())
    for _ in range(6):
        driver.step(sweep.id)
        (trial,) = [trial for trial in world.look(store, sweep)[1] if trial.busy]
        assert trial.job_id is not None
        epoch = world.claim(store, trial.job_id)
        for number in range(1, 10):
            world.report(store, trial.job_id, number, epoch)
            driver.step(sweep.id)
            if get(store, trial.job_id).state is JobState.CANCELLING:
                break
        else:
            with store.write() as connection:
                lease.succeed(connection, trial.job_id, epoch, {})
        world.work(store)
    driver.step(sweep.id)
    found, made = world.look(store, sweep)
    assert found.state == "finished"
    ended = [trial.state for trial in made]
    assert ended[0] == "succeeded"
    assert "pruned" in ended[3:]
    assert "pruned" not in ended[:3] or name == "hyperband"
    pruned = next(trial for trial in made if trial.state == "pruned")
    assert name in (pruned.reason or "")
    assert get(store, str(pruned.job_id)).state is JobState.CANCELLED


def test_jobs_that_end_badly_are_told_and_the_sweep_goes_on(store: Store) -> None:
    sweep = world.create(store, parallel=4, max_jobs=5)
    driver = SweepDriver(store, world.Silence())
    driver.step(sweep.id)
    ids = [str(trial.job_id) for trial in world.look(store, sweep)[1]]
    with store.write() as connection:
        jobs.request_cancel(connection, ids[0])
        jobs.request_cancel(connection, ids[1])
        jobs.remove(connection, ids[1])
    epoch = world.claim(store, ids[2])
    with store.write() as connection:
        lease.fail(connection, ids[2], epoch, {"code": "out_of_memory", "message": "too little memory"})
    epoch = world.claim(store, ids[3])
    with store.write() as connection:
        lease.succeed(connection, ids[3], epoch, {})
    driver.step(sweep.id)
    made = world.look(store, sweep)[1]
    assert [(trial.state, trial.reason) for trial in made] == [
        ("cancelled", "its job was cancelled"),
        ("cancelled", "its job was deleted"),
        ("failed", "too little memory"),
        ("failed", "its job reported no finite validation_accuracy"),
        ("running", None),
    ]
    with store.write() as connection:
        jobs.request_cancel(connection, str(made[4].job_id))
    driver.step(sweep.id)
    found, _ = world.look(store, sweep)
    assert found.state == "failed"
    assert found.reason is not None
    assert found.reason["code"] == "no_result"


def test_quota_turns_and_a_revoked_key_hold_for_a_sweep(settings: Settings, store: Store) -> None:
    with store.write() as connection:
        key, _ = keys.create(connection, b"x", name="a", scopes=["write"], max_queued=2)
    sweep = world.create(store, created_by=key.id, parallel=4, max_jobs=4)
    bell = world.Silence()
    driver = SweepDriver(store, bell)
    driver.run_once()
    driver.run_once()
    assert len(bell.rung) == len(world.states(store)) == 2
    assert {get(store, job_id).created_by for job_id in bell.rung} == {key.id}
    with store.write() as connection:
        keys.revoke(connection, key.id)
    world.work(store)
    driver.run_once()
    found, made = world.look(store, sweep)
    assert found.state == "failed"
    assert found.reason is not None
    assert found.reason["code"] == "key_revoked"
    assert [trial.state for trial in made] == ["succeeded", "succeeded"]


def test_values_that_fit_no_job_are_told_and_a_base_that_fits_none_ends_the_sweep(store: Store) -> None:
    space = {"training.accumulate": {"type": "choice", "values": [1, 4096]}}
    sweep = world.create(store, space=space, algorithm="grid", max_jobs=None)
    _to_the_end(store, sweep)
    made = world.look(store, sweep)[1]
    assert [trial.state for trial in made] == ["succeeded", "failed"]
    assert "micro-batches" in (made[1].reason or "")
    lost = world.create(store, base={**world.TINY, "dataset": "ds_" + "0" * 26})
    SweepDriver(store, world.Silence()).run_once()
    found, made = world.look(store, lost)
    assert (found.state, made) == ("failed", [])
    assert found.reason is not None
    assert found.reason["code"] == "invalid_spec"


def test_cancel_takes_the_jobs_along_and_delete_leaves_them(store: Store) -> None:
    sweep = world.create(store, parallel=2)
    driver = SweepDriver(store, world.Silence())
    driver.step(sweep.id)
    world.claim(store, str(world.look(store, sweep)[1][0].job_id))
    mine = {"organisation": DEFAULT_ORGANISATION}
    with pytest.raises(SweepNotFinishedError), store.write() as connection:
        sweeps.remove(connection, sweep.id, **mine)
    for _ in range(2):  # twice is no error
        with store.write() as connection:
            assert sweeps.request_cancel(connection, sweep.id, **mine).state == "cancelled"
    assert world.states(store) == [JobState.CANCELLING, JobState.CANCELLED]
    driver.step(sweep.id)
    assert [trial.state for trial in world.look(store, sweep)[1]] == ["cancelled", "cancelled"]
    with store.read() as connection:
        with pytest.raises(NotFoundError):
            sweeps.get(connection, sweep.id, organisation="org_other")
        assert sweeps.list_sweeps(connection, organisation="org_other").data == []
        assert len(sweeps.job_ids(connection, sweep.id, **mine)) == 2
    with store.write() as connection:
        sweeps.remove(connection, sweep.id, **mine)
    assert len(world.states(store)) == 2
    done = world.create(store, max_jobs=1)
    _to_the_end(store, done)
    with pytest.raises(SweepEndedError), store.write() as connection:
        sweeps.request_cancel(connection, done.id, **mine)


def test_a_sweep_that_goes_wrong_does_not_hold_up_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, right = world.create(store), world.create(store)
    step = SweepDriver.step

    def breaks(driver: SweepDriver, sweep_id: str) -> None:
        if sweep_id == wrong.id:
            raise ValueError("not foreseen")
        step(driver, sweep_id)

    monkeypatch.setattr(SweepDriver, "step", breaks)
    SweepDriver(store, world.Silence()).run_once()
    assert [len(world.look(store, sweep)[1]) for sweep in (wrong, right)] == [0, 1]
