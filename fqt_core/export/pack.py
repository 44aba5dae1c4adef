"""Writes model files and weight files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fqt_core.config import ArchitectureConfig, Fp32, MethodConfig
from fqt_core.data.batches import Preprocessing
from fqt_core.errors import ConfigurationError, ConversionError
from fqt_core.export.format import (
    BITS_SUFFIX,
    COUNTER_SUFFIX,
    FORMAT_VERSION,
    WEIGHTS_FORMAT,
    ModelRecord,
    pack_bits,
    scale_and_bias,
)
from fqt_core.export.report import PackedReport, PartSize
from fqt_core.layers import BinaryLayer, IntegerLayer
from fqt_core.tensorfile import write_tensors

_FLOAT_BYTES = 4


def save_packed(
    model: nn.Module,
    path: Path | str,
    *,
    classes: Sequence[str],
    preprocessing: Preprocessing | Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> PackedReport:
    """Write a trained network with one bit per binarised weight, atomically. The network is not changed.

    Args:
        model: from :func:`fqt_core.models.build`, converted or not (``fp32`` is written at 32 bits per value).
        path: the file; its folder has to exist.
        classes: names of the outputs.
        preprocessing: how the training images became the network's input.
        spec: description of the job, for the record.
        metrics: figures to be kept with the model; finite numbers.

    Raises:
        ConfigurationError: the network was not built here, a weight is not finite, or classes, preprocessing or
            metrics do not fit.
        OSError: the file cannot be written; nothing is left behind.
    """
    record = _record(model, classes, preprocessing, spec, metrics)
    binary = {name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)}
    of_training = {f"{name}.gradient" for name, module in model.named_modules() if isinstance(module, IntegerLayer)}
    tensors: dict[str, Tensor] = {}
    for name, layer in binary.items():
        tensors[name + BITS_SUFFIX] = pack_bits(layer.weight)
        tensors.update(scale_and_bias(name, layer))
    for name, value in model.state_dict().items():
        if name.rpartition(".")[0] not in {*binary, *of_training} and not name.endswith(COUNTER_SUFFIX):
            tensors[name] = value.detach().float()
    _check_finite(tensors)
    _check_finite({name: layer.weight for name, layer in binary.items()})
    size = _write(Path(path), tensors, record.model_dump())
    return _report(Path(path), size, tensors, binary)


def save_weights(model: nn.Module, path: Path | str, *, classes: Sequence[str] | None = None) -> int:
    """Write all weights in full precision, latents included, for :func:`fqt_core.models.load_weights`, atomically.

    Args:
        model: any network, converted to a method or not; not one from a packed file.
        path: the file; its folder has to exist.
        classes: names of the outputs; a network for other classes will then not take over the head.

    Returns:
        The size of the file in bytes.

    Raises:
        ConversionError: the network holds packed weights only.
        OSError: the file cannot be written; nothing is left behind.
    """
    tensors = model.state_dict()
    if any(name.endswith(BITS_SUFFIX) for name in tensors):
        raise ConversionError("the network holds one-bit weights only; save the network that was trained")
    config = getattr(model, "config", None)
    metadata = {
        "format": WEIGHTS_FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": config.model_dump(mode="json") if isinstance(config, ArchitectureConfig) else None,
        "classes": None if classes is None else list(classes),
    }
    return write_tensors(Path(path), tensors, metadata)


def _record(
    model: nn.Module,
    classes: Sequence[str],
    preprocessing: Preprocessing | Mapping[str, Any],
    spec: Mapping[str, Any] | None,
    metrics: Mapping[str, Any] | None,
) -> ModelRecord:
    config = getattr(model, "config", None)
    if not isinstance(config, ArchitectureConfig):
        raise ConfigurationError(
            "the model file records how to build the network, so only networks from fqt_core.models.build can be "
            "saved; use save_weights for others"
        )
    inputs = preprocessing.to_json() if isinstance(preprocessing, Preprocessing) else dict(preprocessing)
    try:
        return ModelRecord.model_validate(
            {
                "architecture": config.model_dump(),
                "method": _method(model).model_dump(),
                "num_classes": model.num_classes,
                "classes": list(classes),
                "preprocessing": inputs,
                "spec": None if spec is None else dict(spec),
                "metrics": None if metrics is None else dict(metrics),
            }
        )
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in error.errors())
        raise ConfigurationError(f"the model cannot be saved: {faults}") from error


def _method(model: nn.Module) -> MethodConfig:
    whole = getattr(model, "fqt_method", None)
    return whole if isinstance(whole, MethodConfig) else Fp32()


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise ConfigurationError(f"the model cannot be saved: not all values of {', '.join(bad[:5])} are finite")


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    try:
        return write_tensors(path, tensors, metadata)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"spec and metrics must be plain JSON with finite numbers: {error}") from error


def _report(path: Path, size: int, tensors: Mapping[str, Tensor], binary: Mapping[str, BinaryLayer]) -> PackedReport:
    bits = sum(value.numel() for name, value in tensors.items() if name.endswith(BITS_SUFFIX))
    latents = _FLOAT_BYTES * sum(layer.weight.numel() for layer in binary.values())
    scales = sum(_bytes(value) for name, value in tensors.items() if _is_scale(name, binary))
    rest = sum(_bytes(value) for value in tensors.values()) - bits - scales
    parts = (
        PartSize("binary weights", bits, latents),
        PartSize("their scales", scales, 0),
        PartSize("full precision", rest, rest),
        PartSize("header", size - bits - scales - rest, 0),
    )
    return PackedReport(str(path), size, latents + rest, parts)


def _is_scale(name: str, binary: Mapping[str, BinaryLayer]) -> bool:
    layer, _, attribute = name.rpartition(".")
    return attribute == "alpha" and layer in binary


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
