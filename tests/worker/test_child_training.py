from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from fqt_core.events import LogLine, StepDone
from worker import child_training
from worker.protocol import Exit

STEP = StepDone(step=1, epoch=0, loss=1, learning_rate=1, images_per_second=1)


def test_code_is_moved_as_steps_are_done() -> None:
    steps: list[int] = []
    sent: list[Any] = []
    pages: Any = SimpleNamespace(step_done=lambda: steps.append(len(sent)))
    session: Any = SimpleNamespace(trainer=[STEP, LogLine(message="x"), STEP])
    lifeline: Any = SimpleNamespace(cancel=threading.Event(), send=sent.append)
    assert child_training._run(session, lifeline, None, pages) is Exit.STOPPED
    assert [type(event) for event in sent] == [StepDone, LogLine, StepDone]
    assert steps == [0, 2]


def test_memory_that_code_took_is_not_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_training, "peak_bytes", lambda: 700)
    pages: Any = SimpleNamespace(moved=64)
    assert child_training.grown(600, pages) == 36
    assert child_training.grown(690, pages) == 0
    assert child_training.grown(None, pages) is None
