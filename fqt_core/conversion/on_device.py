"""What runs where: a conversion is told for the CPU, and read anew for the device that a run trains on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn

from fqt_core.fused import device_obstacle
from fqt_core.layers import BinaryLayer, QuantizedLayer
from fqt_core.layers.byte_product import ByteProduct
from fqt_core.layers.products import operations_of
from fqt_core.ops import isa, native

CUDA = "cuda"
"""Stands for an instruction set where kernels of a GPU run."""


def products_of(layer: BinaryLayer | QuantizedLayer) -> tuple[str, ...]:
    """The operations that compute a converted layer's products, where no chain does."""
    if isinstance(layer, QuantizedLayer):
        return ByteProduct.operations
    quantizer = layer.method.input_gradient
    return operations_of(layer.product, pixel_rows=quantizer is not None and quantizer.groups == "pixel")


def kernels_on(device: torch.device, layers: Collection[BinaryLayer | QuantizedLayer]) -> str:
    """The kernels that converted layers run on: ``torch`` without any, ``reference`` if a GPU lacks one of them."""
    if not layers:
        return "torch"
    if device.type == "cpu":
        return isa()
    return "reference" if any(native.without_cuda_kernels(products_of(layer)) for layer in layers) else CUDA


def rows_on(device: torch.device, model: nn.Module, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a conversion report as they are on a device: what falls back there, and why.

    Args:
        device: where the network is trained.
        model: the converted network.
        rows: of :meth:`fqt_core.conversion.report.ConversionReport.to_json`.
    """
    if device.type == "cpu":
        return [dict(row) for row in rows]
    modules = dict(model.named_modules())
    return [_elsewhere(row, modules.get(row["name"]), device) for row in rows]


def _elsewhere(row: dict[str, Any], module: nn.Module | None, device: torch.device) -> dict[str, Any]:
    if row["action"] == "fused":
        obstacle = device_obstacle(device)
        reason = f"its layers run one by one (fallback): {obstacle}"
        return row | {"action": "kept", "reason": reason} if obstacle else dict(row)
    if row["action"] != "converted" or not isinstance(module, BinaryLayer | QuantizedLayer):
        return dict(row)
    missing = native.without_cuda_kernels(products_of(module))
    if not missing:
        return row | {"isa": CUDA, "reason": ""}
    return row | {"isa": "reference", "reason": f"fallback: there are no CUDA kernels of {', '.join(missing)}"}
