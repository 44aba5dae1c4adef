"""Reads model files, which may come from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fqt_core.convert import convert_
from fqt_core.data.batches import Preprocessing
from fqt_core.errors import CheckpointError, ConfigurationError, ConversionError
from fqt_core.export.format import (
    BITS_SUFFIX,
    COUNTER_SUFFIX,
    FORMAT,
    FORMAT_VERSION,
    ModelRecord,
    scale_and_bias,
    unpack_bits,
)
from fqt_core.export.predict import PackedModel
from fqt_core.layers import BinaryConv2d, BinaryLayer, BinaryLinear, IntegerLayer, SteppedLayer
from fqt_core.models import build
from fqt_core.quantizers.sign import pack_weight
from fqt_core.tensorfile import read_tensors

_NAMED_FAULTS = 5

Expected = tuple[torch.dtype, tuple[int, ...]]


def load(path: Path | str) -> PackedModel:
    """Read a model file for prediction. Memory is bounded by the size of the file, whatever it claims to be.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or version, or its parts do not fit together;
            the message says which.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    record = _record(path, metadata)
    network = _empty_network(path, record, tensors)
    _check(path, _expected(network), tensors)
    _fill(network, tensors)
    return PackedModel(
        network,
        record.classes,
        Preprocessing.from_json(record.preprocessing.model_dump()),
        architecture=record.architecture,
        method=record.method,
        spec=record.spec,
        metrics=record.metrics,
    )


def _record(path: Path, metadata: Mapping[str, Any]) -> ModelRecord:
    if metadata.get("format") != FORMAT:
        found = metadata.get("format")
        kind = f"its format is {str(found)[:50]!r}" if found else "its metadata names no format"
        raise CheckpointError(f"{path}: no packed model: {kind}, expected {FORMAT!r}")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: its format has version {str(version)[:50]}, this release reads version {FORMAT_VERSION}; "
            "read it with a release that knows it"
        )
    try:
        return ModelRecord.model_validate(metadata)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in error.errors()]
        raise CheckpointError(f"{path}: its metadata does not fit: {'; '.join(faults[:_NAMED_FAULTS])}") from error


def _empty_network(path: Path, record: ModelRecord, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network that the file describes, without memory for its weights."""
    marks = (BITS_SUFFIX, *(f".{kind.MARK}" for kind in (IntegerLayer, SteppedLayer)))
    packed = {name.removesuffix(mark) for name in tensors for mark in marks if name.endswith(mark)}
    try:
        with torch.device("meta"):
            network = build(record.architecture, num_classes=record.num_classes)
            convert_(network, record.method, filter_fn=lambda name, _: name in packed)
    except ConversionError as error:
        raise CheckpointError(
            f"{path}: its method is {record.method.name!r}, but it holds no quantised layers of this network"
        ) from error
    except ConfigurationError as error:
        raise CheckpointError(f"{path}: its method does not fit its network: {error}") from error
    for module in network.modules():
        if isinstance(module, IntegerLayer):
            module.for_inference_()
    return network


def _expected(network: nn.Module) -> dict[str, Expected]:
    """Type and shape of each tensor that a file of this network holds."""
    expected: dict[str, Expected] = {}
    binary = {name: module for name, module in network.named_modules() if isinstance(module, BinaryLayer)}
    for name, layer in binary.items():
        expected[name + BITS_SUFFIX] = (torch.uint8, (-(-layer.weight.numel() // 8),))
        for key, extra in scale_and_bias(name, layer).items():
            expected[key] = (extra.dtype, tuple(extra.shape))
    for name, value in network.state_dict().items():
        if name.rpartition(".")[0] not in binary and not name.endswith(COUNTER_SUFFIX):
            expected[name] = (torch.float32, tuple(value.shape))
    return expected


def _check(path: Path, expected: Mapping[str, Expected], tensors: Mapping[str, Tensor]) -> None:
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} does not belong to the network" for name in tensors if name not in expected]
    for name, (dtype, shape) in expected.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        if (tensor.dtype, tuple(tensor.shape)) != (dtype, shape):
            faults.append(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, the network needs {dtype} {shape}")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        more = f" and {len(faults) - _NAMED_FAULTS} more" if len(faults) > _NAMED_FAULTS else ""
        raise CheckpointError(f"{path}: its tensors do not fit: {'; '.join(faults[:_NAMED_FAULTS])}{more}")


def _fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put packed layers in place of the binarised ones, and the file's tensors in place of the empty ones."""
    binary = {name: module for name, module in network.named_modules() if isinstance(module, BinaryLayer)}
    for name, layer in binary.items():
        parent, _, attribute = name.rpartition(".")
        network.get_submodule(parent).register_module(attribute, _packed(name, layer, tensors))
    rest: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if value.is_meta:
            counter = name.endswith(COUNTER_SUFFIX)
            rest[name] = torch.zeros((), dtype=value.dtype) if counter else tensors[name]
    network.load_state_dict(rest, strict=False, assign=True)
    network.requires_grad_(False)


def _packed(name: str, layer: BinaryLayer, tensors: Mapping[str, Tensor]) -> nn.Module:
    bits = pack_weight(unpack_bits(tensors[name + BITS_SUFFIX], layer.weight.shape))
    alpha, bias = tensors.get(f"{name}.alpha"), tensors.get(f"{name}.bias")
    if isinstance(layer, BinaryLinear):
        return BinaryLinear.from_packed(bits, alpha, bias, in_features=layer.in_features)
    assert isinstance(layer, BinaryConv2d)
    product = layer.product
    return BinaryConv2d.from_packed(
        bits,
        alpha,
        bias,
        in_channels=product.channels,
        stride=product.stride,
        padding=product.padding,
        dilation=product.dilation,
        groups=product.groups,
    )
