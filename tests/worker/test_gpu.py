"""What a worker finds out about a GPU when it starts, and what it serves then."""

from __future__ import annotations

import json
import sys

import pytest

from jobs.settings import Settings
from worker.gpu import Gpu, look, served

LIBRARY = "libc.so.6"  # stands for that of a driver which is there


def says(text: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({text!r}); print('why', file=sys.stderr); sys.exit({code})"]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (says(json.dumps({"name": "A100", "reason": ""})), Gpu("A100")),
        (says(json.dumps({"name": None, "reason": "too old"})), Gpu(None, "too old")),
        (says("", 3), Gpu(None, "looking at the GPU ended with 3: why")),
        (says("no JSON"), Gpu(None, "looking at the GPU ended with 0: why")),
    ],
)
def test_a_child_tells(command: list[str], found: Gpu) -> None:
    assert look(command, LIBRARY) == found


def test_the_real_child_tells_why_torch_can_use_no_gpu() -> None:
    found = look(driver=LIBRARY)
    assert found.name is not None or "can use no GPU" in found.reason


def test_without_a_driver_nobody_is_asked() -> None:
    assert look(says("never"), "libnothing.so.0") == Gpu(None, "there is no NVIDIA driver (libnothing.so.0)")


def test_only_a_worker_with_a_gpu_serves_jobs_for_gpus() -> None:
    settings = Settings(queues="cpu, cuda,own")
    assert served(settings, Gpu("A100")).queue_names == ["cpu", "cuda", "own"]
    assert served(settings, Gpu(None, "none")).queue_names == ["cpu", "own"]
    assert served(Settings(queues="cpu"), Gpu("A100")).queue_names == ["cpu"]
