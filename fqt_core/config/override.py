"""Exceptions of single layers from a network's method, by name pattern."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fqt_core.config.quantizer import Bits, Pruning, Rounding

_OPTIONS = ("bits", "groups", "pruning", "keep", "rounding", "clip")


class LayerOverride(BaseModel):
    """Other options, or full precision, for layers whose names match a pattern. Of several that match, the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(
        min_length=1,
        max_length=200,
        description="Of layers' names as the conversion report has them, with `*`, `?` and `[…]`: `layer4.*`.",
    )
    precision: Literal["method", "qat", "full"] = Field(
        default="method",
        description="`method` with other options; `qat`: weights and activations at one bit, gradients in full "
        "precision; `full`: the layer is not binarised.",
    )
    bits: Bits | None = Field(default=None, description="As of the method; null, here and below: as the method has it.")
    groups: Literal["sample-channel", "pixel"] | None = None
    pruning: Pruning | None = None
    keep: float | None = Field(default=None, gt=0, le=1)
    rounding: Rounding | None = None
    clip: float | None = Field(default=None, gt=0, le=10)

    @model_validator(mode="after")
    def _options_belong_to_the_method(self) -> LayerOverride:
        if self.precision != "method" and self.options:
            raise ValueError(
                f"precision {self.precision!r} leaves no gradient to quantise: leave out {', '.join(self.options)}, "
                "or use precision 'method'"
            )
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The method's options that are set here."""
        return {name: value for name in _OPTIONS if (value := getattr(self, name)) is not None}

    def matches(self, layer: str) -> bool:
        """Whether the pattern fits the name of a layer, upper and lower case apart."""
        return fnmatchcase(layer, self.pattern)
