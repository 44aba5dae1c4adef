"""Whole steps on a GPU; here the processor stands for one."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu, results, table
from benchmarks.errors import BenchmarkError
from benchmarks.setting import Setting
from fqt_core import ops


def test_steps_are_measured_on_a_device() -> None:
    rows = gpu.measure(torch.device("cpu"), Setting("resnet18", 16, 4), ("fqt",), 1)
    assert [(row["method"], row["isa"], row["gpu"]) for row in rows] == [("fqt", ops.isa(), "cpu")]
    for row in rows:
        for name in ("fp32", "bf16"):
            assert row[f"ratio_{name}"] == pytest.approx(row[f"torch_{name}_ms"] / row["ours_ms"], rel=0.01)
    assert results.of_gpus(rows) == rows
    assert results.of_steps(rows) == []
    shown = table.render(rows)
    assert shown.startswith("Training steps on cpu, PyTorch ")
    assert f"{rows[0]['torch_bf16_ms']:.2f}" in shown


def test_without_a_gpu_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchmarkError, match="no CUDA device"):
        gpu.main(["--model", "resnet18"])
