"""Ringing from a thread of its own: nobody waits, a burst is no flood, and the last rings go out before the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from api import ringer
from api.ringer import Ringer
from tests.api.conftest import RecordingDoorbell


class HeldDoorbell(RecordingDoorbell):
    """Waits in each ring until it is let go, as one whose broker does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def ring_job(self, job_id: str, queue: str) -> None:
        self.entered.set()
        assert self.go.wait(10)
        super().ring_job(job_id, queue)


@pytest.fixture
def bell() -> Iterator[HeldDoorbell]:
    bell = HeldDoorbell()
    yield bell
    bell.go.set()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_ring_goes_out_at_once_and_nobody_waits_for_it(bell: HeldDoorbell) -> None:
    made = Ringer(bell)
    made.ring_job("job_1", "cpu")
    assert bell.entered.wait(1)
    begin = time.perf_counter()
    made.ring_job("job_2", "cpu")
    made.ring_dataset("ds_1")
    assert time.perf_counter() - begin < 1
    bell.go.set()
    made.close()
    assert bell.rung == [("job_1", "cpu"), ("job_2", "cpu"), ("ds_1", "inspect")]


def test_of_a_burst_each_queue_is_rung_a_few_times_at_once_for_the_newest(
    bell: HeldDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ringer, "_PAUSE_SECONDS", 0.3)
    monkeypatch.setattr(ringer, "_MOST_PENDING", 20)
    made = Ringer(bell)
    made.ring_job("first", "cpu")
    assert bell.entered.wait(1)
    for number in range(100):
        made.ring_job(f"job_{number}", "cpu")
        made.ring_job(f"job_{number}", "cpu")
    made.ring_job("other", "cuda")
    bell.go.set()
    until(lambda: len(bell.rung) >= 10)
    burst = bell.rung[1:]
    assert burst == [*((f"job_{number}", "cpu") for number in range(99, 91, -1)), ("other", "cuda")]
    until(lambda: len(bell.rung) >= 1 + 20 + 1)
    made.close()
    assert {job for job, queue in bell.rung[1:] if queue == "cpu"} == {f"job_{number}" for number in range(80, 100)}


def test_what_was_asked_for_last_is_rung_before_the_end(bell: HeldDoorbell) -> None:
    bell.go.set()
    made = Ringer(bell)
    for number in range(3):
        made.ring_job(f"job_{number}", "cpu")
    made.close()
    assert len(bell.rung) == 3
