"""The model file, version 1: a safetensors file, written so that the same model gives the same bytes.

Metadata: one key, ``fqt``, whose value is the JSON of :class:`ModelRecord`.

Tensors, for each layer ``NAME`` with binarised weights Θ of shape ``S``:

    NAME.weight_bits   uint8 (ceil(n / 8),)   signs of the n = prod(S) elements of Θ in row-major order: element i is
                                              bit i % 8 (least significant first) of byte i // 8; 1 means +1 (Θ >= 0),
                                              0 means -1; bits past the last element are 0
    NAME.alpha         float32 (D,)           scale of each output channel; absent if the method uses none
    NAME.bias          float32 (D,)           absent if the layer has none

and for everything else float32 tensors under the names of the network's state dict, without the batch counters
(``num_batches_tracked``), which inference does not need. Layers are binarised if and only if they have ``weight_bits``.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from fqt_core.config import AnyArchitecture, AnyMethod
from fqt_core.layers import BinaryLayer

FORMAT: Literal["fqt-model"] = "fqt-model"
WEIGHTS_FORMAT = "fqt-weights"
FORMAT_VERSION: Literal[1] = 1
BITS_SUFFIX = ".weight_bits"
COUNTER_SUFFIX = ".num_batches_tracked"

Number = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PreprocessingRecord(BaseModel):
    """How pixels become the network's input: resized to a square, ``(pixel / 255 - mean) / std`` per channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int
    channels: int
    mean: list[Number]
    std: list[Deviation]


class ModelRecord(BaseModel):
    """What a model file says of itself. ``spec`` is the job's description, as it was given; it is not interpreted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fqt-model"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
    architecture: AnyArchitecture
    method: AnyMethod
    num_classes: int = Field(ge=1)
    classes: list[str]
    preprocessing: PreprocessingRecord
    spec: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> ModelRecord:
        if len(self.classes) != self.num_classes:
            raise ValueError(f"{len(self.classes)} class names for num_classes={self.num_classes}")
        inputs, network = self.preprocessing, self.architecture
        if (inputs.image_size, inputs.channels) != (network.image_size, network.channels):
            raise ValueError(
                f"preprocessing makes images of {inputs.channels} channels and {inputs.image_size} pixels, the network "
                f"takes {network.channels} and {network.image_size}"
            )
        if not len(inputs.mean) == len(inputs.std) == inputs.channels:
            raise ValueError(f"preprocessing needs {inputs.channels} values of mean and std, one per channel")
        return self


def pack_bits(weight: Tensor) -> Tensor:
    """Signs of ``weight`` (any shape) as uint8 bytes, see the module's description."""
    bits = (weight.detach().flatten() >= 0).to(torch.uint8)
    padded = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (padded << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of :func:`pack_bits`: float32 -1 and +1 of ``shape``."""
    bits = packed[:, None] >> torch.arange(8, dtype=torch.uint8) & 1
    return (bits.flatten()[: math.prod(shape)].to(torch.float32) * 2 - 1).view(shape)


def scale_and_bias(name: str, layer: BinaryLayer) -> dict[str, Tensor]:
    """What a model file holds of a binarised layer besides its bits: ``NAME.alpha`` and ``NAME.bias``, if any."""
    values = {"alpha": layer.scale(), "bias": layer.bias}
    return {f"{name}.{key}": value.detach().float() for key, value in values.items() if isinstance(value, Tensor)}
