"""A process that holds one side of a comparison of inference; as :mod:`benchmarks.child`, with commands of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.child import Commands, serve
from benchmarks.predictors import OnnxInt8, Packed, Predictor, TorchFp32
from benchmarks.setting import Setting, parse_method
from fqt_core import ops

_WARM_UPS = 2
_TRIAL_ROUNDS = 4

_IMAGES_PER_TURN = 16
"""A turn of small batches is of several calls, so that a side is not always met with another's data in the caches."""


class Child:
    """The process's state: its side once it is loaded, and how it runs once that is decided."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name: str = spec["side"]
        self.setting = Setting(**spec["setting"])
        self.method: str = spec["method"]
        self.predictor: Predictor | None = None
        self.call: Callable[[], Any] | None = None

    def load(self) -> dict[str, Any]:
        """Build the side; all processes may do this at once."""
        with tempfile.TemporaryDirectory() as folder:
            self.predictor = self._build(Path(folder))
        return {
            "torch": torch.__version__,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "isa": ops.isa(),
            "file_bytes": self.predictor.file_bytes,
        }

    def _build(self, folder: Path) -> Predictor:
        if self.name == "ours":
            return Packed(self.setting, parse_method(self.method), folder)
        return {"torch-fp32": TorchFp32, "onnxruntime-int8": OnnxInt8}[self.name](self.setting, folder)

    def prepare(self) -> dict[str, Any]:
        """Warm up the variants and try them in turns; the fastest stays."""
        if self.predictor is None:
            raise RuntimeError("load comes first")
        calls = dict(self.predictor.variants())
        taken = dict.fromkeys(calls, float("inf"))
        for number in range(_WARM_UPS + _TRIAL_ROUNDS):
            for name, call in calls.items():
                ms = _timed(call)
                if number >= _WARM_UPS:
                    taken[name] = min(taken[name], ms)
        chosen = min(taken, key=lambda name: taken[name])
        self.call = calls[chosen]
        return {"format": chosen}

    def predict(self) -> dict[str, Any]:
        """Take one turn and tell the milliseconds of its calls."""
        if self.call is None:
            raise RuntimeError("prepare comes first")
        return {"ms": [_timed(self.call) for _ in range(-(-_IMAGES_PER_TURN // self.setting.batch))]}


def _timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def _commands(spec: dict[str, Any]) -> Commands:
    child = Child(spec)
    inferring = torch.inference_mode()
    return {
        "load": lambda: {**child.load(), "keeps_pages": spec["keeps_pages"]},
        "prepare": inferring(child.prepare),
        "predict": inferring(child.predict),
    }


if __name__ == "__main__":
    serve(_commands)
