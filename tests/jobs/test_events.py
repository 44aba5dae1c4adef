from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs import events, jobs, metrics
from jobs.errors import LeaseLostError, NotFoundError
from jobs.states import JobState
from jobs.store import Store
from tests.jobs.helpers import get, running, submit


def test_events_are_numbered_without_gaps_whoever_writes_at_once(store: Store) -> None:
    job = running(store)

    def write(count: int) -> None:
        for _ in range(10):
            with store.write() as connection:
                events.append(connection, job.id, 1, [("log", {"message": "x"})] * count)

    with ThreadPoolExecutor(3) as pool:
        writers = pool.map(write, (1, 2, 3))
        with store.write() as connection:
            jobs.request_cancel(connection, job.id)
        list(writers)
    with store.read() as connection:
        log = events.read(connection, job.id, limit=1000)
        assert [event.seq for event in log] == list(range(1, 64))  # created, claimed, cancelling, 60 lines
        assert events.last_seq(connection, job.id) == 63


def test_reading_goes_on_after_a_cursor(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        assert events.append(connection, job.id, 1, [("log", {"message": str(n)}) for n in range(5)]) == 7
    with store.read() as connection:
        page = events.read(connection, job.id, after=3, limit=2)
        assert [(event.seq, event.data["message"]) for event in page] == [(4, "1"), (5, "2")]
        assert events.read(connection, job.id, after=7) == []
        with pytest.raises(NotFoundError):
            events.last_seq(connection, "job_none")


def test_columns_change_with_the_events_or_not_at_all(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        events.append(connection, job.id, 1, [("log", {})], values={"progress": {"step": 3, "loss": math.nan}})
    assert get(store, job.id).progress == {"step": 3, "loss": None}
    before = get(store, job.id)
    for epoch, job_id in ((2, job.id), (1, submit(store).id)):
        with pytest.raises(LeaseLostError), store.write() as connection:
            events.append(connection, job_id, epoch, [("log", {})], values={"progress": {"step": 4}})
    assert get(store, job.id) == before
    assert before.version != job.version
    assert before.state is JobState.RUNNING


def test_what_json_cannot_hold_is_made_fit() -> None:
    value = {"a": [math.inf, -math.inf, 1.5], "b\x00": ("x\x00y", None, True, 3)}
    assert events.clean(value) == {"a": [None, None, 1.5], "b\ufffd": ["x\ufffdy", None, True, 3]}


def test_curves_come_from_metric_events_with_repeated_steps_once(store: Store) -> None:
    job = running(store)
    steps = [("metric", {"kind": "step", "step": n, "epoch": n / 4, "loss": 1 / n}) for n in (1, 2, 3, 2, 3, 4)]
    others = [
        ("metric", {"kind": "epoch", "epoch": 1, "step": 4, "best": True, "validation_accuracy": 0.5}),
        ("metric", {"kind": "quantization", "step": 4, "layers": {"conv": {"window_share": 0.9}}}),
        ("metric", {"kind": "telemetry", "step": 4, "images": 16, "layers": {"conv": {"dx_cosine": 0.5}}}),
        ("log", {"kind": "step", "step": 9}),
    ]
    with store.write() as connection:
        events.append(connection, job.id, 1, [*steps, *others])  # type: ignore[list-item]
    with store.read() as connection:
        found = metrics.series(connection, job.id)
        assert [(s.kind, s.name, s.steps, s.values) for s in found] == [
            ("epoch", "validation_accuracy", [4], [0.5]),
            ("quantization", "conv/window_share", [4], [0.9]),
            ("step", "loss", [1, 2, 3, 4], [1, 1 / 2, 1 / 3, 1 / 4]),
            ("telemetry", "conv/dx_cosine", [4], [0.5]),
        ]
        assert [s.name for s in metrics.series(connection, job.id, kind="step")] == ["loss"]
        assert [s.kind for s in metrics.series(connection, job.id, names=["validation_accuracy"])] == ["epoch"]
        assert metrics.series(connection, job.id, kind="step", points=2)[0].steps == [2, 4]
        assert metrics.series(connection, job.id, kind="step", points=1)[0].steps == [4]
