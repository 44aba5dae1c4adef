"""Compare against a straightforward computation from the log: whatever was reported, repeated, folded or cut."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from jobs import compare, curves, database, events, jobs, lease, metrics, retention
from jobs.errors import NotFoundError
from jobs.reaper import Reaper
from jobs.sqltypes import now
from jobs.states import ACTIVE
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION, curve_parts
from jobs.tables import curves as curve_table
from jobs.tables import events as event_table
from jobs.tables import jobs as table
from jobs.thinning import m4
from tests.jobs.helpers import claim, get, running, submit
from tests.jobs.test_reaper import Bell

_VALUES = st.one_of(st.none(), st.sampled_from([0.5, -1.0, 3.0]), st.floats(allow_nan=False, allow_infinity=False))
_FIGURES = st.dictionaries(st.sampled_from(["loss", "learning_rate"]), _VALUES, max_size=2)
_STEP = st.builds(
    lambda step, figures: ("metric", {"kind": "step", "step": step, "epoch": step / 4, **figures}),
    st.integers(1, 12),
    _FIGURES,
)
_EPOCH = st.builds(
    lambda epoch, value: ("metric", {"kind": "epoch", "epoch": epoch, "step": epoch * 4, "accuracy": value}),
    st.integers(1, 3),
    _VALUES,
)
_LAYER = st.builds(
    lambda step, value: ("metric", {"kind": "quantization", "step": step, "layers": {"conv": {"kept": value}}}),
    st.integers(1, 12),
    _VALUES,
)
_BATCH = st.lists(st.one_of(_STEP, _STEP, _EPOCH, _LAYER, st.just(("log", {"message": "x"}))), max_size=12)
_ACTS = st.lists(st.one_of(_BATCH, st.sampled_from(["fold", "attempt ends"])), max_size=12)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of five points and folds of seven events, so that there are many."""
    monkeypatch.setattr(curves, "_PART_POINTS", 5)
    monkeypatch.setattr(curves, "_EVENTS_PER_FOLD", 7)


def _seconds(connection: Connection, job_id: str) -> dict[tuple[str, str, int], float]:
    """By kind, name and step: how long the job had been running when the last report came, from the log alone."""
    ran, since = 0.0, None
    found = {}
    for event in events.read(connection, job_id, limit=10_000):
        if event.type == "state":
            if event.data["to"] in ACTIVE:
                since = since or event.created_at
            elif since is not None:
                ran, since = ran + (event.created_at - since).total_seconds(), None
        elif event.type == "metric":
            until = timedelta(0) if since is None else event.created_at - since
            for name, _ in metrics.figures(event.data):
                found[event.data["kind"], name, event.data["step"]] = ran + until.total_seconds()
    return found


def _point(value: float | None, step: int) -> compare.Point:
    return compare.Point(value, step)


def _straightforward(connection: Connection, job_id: str, axis: str) -> list[tuple[Any, ...]]:
    seconds = _seconds(connection, job_id)
    found = []
    for series in metrics.series(connection, job_id):
        pairs = list(zip(series.values, series.steps, strict=True))
        finite = [(value, step) for value, step in pairs if value is not None]
        places = {
            "step": [float(step) for step in series.steps],
            "epoch": [step / 4 for step in series.steps],
            "time": [seconds[series.kind, series.name, step] for step in series.steps],
        }[axis]
        order = sorted(range(len(pairs)), key=lambda index, places=places: places[index])
        found.append(
            (
                series.kind,
                series.name,
                len(pairs),
                _point(*min(finite, key=lambda pair: (pair[0], pair[1]))) if finite else None,
                _point(*min(finite, key=lambda pair: (-pair[0], pair[1]))) if finite else None,
                _point(*pairs[-1]),
                pytest.approx([places[index] for index in order], abs=1e-5),
                [series.values[index] for index in order],
            )
        )
    return found


def _compared(store: Store, job_id: str, axis: Any) -> list[tuple[Any, ...]]:
    with database.snapshot(store.engine) as connection:
        found = compare.compare(
            connection,
            [job_id],
            organisation=DEFAULT_ORGANISATION,
            kinds=metrics.KINDS,
            axis=axis,
            points=10_000,
        )
    return [
        (
            figure.kind,
            figure.name,
            figure.points,
            figure.least,
            figure.greatest,
            figure.last,
            figure.places,
            [None if math.isnan(value) else value for value in figure.values],
        )
        for figure in found.jobs[0].figures
    ]


@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=_ACTS)
def test_comparing_says_what_the_log_says(store: Store, small_parts: None, acts: list[Any]) -> None:
    job = running(store)
    with store.write() as connection:  # four steps are an epoch
        progress = {"total_steps": 12, "epochs": 3}
        events.append(connection, job.id, job.lease_epoch, [("log", {})], values={"progress": progress})
    for act in acts:
        if act == "fold":
            curves.fold(store, job.id)
        elif act == "attempt ends":
            with store.write() as connection:
                lease.release(connection, job.id, job.lease_epoch, reason="drained")
            claimed = claim(store)
            assert claimed is not None
            job = claimed
        else:
            with store.write() as connection:
                events.append(connection, job.id, job.lease_epoch, act)
    with store.read() as connection:
        expected = {axis: _straightforward(connection, job.id, axis) for axis in ("step", "epoch", "time")}
    for axis, told in expected.items():
        assert _compared(store, job.id, axis) == told
    while curves.fold(store, job.id):
        pass
    for axis, told in expected.items():
        assert _compared(store, job.id, axis) == told
    with store.write() as connection:
        lease.succeed(connection, job.id, job.lease_epoch, {})


