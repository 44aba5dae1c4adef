"""Layers of a model and their weights on the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.schemas.common import ListOf, Schema

MOST_FILTERS = 4096

_LAYER: dict[str, Any] = {
    "object": "model.layer",
    "name": "layer1.0.conv1",
    "kind": "conv2d",
    "shape": [2, 2, 1, 1],
    "bits": 1,
    "weights": 4,
    "positive_share": 0.75,
}


class LayerObject(Schema):
    """A layer with a weight."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_LAYER]})

    object: Literal["model.layer"] = "model.layer"
    name: str
    kind: Literal["conv2d", "linear"]
    shape: list[int] = Field(description="Filters, input channels that each sees, and of a convolution its kernel.")
    bits: Literal[1, 32] = Field(description="Of each weight.")
    weights: int
    positive_share: float | None = Field(description="Of signs that are +1; null in full precision.")


class LayerList(ListOf[LayerObject]):
    """Every layer of a model that has a weight."""


class LayerWeights(LayerObject):
    """Some filters of a layer."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [_LAYER | {"first": 0, "count": 2, "scales": [0.11, 0.08], "data": "Dw=="}],
        },
    )

    first: int = Field(description="The first of these filters.")
    count: int = Field(description="How many they are; ask for those after them with `first`.")
    scales: list[float] | None = Field(description="What multiplies the sums of each filter (alpha).")
    data: str = Field(
        description="Their weights in base64, row-major. With one bit: element i is bit i % 8 (least significant "
        "first) of byte i // 8, 1 for +1 and 0 for -1. Else float32, little-endian."
    )
