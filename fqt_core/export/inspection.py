"""Looks through a model file that may come from anyone, and says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from fqt_core.config import ARCHITECTURES
from fqt_core.errors import CheckpointError
from fqt_core.export.format import BITS_SUFFIX, WEIGHTS_FORMAT
from fqt_core.export.load import load
from fqt_core.layers import PackedConv2d, PackedLinear
from fqt_core.models import build
from fqt_core.tensorfile import read_metadata, read_tensors
from fqt_core.tensorheader import TensorEntry, check_header

_LEAST_SHARE = 0.5
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_MOST_CLASS_NAMES = 10_000


class ModelFacts(BaseModel):
    """What a model file is. ``packed``: a whole model, ready to predict; ``weights``: full precision, to start from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["packed", "weights"]
    architecture: dict[str, Any] = Field(description="The network; of weights its name alone, by the tensors' names.")
    method: dict[str, Any] | None = None
    classes: list[str] | None = None
    preprocessing: dict[str, Any] | None = None
    arithmetic: str | None = None
    parameters: int
    binary_parameters: int = 0
    tensors: int
    metrics: dict[str, Any] | None = None


def inspect_model(path: Path | str) -> ModelFacts:
    """Check a safetensors file from its header to its last value, and say what it is.

    Raises:
        CheckpointError: it is damaged, larger inside than outside, or neither a packed model nor the weights of a
            network that is built here; the message says which.
    """
    path = Path(path)
    entries = check_header(path)
    if any(entry.name.endswith(BITS_SUFFIX) for entry in entries) or read_metadata(path).get("format") not in {
        None,
        WEIGHTS_FORMAT,
    }:
        return _packed(path, entries)
    return _weights(path, entries)


def _packed(path: Path, entries: list[TensorEntry]) -> ModelFacts:
    model = load(path)
    layers = [module for module in model.network.modules() if isinstance(module, PackedConv2d | PackedLinear)]
    binary = sum(_weights_of(layer) for layer in layers)
    rest = sum(
        entry.values for entry in entries if not entry.name.endswith((BITS_SUFFIX, "running_mean", "running_var"))
    )
    return ModelFacts(
        format="packed",
        architecture=model.architecture.model_dump(mode="json"),
        method=model.method.model_dump(mode="json"),
        classes=model.classes,
        preprocessing=model.preprocessing.to_json(),
        arithmetic=model.method.arithmetic,
        parameters=binary + rest,
        binary_parameters=binary,
        tensors=len(entries),
        metrics=model.metrics,
    )


def _weights_of(layer: PackedConv2d | PackedLinear) -> int:
    words, product = layer.weight_bits, layer.product
    taps = words.numel() // (words.shape[0] * words.shape[-1])
    return words.shape[0] * taps * product.weight_channels


def _weights(path: Path, entries: list[TensorEntry]) -> ModelFacts:
    floats = {entry.name: entry.values for entry in entries if entry.dtype in _FLOATS}
    name = _network_of(set(floats))
    if name is None:
        raise CheckpointError(
            f"{path}: its tensors have the names of none of the networks {', '.join(sorted(ARCHITECTURES))}"
        )
    tensors, metadata = read_tensors(path)
    for tensor_name in floats:
        if not torch.isfinite(tensors[tensor_name]).all():
            raise CheckpointError(f"{path}: {tensor_name} holds values that are not finite")
    return ModelFacts(
        format="weights",
        architecture={"name": name},
        classes=_classes(path, metadata.get("classes")),
        parameters=sum(count for key, count in floats.items() if not key.endswith(("running_mean", "running_var"))),
        tensors=len(entries),
    )


def _classes(path: Path, classes: Any) -> list[str] | None:
    if classes is None:
        return None
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) for name in classes)
        or len(classes) > _MOST_CLASS_NAMES
    ):
        raise CheckpointError(f"{path}: its classes must be a list of at most {_MOST_CLASS_NAMES} names")
    return classes


def _network_of(names: set[str]) -> str | None:
    """The network whose tensors have these names, as far as most of them do."""
    best: tuple[float, str | None] = (_LEAST_SHARE, None)
    for name in sorted(ARCHITECTURES):
        with torch.device("meta"):
            wanted = {key for key, _ in build(name, num_classes=2).named_parameters()}
        share = len(wanted & names) / len(wanted)
        if share > best[0]:
            best = (share, name)
    return best[1]
