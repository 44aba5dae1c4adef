"""What a worker finds out about a GPU when it starts, and what it serves then."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fqt_core import ops
from fqt_core.ops import native
from jobs.settings import Settings
from worker.gpu import Gpu, look, served
from worker.gpu_child import _told, inspect

LIBRARY = "libc.so.6"  # stands for that of a driver which is there
SPEED = {"copy_gb_per_s": 1500.0, "speeds": ["fast"]}


def says(text: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({text!r}); print('why', file=sys.stderr); sys.exit({code})"]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (says(json.dumps(_told("A100", "", 15) | SPEED)), Gpu("A100", "", 15, 1500.0, ("fast",))),
        (says(json.dumps(_told(None, "wrong", 15))), Gpu(None, "wrong", 15)),
        (says("", 3), Gpu(None, "looking at the GPU ended with 3: why")),
        (says("no JSON"), Gpu(None, "looking at the GPU ended with 0: why")),
    ],
)
def test_a_child_tells(command: list[str], found: Gpu) -> None:
    assert look(command, LIBRARY) == found


def test_the_real_child_tells_why_torch_can_use_no_gpu() -> None:
    found = look(driver=LIBRARY)
    assert found.name is not None or "no CUDA device that torch" in found.reason


def test_a_device_whose_kernels_are_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "KERNELS", frozenset({("pack_sign", "portable"), ("group_range", "portable")}))
    found = inspect("cpu")
    assert (found["name"], found["reason"], found["kernels"]) == ("cpu", "", 2)
    assert found["copy_gb_per_s"] > 0
    assert [line.split()[0] for line in found["speeds"]] == ["group_range", "group_range", "pack_sign"]

    def call(operation: str) -> Callable[..., Any]:
        reference = ops.OPERATIONS[operation].reference
        return (lambda *given: reference(*given) ^ 1) if operation == "pack_sign" else reference

    found = inspect("cpu", call)
    assert found["name"] is None
    assert "kernels are wrong: pack_sign" in found["reason"]
    assert "18 differ: 1x1, 1 to 1, 1 samples" in found["reason"]


def test_without_a_driver_nobody_is_asked() -> None:
    assert look(says("never"), "libnothing.so.0") == Gpu(None, "there is no NVIDIA driver (libnothing.so.0)")


def test_only_a_worker_with_a_gpu_serves_jobs_for_gpus() -> None:
    settings = Settings(queues="cpu, cuda,own")
    assert served(settings, Gpu("A100")).queue_names == ["cpu", "cuda", "own"]
    assert served(settings, Gpu(None, "none")).queue_names == ["cpu", "own"]
    assert served(Settings(queues="cpu"), Gpu("A100")).queue_names == ["cpu"]
