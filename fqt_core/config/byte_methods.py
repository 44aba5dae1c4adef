"""Methods whose layers multiply bytes, and statistical gradient quantisers: one row each (see :mod:`.method`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from fqt_core.config.method_base import Arithmetic, MethodConfig, WeightScale
from fqt_core.config.quantizer import GradientQuantizer, Groups

_BYTE = 8


class _Bytes(MethodConfig):
    """What methods share whose three products multiply bytes."""

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        return "integer"

    @property
    def forward_bits(self) -> int:
        """See :class:`MethodConfig`."""
        return _BYTE

    @property
    def scales_per_layer(self) -> tuple[int, int]:
        """See :class:`MethodConfig`."""
        return 0, 1

    @property
    def input_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("tensor", _BYTE)

    @property
    def weight_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("tensor", _BYTE)


class StatQuant(_Bytes):
    """Quantised training with per-tensor, per-sample or block Householder gradient quantisers (StatQuant)."""

    title: ClassVar[str] = "Statistical gradient quantisers (StatQuant)"
    summary: ClassVar[str] = (
        "Forward pass at 8 bits or at one; dL/dX from gradients at `bits` bits by PTQ, PSQ or BHQ, dL/dW from "
        "gradients at 8 bits with one scale."
    )
    source: ClassVar[str] = "arXiv 2010.14298"

    name: Literal["statquant"] = "statquant"
    quantizer: Literal["ptq", "psq", "bhq"] = Field(
        default="bhq",
        description="Of the gradient for dL/dX: `ptq` one range for the tensor, `psq` one per sample, `bhq` block "
        "Householder: samples of small range share the noise of one of large range.",
    )
    bits: int = Field(default=5, ge=2, le=8, description="Bits per element of the gradient for dL/dX.")
    forward: Literal[8, 1] = Field(default=8, description="Bits of weights and activations.")
    weight_scale: WeightScale = Field(
        default="mean",
        description="With forward 1, scale α of each output channel: the mean |Θ| (XNOR-Net), a learned parameter, or "
        "none.",
    )

    @field_validator("weight_scale")
    @classmethod
    def _scale_is_for_one_bit(cls, scale: WeightScale, info: ValidationInfo) -> WeightScale:
        if scale != "mean" and info.data.get("forward") == _BYTE:
            raise ValueError("weight_scale is for forward 1: leave it out, or use that")
        return scale

    @property
    def forward_bits(self) -> int:
        """See :class:`MethodConfig`."""
        return self.forward

    @property
    def input_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        groups: dict[str, Groups] = {"ptq": "tensor", "psq": "sample", "bhq": "householder"}
        return GradientQuantizer(groups[self.quantizer], self.bits)


class UnifiedInt8(_Bytes):
    """Weights, activations and gradients at 8 bits, with gradients clipped for direction (Unified INT8 training)."""

    title: ClassVar[str] = "Unified INT8 training"
    summary: ClassVar[str] = (
        "Weights, activations and gradients at 8 bits, symmetric; gradients clipped where their direction suffers "
        "least, and layers whose direction suffers learn more slowly."
    )
    source: ClassVar[str] = "arXiv 1912.12607"

    name: Literal["unified-int8"] = "unified-int8"
    search_every: int = Field(
        default=100, ge=1, le=100_000, description="Steps from one search of the clip to the next."
    )
    rate_decay: float = Field(
        default=20.0,
        ge=0,
        le=1000,
        description="A layer's learning rate is multiplied by max(exp(-rate_decay · d), least_rate), d = 1 - cos.",
    )
    least_rate: float = Field(default=0.1, ge=0, le=1, description="See rate_decay.")


class AdaptiveInt8(_Bytes):
    """Weights, activations and gradients at 8 bits, with clips by the distribution of each channel's gradient."""

    title: ClassVar[str] = "Distribution-adaptive INT8 training"
    summary: ClassVar[str] = (
        "Weights, activations and gradients at 8 bits, symmetric; the gradient for dL/dW has a scale per channel, by "
        "whether the channel's values are Gaussian or have a sharp peak and long tails."
    )
    source: ClassVar[str] = "arXiv 2102.04782"

    name: Literal["adaptive-int8"] = "adaptive-int8"
    gaussian_share: float = Field(
        default=0.3, gt=0, lt=1, description="A channel is Gaussian if P(|g| > σ) is more than this."
    )
    clip_update: float = Field(
        default=0.8, gt=0, le=1, description="A of other channels' clip: s ← (1 - A)·s + A·max|g|."
    )

    @property
    def weight_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("channel", _BYTE)


class _LearnedSteps(MethodConfig):
    """What LSQ and LG-LSQ share."""

    weight_bits: int = Field(default=4, ge=2, le=8, description="Bits of a weight.")
    activation_bits: int = Field(default=4, ge=2, le=8, description="Bits of an activation.")

    @property
    def arithmetic(self) -> Arithmetic:
        """The forward products run in integers, the backward products in floating point, as full-precision gradients
        have to."""
        return "float"

    @property
    def forward_bits(self) -> int:
        """See :class:`MethodConfig`."""
        return max(self.weight_bits, self.activation_bits)

    @property
    def scales_per_layer(self) -> tuple[int, int]:
        """See :class:`MethodConfig`."""
        return 2, 1


class Lsq(_LearnedSteps):
    """Weights and activations at 2 to 8 bits with learned step sizes, gradients in full precision (LSQ)."""

    title: ClassVar[str] = "Learned step size quantisation (LSQ)"
    summary: ClassVar[str] = "Weights and activations at 2 to 8 bits, steps learned; gradients in full precision."
    source: ClassVar[str] = "arXiv 1902.08153"

    name: Literal["lsq"] = "lsq"


class LgLsq(_LearnedSteps):
    """LSQ whose rounding has the gradient of an arctangent instead of the straight-through one. Experimental."""

    title: ClassVar[str] = "LG-LSQ (experimental)"
    summary: ClassVar[str] = (
        "LSQ with an arctangent soft round behind the gradients of weights, activations and steps; its minimised "
        "discretisation error is missing. Experimental: the formulas are ours."
    )
    source: ClassVar[str] = "arXiv 2202.09009 (abstract)"

    name: Literal["lg-lsq"] = "lg-lsq"
    sharpness: float = Field(
        default=2.0,
        gt=0,
        le=100,
        description="k of the soft round: near 0 it is straight-through, the larger the steeper.",
    )
