"""Whether jobs may use a GPU here, found out once, when a worker starts. torch is imported in a child only."""

from __future__ import annotations

import ctypes
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from jobs.settings import Settings
from worker.process import child_command

_log = structlog.stdlib.get_logger(__name__)

GPU_QUEUE = "cuda"
GPU_COMMAND: Sequence[str] = child_command("worker.gpu_child")
_DRIVER = "libcuda.so.1"
_SECONDS = 600.0


@dataclass(frozen=True)
class Gpu:
    """``name``: of the GPU that jobs may use; ``None``: they may use none, and ``reason`` says why.

    ``kernels``: how many operations have kernels for it. The others run their slower references there.
    ``copy_gb_per_s``: the rate at which it copies memory; ``speeds``: a line for each kernel.
    """

    name: str | None
    reason: str = ""
    kernels: int = 0
    copy_gb_per_s: float | None = None
    speeds: tuple[str, ...] = ()


def look(command: Sequence[str] = GPU_COMMAND, driver: str = _DRIVER) -> Gpu:
    """Ask a child, which verifies the kernels. Without the driver's library, ``driver``, there is nothing to ask."""
    try:
        ctypes.CDLL(driver)
    except OSError:
        return Gpu(None, f"there is no NVIDIA driver ({driver})")
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        told = json.loads(run.stdout) if run.returncode == 0 else {}
    except subprocess.TimeoutExpired:
        return Gpu(None, f"looking at the GPU took longer than {_SECONDS:g} seconds")
    except ValueError:
        told = {}
    if not told:
        last = (run.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return Gpu(None, f"looking at the GPU ended with {run.returncode}: {last}")
    return Gpu(**told | {"speeds": tuple(told["speeds"])})


def served(settings: Settings, gpu: Gpu) -> Settings:
    """The settings of a worker with this GPU; without one it does not serve jobs for GPUs, which would only fail."""
    if gpu.name is not None:
        _log.info(
            "the GPU gives the reference's results",
            gpu=gpu.name,
            kernels=gpu.kernels,
            copy_gb_per_s=gpu.copy_gb_per_s,
            speeds=list(gpu.speeds),
        )
    if gpu.name is not None and not gpu.kernels:
        _log.warning("jobs on the GPU are slow: the extension was built without CUDA kernels", remedy="docs/cuda.md")
    if gpu.name is not None or GPU_QUEUE not in settings.queue_names:
        return settings
    _log.error("jobs for GPUs are not taken: there is no GPU that can be used", reason=gpu.reason)
    left = [name for name in settings.queue_names if name != GPU_QUEUE]
    return settings.model_copy(update={"queues": ",".join(left)})
