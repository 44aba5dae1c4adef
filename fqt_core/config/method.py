"""The methods a network can be trained with: one row per method, each a frozen config that survives JSON.

A row names the quantisers of the forward pass and of the two gradient paths, and declares the arithmetic that its
products run in. Adding a method is adding a class here and to :data:`AnyMethod`; everything else (JSON schema, form,
validation, documentation) reads the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Arithmetic: TypeAlias = Literal["float", "simulated", "integer", "binary"]
Bits: TypeAlias = Literal[1, 2, 4, 8]
Pruning: TypeAlias = Literal["none", "topk", "bernoulli", "systematic"]
WeightScale: TypeAlias = Literal["mean", "learned", "none"]
Groups: TypeAlias = Literal["sample", "channel"]


@dataclass(frozen=True)
class GradientQuantizer:
    """How one gradient path is quantised (ALGORITHM: affine, per group, stochastic rounding).

    ``groups`` is the axis that shares a scale; ``bits`` the code width; ``keep`` the fraction of groups that is kept
    (1.0 keeps all); ``pruning`` how the kept ones are chosen; ``clip`` narrows a group's range to mean ± clip·σ.
    """

    groups: Groups
    bits: Bits
    keep: float = 1.0
    pruning: Pruning = "none"
    clip: float | None = None

    @property
    def average_bits(self) -> float:
        """Bits per gradient element, averaged over kept and dropped groups."""
        return self.bits * self.keep


class MethodConfig(BaseModel):
    """Base of all method rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]

    name: str

    @property
    def arithmetic(self) -> Arithmetic:
        """The least exact arithmetic that any product of a converted layer runs in."""
        raise NotImplementedError

    @property
    def binarises(self) -> bool:
        """Whether weights and activations of converted layers are one bit."""
        return True

    @property
    def input_gradient(self) -> GradientQuantizer | None:
        """Quantiser of G in the product that gives dL/dX; ``None`` keeps it in full precision."""
        return None

    @property
    def weight_gradient(self) -> GradientQuantizer | None:
        """Quantiser of G in the product that gives dL/dW; ``None`` keeps it in full precision."""
        return None


class _OneBitForward(MethodConfig):
    weight_scale: WeightScale = Field(
        default="mean",
        description="Scale α of each output channel: the mean |Θ| (XNOR-Net), a learned parameter, or none.",
    )


class Fp32(MethodConfig):
    """Full precision everywhere: plain PyTorch, for comparison."""

    title: ClassVar[str] = "Full precision (FP32)"
    summary: ClassVar[str] = "Weights, activations and gradients in 32-bit floating point."
    source: ClassVar[str] = "PyTorch"

    name: Literal["fp32"] = "fp32"

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        return "float"

    @property
    def binarises(self) -> bool:
        """See :class:`MethodConfig`."""
        return False


class Qat(_OneBitForward):
    """1-bit forward pass, 32-bit gradients: quantisation-aware training, the accuracy ceiling of the family."""

    title: ClassVar[str] = "Quantisation-aware training (QAT)"
    summary: ClassVar[str] = "Weights and activations at one bit, gradients in full precision."
    source: ClassVar[str] = "arXiv 1602.02830, 1603.05279"

    name: Literal["qat"] = "qat"

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        return "float"


class Psq(_OneBitForward):
    """1-bit forward pass, per-sample quantised gradients without pruning: the paper's baseline."""

    title: ClassVar[str] = "Per-sample quantised gradients (PSQ)"
    summary: ClassVar[str] = "Weights and activations at one bit, gradients at `bits` bits with one scale per sample."
    source: ClassVar[str] = "arXiv 2010.14298; baseline of arXiv 2408.14267"

    name: Literal["psq"] = "psq"
    bits: Bits = Field(default=1, description="Bits per gradient element.")
    weight_groups: Groups = Field(
        default="sample",
        description="Scale groups of the weight gradient. `sample` is the paper's baseline (its scale stands inside "
        "the sum, so that product is simulated in floating point); `channel` runs in integers.",
    )
    clip: float | None = Field(
        default=None, gt=0, le=10, description="Narrow each group's range to mean ± clip·σ before quantising."
    )

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        return "simulated" if self.weight_groups == "sample" else "integer"

    @property
    def input_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("sample", self.bits, clip=self.clip)

    @property
    def weight_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer(self.weight_groups, self.bits, clip=self.clip)


class Fqt(_OneBitForward):
    """1-bit fully quantised training: activation gradient pruning (AGP) and sample-channel joint quantisation (SCQ)."""

    title: ClassVar[str] = "1-bit fully quantised training (FQT)"
    summary: ClassVar[str] = (
        "Weights, activations and gradients at one bit on average: a fraction 1/bits of the gradient's groups is kept, "
        "at `bits` bits each; samples share a scale for dL/dX, channels for dL/dW."
    )
    source: ClassVar[str] = "arXiv 2408.14267"

    name: Literal["fqt"] = "fqt"
    bits: Bits = Field(default=4, description="Bits per element of a kept gradient group.")
    keep: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Fraction of gradient groups that is kept; null means 1/bits: one bit per element on average.",
    )
    pruning: Pruning = Field(
        default="systematic",
        description="How kept groups are chosen. `systematic` and `bernoulli` are unbiased; `topk` is biased; "
        "`none` keeps all groups.",
    )
    clip: float | None = Field(
        default=None, gt=0, le=10, description="Narrow each group's range to mean ± clip·σ before quantising."
    )

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        return "integer"

    @property
    def kept_fraction(self) -> float:
        """The fraction of groups kept, with the default resolved."""
        if self.pruning == "none":
            return 1.0
        return self.keep if self.keep is not None else 1.0 / self.bits

    @property
    def input_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("sample", self.bits, self.kept_fraction, self.pruning, self.clip)

    @property
    def weight_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("channel", self.bits, self.kept_fraction, self.pruning, self.clip)


AnyMethod = Annotated[Fp32 | Qat | Psq | Fqt, Field(discriminator="name")]

METHODS: dict[str, type[MethodConfig]] = {
    row.model_fields["name"].default: row for row in get_args(get_args(AnyMethod)[0])
}
_ADAPTER: TypeAdapter[MethodConfig] = TypeAdapter(AnyMethod)


def Method(name: str, **options: Any) -> MethodConfig:  # noqa: N802 - reads as the class it stands for
    """Build the config of the method ``name``, e.g. ``Method("fqt", bits=4, pruning="systematic")``.

    Raises:
        pydantic.ValidationError: unknown name, unknown option, or a value that is not allowed (a ``ValueError``).
    """
    return _ADAPTER.validate_python({"name": name, **options})
