"""What all methods are: the questions that a row answers, and per-layer overrides of those that binarise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fqt_core.config.override import LayerOverride
from fqt_core.config.quantizer import GradientQuantizer

Arithmetic: TypeAlias = Literal["float", "simulated", "integer", "binary"]
WeightScale: TypeAlias = Literal["mean", "learned", "none"]
Task: TypeAlias = Literal["images", "tabular"]

FULL_BITS = 32
"""Bits per gradient element in full precision."""

UNCHOSEN = (
    "method.bits: 'auto' is chosen by a run (fqt_core.training.prepare) from its data and weights; to convert a "
    "network by hand, give bits as 1, 2, 4 or 8"
)
_MOST_OVERRIDES = 200
_LEAST_EXACT_LAST: tuple[Arithmetic, ...] = ("binary", "integer", "simulated", "float")


class MethodConfig(BaseModel):
    """Base of all method rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    task: ClassVar[Task] = "images"

    name: str

    @property
    def arithmetic(self) -> Arithmetic:
        """The least exact arithmetic that any product of a converted layer runs in, overrides included."""
        raise NotImplementedError

    @property
    def forward_bits(self) -> int:
        """The most bits that weights and activations of converted layers have; in full precision no layer is."""
        return 1

    @property
    def binarises(self) -> bool:
        """Whether weights and activations of converted layers are one bit."""
        return self.forward_bits == 1

    @property
    def converts(self) -> bool:
        """Whether layers are converted at all."""
        return self.forward_bits < FULL_BITS

    @property
    def scales_per_layer(self) -> tuple[int, int]:
        """Learned parameters and buffers that a layer which is converted but not binarised adds to a model file."""
        return 0, 0

    @property
    def input_gradient(self) -> GradientQuantizer | None:
        """Quantiser of G in the product that gives dL/dX; ``None`` keeps it in full precision."""
        return None

    @property
    def weight_gradient(self) -> GradientQuantizer | None:
        """Quantiser of G in the product that gives dL/dW; ``None`` keeps it in full precision."""
        return None

    @property
    def average_bits(self) -> float:
        """Bits per gradient element, averaged over both products and all groups; overrides are left out."""
        both = self.input_gradient, self.weight_gradient
        return sum(FULL_BITS if one is None else one.average_bits for one in both) / len(both)

    @property
    def chooses_bits(self) -> bool:
        """Whether the options of each layer are still to be chosen, from a short probe of the run."""
        return False

    @property
    def exceptions(self) -> tuple[LayerOverride, ...]:
        """Exceptions of single layers, by name pattern."""
        return ()

    def override_of(self, layer: str) -> LayerOverride | None:
        """The exception that holds for a layer, by its name: the first that matches."""
        return next((override for override in self.exceptions if override.matches(layer)), None)

    def for_layer(self, layer: str) -> MethodConfig | None:
        """The method of one layer, by its name, without overrides; ``None`` if it is not to be binarised."""
        del layer
        return self


class OneBitForward(MethodConfig):
    """Base of the methods whose forward pass is one bit."""

    weight_scale: WeightScale = Field(
        default="mean",
        description="Scale α of each output channel: the mean |Θ| (XNOR-Net), a learned parameter, or none.",
    )
    overrides: tuple[LayerOverride, ...] = Field(
        default=(),
        max_length=_MOST_OVERRIDES,
        description="Other options, or full precision, for layers by name pattern; the first that matches counts.",
    )

    @field_validator("overrides", mode="before")
    @classmethod
    def _array(cls, overrides: Any) -> Any:
        """Strict reading takes a list for a tuple from JSON only, and not once a validator has had it in its hands."""
        return tuple(overrides) if isinstance(overrides, list) else overrides

    @model_validator(mode="after")
    def _overrides_fit(self) -> OneBitForward:
        for number, override in enumerate(self.overrides):
            self._overridden(number, override)
        return self

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        resolved = [self._overridden(number, override) for number, override in enumerate(self.overrides)]
        every = [self._arithmetic, *(method.arithmetic for method in resolved if method is not None)]
        return max(every, key=_LEAST_EXACT_LAST.index)

    @property
    def _arithmetic(self) -> Arithmetic:
        """That of the layers without overrides."""
        raise NotImplementedError

    @property
    def exceptions(self) -> tuple[LayerOverride, ...]:
        """See :class:`MethodConfig`."""
        return self.overrides

    def for_layer(self, layer: str) -> MethodConfig | None:
        """See :class:`MethodConfig`."""
        override = self.override_of(layer)
        if override is None:
            return self if not self.overrides else self._changed({})
        return self._overridden(self.overrides.index(override), override)

    def _changed(self, options: Mapping[str, Any]) -> MethodConfig:
        """The same method with other options, and without preset and overrides."""
        kept = self.model_dump(exclude={"overrides", "preset"})
        return type(self).model_validate(kept | dict(options))

    def _overridden(self, number: int, override: LayerOverride) -> MethodConfig | None:
        """What an override makes of the method.

        Raises:
            ValueError: the method has no such option, or its options do not go together.
        """
        if override.precision == "full":
            return None
        if override.precision == "qat":
            return Qat(weight_scale=self.weight_scale)
        options = override.options
        unknown = options.keys() - type(self).model_fields.keys()
        if unknown:
            raise ValueError(
                f"overrides.{number}: method {self.name!r} has no {', '.join(sorted(unknown))}; leave it out"
            )
        if options.get("pruning") == "none":
            options.setdefault("keep", None)
        try:
            return self._changed(options)
        except ValueError as error:
            raise ValueError(f"overrides.{number}: {_reasons(error)}") from error


class Qat(OneBitForward):
    """1-bit forward pass, 32-bit gradients: quantisation-aware training, the accuracy ceiling of the family."""

    title: ClassVar[str] = "Quantisation-aware training (QAT)"
    summary: ClassVar[str] = "Weights and activations at one bit, gradients in full precision."
    source: ClassVar[str] = "arXiv 1602.02830, 1603.05279"

    name: Literal["qat"] = "qat"

    @property
    def _arithmetic(self) -> Arithmetic:
        return "float"


def _reasons(error: ValueError) -> str:
    """The messages of a validation error, without its frame."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