@given(
    values=st.lists(st.one_of(st.just(math.nan), st.integers(-5, 5).map(float)), min_size=1, max_size=60),
    gaps=st.data(),
    points=st.integers(1, 40),
)
def test_thinning_keeps_first_last_least_and_greatest_of_each_bucket(
    values: list[float], gaps: st.DataObject, points: int
) -> None:
    import numpy as np

    steps = gaps.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    places = np.cumsum(np.array(steps, np.float64))
    kept = m4(places, np.array(values), points).tolist()
    if len(values) <= points:
        assert kept == list(range(len(values)))
        return
    assert len(kept) <= max(4, points)
    buckets, width = max(1, points // 4), places[-1] - places[0]
    members: dict[int, list[int]] = {}
    for index, place in enumerate(places):
        members.setdefault(min(buckets - 1, int((place - places[0]) / width * buckets)) if width else 0, []).append(
            index
        )
    expected = set()
    for indices in members.values():
        finite = [index for index in indices if not math.isnan(values[index])]
        expected |= {indices[0], indices[-1]}
        if finite:
            expected |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    assert kept == sorted(expected)


def test_only_what_differs(store: Store) -> None:
    first = submit(store, name="a", training={"epochs": 2, "learning_rate": 0.1})
    second = submit(store, name="b", method={"name": "fp32"}, training={"epochs": 2, "learning_rate": 0.2})
    with store.read() as connection:
        found = compare.compare(connection, [first.id, second.id, first.id], organisation=DEFAULT_ORGANISATION)
        assert [job.id for job in found.jobs] == [first.id, second.id]
        assert {"training.learning_rate", "method.name", "method.bits"} <= set(found.differing)
        assert found.jobs[0].parameters["training.learning_rate"] == 0.1
        assert found.jobs[1].parameters.keys().isdisjoint({"method.bits", "training.epochs", "name"})
        assert found.equal["training.epochs"] == 2
        assert found.equal.keys().isdisjoint(found.differing)
        with pytest.raises(NotFoundError):
            compare.compare(connection, [first.id], organisation="org_other")


def test_the_reaper_folds_long_logs_and_those_of_ended_jobs(store: Store) -> None:
    long, short = running(store), running(store)
    with store.write() as connection:
        steps = [("metric", {"kind": "step", "step": n, "loss": 1 / n}) for n in range(1, 1 + metrics.WORTH_FOLDING)]
        events.append(connection, long.id, 1, steps)  # type: ignore[arg-type]
        events.append(connection, short.id, 1, steps[:3])  # type: ignore[arg-type]
    Reaper(store, Bell()).run_once()
    with store.read() as connection:
        folded = dict(connection.execute(select(curve_table.c.job_id, curve_table.c.seq)).all())
    assert folded == {long.id: get(store, long.id).next_seq - 1}
    with store.write() as connection:
        lease.succeed(connection, short.id, 1, {})
    Reaper(store, Bell()).run_once()  # a new one keeps house at once
    with store.read() as connection:
        assert metrics.unfolded(connection, ended=True) == []
        points = dict(
            connection.execute(
                select(curve_parts.c.job_id, curve_parts.c.points).where(curve_parts.c.name == "loss")
            ).all()
        )  # fmt: skip
    assert points == {long.id: metrics.WORTH_FOLDING, short.id: 3}


def test_what_another_process_has_folded_meanwhile_is_not_folded_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = running(store)
    collect = curves._collect
    for step in (1, 2):  # the first fold of all, and one that goes on
        with store.write() as connection:
            events.append(connection, job.id, 1, [("metric", {"kind": "step", "step": step, "loss": 1.0})])

        def overtaken(*arguments: Any) -> Any:
            monkeypatch.setattr(curves, "_collect", collect)
            assert curves.fold(store, job.id) > 0
            return collect(*arguments)

        monkeypatch.setattr(curves, "_collect", overtaken)
        assert curves.fold(store, job.id) == 0
    with store.read() as connection:
        assert connection.scalars(select(curve_parts.c.points).where(curve_parts.c.name == "loss")).all() == [2]


def test_curves_go_with_the_log(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        events.append(connection, job.id, 1, [("metric", {"kind": "step", "step": 1, "loss": 1.0})])
        lease.succeed(connection, job.id, 1, {})
        connection.execute(update(table).values(finished_at=now(-100)))
    curves.fold(store, job.id)
    with store.write() as connection:
        assert retention.cut_logs(connection, older_than_seconds=50) == 1
    assert _compared(store, job.id, "step") == []
    curves.fold(store, job.id)
    assert _compared(store, job.id, "step") == []
    with store.write() as connection:
        jobs.remove(connection, job.id)
    with store.read() as connection:
        assert connection.execute(select(curve_table)).all() == []
        assert connection.execute(select(event_table)).all() == []
