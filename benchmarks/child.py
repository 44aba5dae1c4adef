"""A process that holds one side of a comparison and does what it is told: a JSON object a line, in and out.

It is of its own so that each side has its environment (``FQT_ISA``, PyTorch's instruction sets), its malloc and its
peak of memory. Its first argument is a JSON object: ``side`` (``ours`` or a baseline), ``setting``, ``method`` (of
ours) and ``keep_pages``. Commands are the methods of :class:`Child`; an answer holds ``error`` if it failed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks import phases
from benchmarks.networks import FORMATS, Baseline, Ours, Side, fast_bfloat16
from benchmarks.setting import Setting, parse_method
from fqt_core import ops
from fqt_core.allocator import keep_pages
from fqt_core.code_pages import CodePages
from fqt_core.process_memory import forget_peak, peak_bytes, resident_bytes

_TRIAL_STEPS = 2
_MEMORY_STEPS = 3
_STEPS_TO_MOVE_CODE = 2
_PROFILED_STEPS = 3
_SMALL_IMAGE, _SMALL_BATCH = 16, 2
_WARM_SECONDS, _TIMED_SECONDS = 0.5, 1.0


class Child:
    """The process's state: how to build its side, and the side once it is built."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name: str = spec["side"]
        self.setting = Setting(**spec["setting"])
        self.method: str = spec["method"]
        self.side: Side | None = None

    def build(self, memory_format: str, setting: Setting) -> Side:
        """The side, for the images of ``setting``. Ours keeps torch's own format."""
        if self.name == "ours":
            return Ours(setting, parse_method(self.method))
        return Baseline(setting, bfloat16=self.name == "torch-bf16", memory_format=memory_format)

    @property
    def ready(self) -> Side:
        """The side that was prepared."""
        if self.side is None:
            raise RuntimeError("prepare comes first")
        return self.side

    def load(self) -> dict[str, Any]:
        """Bring in the libraries' code by a step of a few small images; all processes may do this at once."""
        facts = {
            "torch": torch.__version__,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "isa": ops.isa(),
        }
        if self.name == "torch-bf16" and not fast_bfloat16():
            return {**facts, "skipped": "oneDNN has no bf16 products for these instruction sets"}
        small = min(self.setting.image_size, _SMALL_IMAGE)
        self.build("contiguous", Setting(self.setting.model, small, _SMALL_BATCH, self.setting.threads)).step()
        return facts

    def prepare(self) -> dict[str, Any]:
        """Build and warm up; a baseline tries each memory format, and the fastest stays."""
        best, chosen = float("inf"), ""
        for name in FORMATS if self.name != "ours" else ("contiguous",):
            side = self.build(name, self.setting)
            side.step()
            taken = min(_timed(side) for _ in range(_TRIAL_STEPS))
            if taken < best:
                best, self.side, chosen = taken, side, name
        return {"format": chosen, "code_bytes": self._move_code()}

    def _move_code(self) -> int:
        """Move the code of steps to large pages, as a worker's processes do while they train."""
        pages = CodePages(patience_seconds=0)
        for _ in range(_STEPS_TO_MOVE_CODE):
            self.ready.step()
            pages.step_done()
        return pages.moved

    def step(self) -> dict[str, Any]:
        """Train for a moment and tell the milliseconds of a step, the mean over the rest of the turn.

        After the others' turns the first steps find caches that are theirs, memory that was laid aside, and threads
        that sleep; in training each step comes after many others.
        """
        _timed(self.ready, _WARM_SECONDS)
        return {"ms": _timed(self.ready, _TIMED_SECONDS)}

    def profile(self) -> dict[str, Any]:
        """Take some steps under the profiler."""
        return {"phases": phases.measure(self.ready.step, _PROFILED_STEPS)}

    def memory(self, memory_format: str) -> dict[str, Any]:
        """Train for some steps from scratch, and tell how far memory rose."""
        side = self.build(memory_format, self.setting)
        before = resident_bytes()
        forget_peak()
        for _ in range(_MEMORY_STEPS):
            side.step()
        return {"before": before, "peak": peak_bytes(), "optimizer": side.optimizer_bytes()}


def _timed(side: Side, seconds: float = 0.0) -> float:
    """Milliseconds of a step: the mean of those, one at least, that it takes until so much time has passed."""
    begin, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - begin < seconds:
        side.step()
        steps += 1
    return (time.perf_counter() - begin) * 1000 / steps


Commands = Mapping[str, Callable[..., dict[str, Any]]]
"""What a process does when it is told to, by name."""


def serve(commands_of: Callable[[dict[str, Any]], Commands]) -> None:
    """Do what standard input says until it ends. What others print goes to standard error.

    Args:
        commands_of: makes the commands for the process's first argument, which has ``keeps_pages`` (whether malloc
            does) besides what the parent said.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    spec = json.loads(sys.argv[1])
    kept = keep_pages() if spec["keep_pages"] else False
    torch.set_num_threads(spec["setting"]["threads"])
    commands = commands_of({**spec, "keeps_pages": kept})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = commands[command.pop("do")](**command)
        except Exception as error:  # noqa: BLE001 - the other process tells it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


def _commands(spec: dict[str, Any]) -> Commands:
    child = Child(spec)
    return {
        "load": lambda: {**child.load(), "keeps_pages": spec["keeps_pages"]},
        "prepare": child.prepare,
        "step": child.step,
        "profile": child.profile,
        "memory": child.memory,
    }


if __name__ == "__main__":
    serve(_commands)
