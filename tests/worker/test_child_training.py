from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from fqt_core.events import LogLine, StepDone
from worker import child_training
from worker.protocol import Exit

STEP = StepDone(step=1, epoch=0, loss=1, learning_rate=1, images_per_second=1)


def test_code_is_moved_as_steps_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    class Pages:
        def step_done(self) -> None:
            steps.append(len(sent))

    monkeypatch.setattr(child_training, "CodePages", Pages)
    sent: list[Any] = []
    session: Any = SimpleNamespace(trainer=[STEP, LogLine(message="x"), STEP])
    lifeline: Any = SimpleNamespace(cancel=threading.Event(), send=sent.append)
    assert child_training._run(session, lifeline, None) is Exit.STOPPED
    assert [type(event) for event in sent] == [StepDone, LogLine, StepDone]
    assert steps == [0, 2]
