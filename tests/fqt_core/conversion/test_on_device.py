"""What a conversion report says of a GPU: what falls back there, and why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fqt_core import ops
from fqt_core.config import Method, Resnet18
from fqt_core.conversion.on_device import kernels_on, rows_on
from fqt_core.convert import convert_
from fqt_core.layers import trained_layers
from fqt_core.models import build
from fqt_core.ops import native
from tests.csrc.cuda.emulated import KERNELS

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def converted(method: str, **options: Any) -> tuple[nn.Module, list[dict[str, Any]]]:
    model = build(Resnet18(width=0.25, image_size=32, channels=1), num_classes=3)
    return model, convert_(model, Method(method, **options)).to_json()


@pytest.fixture(autouse=True)
def _kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that was built with the CUDA kernels that there are."""
    monkeypatch.setattr(native, "CUDA_KERNELS", frozenset(operation for operation, _ in KERNELS))


def of(rows: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["action"] == action]


def test_layers_and_chains_have_kernels() -> None:
    model, rows = converted("fqt")
    there = rows_on(GPU, model, rows)
    assert {(row["isa"], row["reason"]) for row in of(there, "converted")} == {("cuda", "")}
    assert kernels_on(GPU, trained_layers(model)) == "cuda"
    assert of(there, "fused") == of(rows, "fused") != []
    assert [row["name"] for row in there] == [row["name"] for row in rows]
    assert rows_on(CPU, model, rows) == rows
    assert kernels_on(CPU, trained_layers(model)) == ops.isa()
    assert kernels_on(GPU, []) == kernels_on(CPU, []) == "torch"


@pytest.mark.parametrize(
    ("method", "options", "missing"),
    [
        ("fqt", {"groups": "pixel"}, "pixel_input_gradient"),
        ("unified-int8", {}, "int8_conv2d"),
    ],
)
def test_what_has_no_kernels_is_named(
    method: str, options: dict[str, Any], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = converted(method, **options)
    assert {(row["isa"], row["reason"]) for row in of(rows_on(GPU, model, rows), "converted")} == {("cuda", "")}
    assert kernels_on(GPU, trained_layers(model)) == "cuda"
    monkeypatch.setattr(native, "CUDA_KERNELS", native.CUDA_KERNELS - {missing})
    found = of(rows_on(GPU, model, rows), "converted")
    assert {(row["isa"], row["reason"]) for row in found} == {
        ("reference", f"fallback: there are no CUDA kernels of {missing}")
    }
    assert kernels_on(GPU, trained_layers(model)) == "reference"


def test_a_chain_without_kernels_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "CUDA_KERNELS", native.CUDA_KERNELS - {"hwnc_enter"})
    model, rows = converted("fqt")
    (chain,) = of(rows, "fused")
    (row,) = rows_on(GPU, model, [chain])
    assert row["action"] == "kept"
    assert row["reason"] == "its layers run one by one (fallback): there are no CUDA kernels of hwnc_enter"
    assert "chains have no kernels on meta" in rows_on(torch.device("meta"), model, [chain])[0]["reason"]


def test_an_extension_without_cuda_kernels_runs_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "CUDA_KERNELS", frozenset())
    model, rows = converted("qat")
    assert {row["isa"] for row in of(rows_on(GPU, model, rows), "converted")} == {"reference"}
    assert kernels_on(GPU, trained_layers(model)) == "reference"
